"""musubi-tuner's dataset configuration (TOML) and lists of items (JSONL).

Source: kohya-ss/musubi-tuner, `docs/dataset_config.md`, `dataset/config_utils.py`, `dataset/datasources.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CLIPS_TOML, TRAIN_TOML = "clips.toml", "train.toml"
Value = str | int | bool | list[int]


def toml_of(general: Mapping[str, Value], datasets: Iterable[Mapping[str, Value]]) -> str:
    """A configuration with its general settings and one block for each dataset.

    Texts, whole numbers, switches and lists of numbers are written in JSON's form, which TOML shares.
    """
    blocks = [("[general]", general), *(("[[datasets]]", block) for block in datasets)]
    return "\n\n".join("\n".join([head, *_lines(values)]) for head, values in blocks) + "\n"


def _lines(values: Mapping[str, Value]) -> list[str]:
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]


def jsonl_of(items: Iterable[Mapping[str, Any]]) -> str:
    """A list of items, one a line."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def path_text(path: Path) -> str:
    """A path as it can be read from any working folder and on any system."""
    return path.resolve().as_posix()
