"""All that the scores of one switch are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from ..arrays import Array
from ..switches import Switch, Windows
from .clip import Clip
from .measurements import Measurements

Part = Literal["inside", "outside"]


@dataclass(frozen=True, eq=False, kw_only=True)
class States:
    """What the frames of a switch are compared with; all are features [D] unless they say otherwise.

    new: the new state.
    old: the old state.
    prompt: the new prompt, where it differs from the new state.
    distractors: states that are neither [K,D], None without any.
    """

    new: Array
    old: Array
    prompt: Array
    distractors: Sequence[Array] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What is known about one switch; the fields that `metrics.score` has, too, mean the same here.

    switch: the switch itself.
    windows: its frame ranges.
    clip: the measured video.
    extractor: what measured it.
    texts: features [D] of texts, by text; empty without a text tower.
    centre: mean feature [D] of pictures without content.
    reference, target, control: further measured clips, None where there is none.
    vanishing: concepts that should disappear; the first one is scored.
    kept: concepts that should stay.
    kept_region: what of the region should not change.
    object_free: detector confidences on frames without an object, by concept.
    threshold: confidence above which an object counts as seen; None takes it from `object_free`.
    distractors: texts of states that are neither old nor new.
    trace: the sampler's trace.
    penalty: lambda of DDI.
    """

    switch: Switch
    windows: Windows
    clip: Clip
    extractor: Any
    texts: Mapping[str, Array]
    centre: Array
    reference: Clip | None
    target: Clip | None
    control: Clip | None
    vanishing: tuple[str, ...]
    kept: tuple[str, ...]
    kept_region: Part
    object_free: Mapping[str, ArrayLike]
    threshold: float | None
    distractors: tuple[str, ...]
    trace: Mapping[str, Any] | None
    penalty: float = 1.0

    @property
    def measured(self) -> Measurements:
        """The measurements of the video itself."""
        return self.clip.measurements

    @property
    def changed_part(self) -> Part | None:
        """The part of the region that should change; None for the whole picture."""
        if self.clip.region is None:
            return None
        return "inside" if self.kept_region == "outside" else "outside"

    def states(self) -> States:
        """The states by their texts; raises KeyError without a text tower."""
        switch, texts = self.switch, self.texts
        return States(
            new=texts[switch.new],
            old=texts[switch.old],
            prompt=texts[switch.prompt or switch.new],
            distractors=[texts[text] for text in self.distractors] or None,
        )


def features_of(clip: Clip | None, part: Part | None = None) -> Array | None:
    """Features [T,D] of a clip, or of a part of its region; None where there is none."""
    if clip is None:
        return None
    if part is None:
        return clip.measurements.features
    return None if clip.region is None else clip.region.part(part)
