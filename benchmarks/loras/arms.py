"""What the study of LoRAs samples with, and what of it is compared with what."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...samplers.techniques.presets import PRESETS
from ..transition.arms import PLAIN, Arm, LoraFile
from .training import LORA, ONE_CAPTION, RECYCLED

PRESET = "balanced"
BALANCED = Arm(f"preset {PRESET}", PRESETS[PRESET])
# Kinds that differ in one thing: captions, or errors in what is remembered.
ALIKE = ((LORA, ONE_CAPTION), (RECYCLED, LORA))


@dataclass(frozen=True)
class Setting:
    """What episodes are sampled with, once for each training of its LoRA: arms that differ in that alone.

    name: what tables call it.
    arms: one for each training; one where nothing was trained.
    """

    name: str
    arms: tuple[Arm, ...]


def settings_of(
    loras: Mapping[str, Sequence[Path]], beside_preset: Collection[str] | None = None
) -> list[Setting]:
    """Plain, the preset, each LoRA by name with the files of its trainings, and those `beside_preset`, by default all."""
    settings = [Setting(arm.name, (arm,)) for arm in (PLAIN, BALANCED)]
    for name, paths in loras.items():
        files = [LoraFile.of(path) for path in paths]
        settings.append(Setting(name, tuple(_arms(name, Arm(name), files))))
        if beside_preset is None or name in beside_preset:
            both = with_preset(name)
            settings.append(Setting(both, tuple(_arms(both, BALANCED, files))))
    return settings


def with_preset(name: str) -> str:
    """What a LoRA is called beside the preset."""
    return f"{name} + {PRESET}"


def _arms(name: str, base: Arm, files: Sequence[LoraFile]) -> Iterator[Arm]:
    for number, file in enumerate(files):
        own = name if len(files) == 1 else f"{name}, training {number}"
        yield Arm(own, base.techniques, lora=file)


def compared(settings: Sequence[Setting]) -> list[tuple[Setting, Setting]]:
    """Pairs to compare: all with plain, a LoRA beside the preset with the preset alone, and kinds that are alike."""
    by_name = {setting.name: setting for setting in settings}
    plain, preset, *others = settings
    pairs = [(setting, plain) for setting in (preset, *others)]
    pairs += [(setting, preset) for setting in others if setting.arms[0].techniques]
    pairs += [(by_name[one], by_name[other]) for one, other in ALIKE if {one, other} <= by_name.keys()]
    return pairs
