"""The folders of a run, and images and videos as files."""
