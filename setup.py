"""Maps the checkout, which ComfyUI loads as a folder of any name, to the package `framepack_transitions`."""

from setuptools import find_packages, setup

NAME = "framepack_transitions"
PARTS = find_packages(include=[part + suffix for part in ("nodes", "samplers", "models", "metrics", "headless",
                                                          "benchmarks") for suffix in ("", ".*")])

setup(package_dir={NAME: "."}, packages=[NAME, *(f"{NAME}.{part}" for part in PARTS)])
