"""The files of kohya-ss/musubi-tuner: their names, their tensors, and its dataset configuration."""
