"""What the study of LoRAs measures: the episodes of TransitionBench under plain, the preset and every LoRA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...models.files.lora import convert, parameter_shapes
from ...models.files.lora_file import read_lora_file
from ...tiny.bundle import TinyBundle
from ..transition.bench import Bench
from .arms import Setting


def bench(folder: Path, seeds: range, settings: Sequence[Setting]) -> Bench:
    """All cases under the arms of the settings, of which the first is the plain sampler."""
    arms = tuple(arm for setting in settings for arm in setting.arms)
    return Bench(folder=folder, seeds=len(seeds), first_seed=seeds.start, arms=arms)


def given_loras(paths: Sequence[Path], bundle: TinyBundle) -> dict[str, list[Path]]:
    """The LoRAs of these files, each named as its file. Raises ValueError for two of a name, and for one of another model."""
    names = Counter(path.stem for path in paths)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"two LoRAs are named {twice[0]}; rename one of the files.")
    shapes = parameter_shapes(bundle.dit)
    for path in paths:
        convert(read_lora_file(path)[0], shapes, name=path.name)
    return {path.stem: [path] for path in paths}
