"""What TransitionBench compares: the plain sampler, the techniques and the published baseline."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...samplers.techniques.attention.attention_scaling import AttentionScaling
from ...samplers.techniques.attention.dual_memory import DualMemory
from ...samplers.techniques.base import Technique
from ...samplers.techniques.presets import PRESETS, preset_techniques
from ...samplers.techniques.registry import TECHNIQUES
from ...tiny.config import DIT

HISTORIES, PROMPTS, ANCHORS = ("old", "new", "zero"), ("new", "old"), ("kept", "replaced")
EXEMPLAR = "exemplar"  # a clip that the new prompt finds, as history or as anchor


@dataclass(frozen=True)
class SwitchConditions:
    """What the first section after the switch is sampled with.

    history: the scene that the packed past shows: "old", "new", "zero" for no past, or EXEMPLAR.
    prompt: the scene that the prompt asks for: "new" or "old".
    anchor: whether start frame and image tokens are the old scene's ("kept"), the new one's ("replaced"), or those of EXEMPLAR.
    """

    history: str = "old"
    prompt: str = "new"
    anchor: str = "kept"

    def __post_init__(self) -> None:
        histories, anchors = (*HISTORIES, EXEMPLAR), (*ANCHORS, EXEMPLAR)
        for name, options in (("history", histories), ("prompt", PROMPTS), ("anchor", anchors)):
            if getattr(self, name) not in options:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(options)}.")

    @property
    def reads_exemplars(self) -> bool:
        """Whether a library of clips is searched."""
        return EXEMPLAR in (self.history, self.anchor)


USUAL_CONDITIONS = SwitchConditions()


@dataclass(frozen=True)
class LoraFile:
    """A LoRA of the embedded model: its file, and a digest of the contents, by which results are named."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path) -> LoraFile:
        """The LoRA in a file; raises OSError where it cannot be read."""
        return cls(path, hashlib.sha256(path.read_bytes()).hexdigest()[:20])


@dataclass(frozen=True)
class Arm:
    """What episodes are sampled with: one row of the benchmark's table.

    name: what the table calls it.
    techniques: the techniques between loader and sampler, in wired order.
    conditions: what the first section after the switch is sampled with.
    lora: what changes the model in all sections after the switch; those before it are shared by all arms.
    looks_for: the property of an episode with the words for what techniques look for: its "concept", or something "absent".
    """

    name: str
    techniques: tuple[Technique, ...] = ()
    conditions: SwitchConditions = USUAL_CONDITIONS
    lora: LoraFile | None = None
    looks_for: str = field(default="concept", kw_only=True)

    def describe(self) -> list[dict[str, Any]]:
        """The LoRA and the techniques with all their settings, as plain data, and a wrong word where they are given one."""
        described: list[dict[str, Any]] = []
        if self.lora is not None:
            described.append({"name": "LoRA", "file": self.lora.path.name, "digest": self.lora.digest})
        described += [
            {"name": type(technique).__name__, **asdict(technique)} for technique in self.techniques
        ]
        return described if self.looks_for == "concept" else [*described, {"looks_for": self.looks_for}]

    @property
    def acts_without_a_switch(self) -> bool:
        """Whether a video without a switch can differ from the plain one."""
        return self.lora is not None or any(technique.apply_to == "all" for technique in self.techniques)


# AlignVid as published, in every section after the shared past, but in all single blocks: its list of blocks was chosen
# for the 13B model.
ALIGNVID = AttentionScaling(apply_to="all", blocks=f"single:0-{DIT.num_single_layers - 1}")

PLAIN = Arm("plain")
# Techniques as their nodes come, except for RoPE jitter, whose node is off. The preset mild is contrastive guidance as it comes.
ARMS = (
    PLAIN,
    *(Arm(entry.name, (entry.example,)) for entry in TECHNIQUES if entry.technique is not AttentionScaling),
    *(Arm(f"preset {name}", PRESETS[name]) for name in ("clean", "balanced", "strong", "cut", "founding")),
    Arm("preset balanced, fading over 3 sections", preset_techniques("balanced", 3, 0.6)),
    Arm("alignvid", (ALIGNVID,)),
    Arm("dual memory of the concept", (DualMemory(),)),
    Arm("dual memory of something absent", (DualMemory(),), looks_for="absent"),
)
