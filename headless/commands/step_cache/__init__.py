"""`bench cache`: the study of step caches, and calibration."""
