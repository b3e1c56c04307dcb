"""Where images and target lay on the time axis when a one-frame LoRA was trained, as its file's metadata states it.

The names are those of musubi-tuner's dataset settings (docs/framepack_1f.md there): fp_1f_target_index,
fp_1f_clean_indices and fp_1f_no_post. They are looked for among the file's own keys, with ss_ before them or without,
and in the JSON of ss_datasets, which holds the settings of each dataset.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ATTACHMENT = "framepack_one_frame"  # of a MODEL's attachments
DATASETS = "ss_datasets"
TARGET, CONTROLS, NO_POST = "fp_1f_target_index", "fp_1f_clean_indices", "fp_1f_no_post"


@dataclass(frozen=True, kw_only=True)
class OneFrameTraining:
    """The indices that a one-frame LoRA was trained with.

    target: the frame that is generated; None where it is not stated.
    controls: the frames of the control images in order; empty where they are not stated.
    no_post: whether the empty frame after the images was left out.
    """

    target: int | None
    controls: tuple[int, ...]
    no_post: bool

    def describe(self) -> str:
        """The settings under the names of FramePack One Frame Sampler."""
        stated = [] if self.target is None else [f"target_index {self.target}"]
        stated += [f"control_index {self.control_index}"] if self.controls else []
        return ", ".join([*stated, f"no_post {str(self.no_post).lower()}"])

    @property
    def control_index(self) -> str:
        """The frames of the control images as the node takes them, such as "0;10"."""
        return ";".join(map(str, self.controls))


def one_frame_training(metadata: Mapping[str, str]) -> OneFrameTraining | None:
    """What metadata states of one-frame training; None where it states nothing, or nothing that can be read.

    Where several datasets state it, the first one counts.
    """
    for settings in stated_settings(metadata):
        target, controls = whole_number(settings.get(TARGET)), whole_numbers(settings.get(CONTROLS))
        if target is not None or controls:
            no_post = str(settings.get(NO_POST)).lower() in ("true", "1")
            return OneFrameTraining(target=target, controls=controls, no_post=no_post)
    return None


def stated_settings(metadata: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """The mappings in which the settings may stand: the metadata itself, then every dataset."""
    yield {name.removeprefix("ss_"): value for name, value in metadata.items()}
    try:
        datasets = json.loads(metadata.get(DATASETS, "[]"))
    except (ValueError, RecursionError):
        return
    for dataset in datasets if isinstance(datasets, list) else [datasets]:
        if isinstance(dataset, dict):
            yield dataset


def whole_number(value: Any) -> int | None:
    """A whole number from 0 on, from JSON or text; None for anything else."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def whole_numbers(value: Any) -> tuple[int, ...]:
    """Whole numbers from a list, or from text such as "0;10" or "[0, 10]"; empty for anything else."""
    words = (
        value
        if isinstance(value, list)
        else str(value).strip("[] ").replace(";", " ").replace(",", " ").split()
    )
    numbers = [whole_number(word) for word in words]
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()
