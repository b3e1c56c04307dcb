"""Maps the checkout, which ComfyUI loads as a folder of any name, to the package `framepack_transitions`."""

from setuptools import find_packages, setup

NAME = "framepack_transitions"
FOLDERS = ("benchmarks", "headless", "metrics", "models", "nodes", "samplers")
PARTS = find_packages(include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")])

setup(package_dir={NAME: "."}, packages=[NAME, *(f"{NAME}.{part}" for part in PARTS)])
