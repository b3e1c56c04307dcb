"""How much a new prompt changes the scene, measured by the text encoder that reads both prompts.

A distance means nothing by itself: encoders differ, and in all of them unlike sentences share most of their
direction. So features are centred on the built-in texts below, and two distances among those make the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from .syntaxes.spans import PromptSpan

Feature = tuple[Tensor, ...]

# The same scene in other words: what counts as no change.
PARAPHRASES = (
    ("a man sits on a sofa in a living room", "in a living room, a man is sitting on a couch"),
    ("a red car drives along a road by the sea", "a car, red, is driving on a coastal road"),
    ("a woman dances in a park on a sunny day", "on a bright sunny day a woman is dancing in the park"),
    ("an empty street at night in the rain", "a rainy street at night with nobody there"),
)
# Another scene altogether: what counts as a change of 1. Subjects differ, places too.
SCENES = (
    ("a man sits on a sofa in a living room", "a red car drives along a road by the sea"),
    ("a woman dances in a park on a sunny day", "an empty street at night in the rain"),
    ("an empty street at night in the rain", "a man sits on a sofa in a living room"),
    ("a red car drives along a road by the sea", "a woman dances in a park on a sunny day"),
)


@dataclass(frozen=True, eq=False)
class ChangeScale:
    """What an encoder gives for the built-in texts: the mean feature, and the mean distances of their pairs."""

    centre: Feature
    paraphrase: float
    scene: float

    @property
    def usable(self) -> bool:
        """Whether the encoder tells another scene from other words at all."""
        return self.scene > self.paraphrase

    def change(self, old: Feature, new: Feature) -> float:
        """0 for what other words would give, 1 for what another scene would give.

        Only equal features give 0 where the encoder is no use.
        """
        distance = _distance(old, new, self.centre)
        if distance == 0 or not self.usable:
            return float(distance > 0)
        return min(max((distance - self.paraphrase) / (self.scene - self.paraphrase), 0.0), 1.0)


def change_scale(feature_of: Callable[[str], Feature]) -> ChangeScale:
    """The scale of an encoder, from the built-in pairs."""
    texts = dict.fromkeys(text for pair in (*PARAPHRASES, *SCENES) for text in pair)
    features = {text: feature_of(text) for text in texts}
    centre = tuple(torch.stack(parts).mean(dim=0) for parts in zip(*features.values()))
    paraphrase, scene = (
        mean(_distance(features[one], features[other], centre) for one, other in pairs)
        for pairs in (PARAPHRASES, SCENES)
    )
    return ChangeScale(centre, paraphrase, scene)


def measured_remark(spans: Sequence[PromptSpan], changes: Sequence[float], scale: ChangeScale) -> str:
    """A line for a report: what was measured, on which scale, and how far it can be trusted."""
    if not scale.usable:
        return (
            "Changes: this text encoder finds other words as far apart as another scene "
            f"({scale.paraphrase:.2f} and {scale.scene:.2f}), so every switch counts in full."
        )
    found = ", ".join(
        f"{change:.2f} at {span.start:g} s{' (forced)' if span.forced else ''}"
        for span, change in zip(spans[1:], changes[1:])
    )
    return (
        f"Changes as the text encoder measures them, uncalibrated (no video was looked at): {found}. "
        f"Other words are {scale.paraphrase:.2f} apart, another scene {scale.scene:.2f}."
    )


def text_feature(conditioning: Any) -> Feature:
    """Unit vectors of a ComfyUI CONDITIONING: the mean of its real token states, and the pooled vector where it has one.

    The mean does not depend on the length of the text or its padding, as the flattened states would.
    """
    states, options = conditioning[0]
    states, mask, pooled = (
        states[0].float(),
        options.get("attention_mask"),
        options.get("pooled_output"),
    )
    if mask is not None:
        states = states[mask.reshape(-1)[: len(states)].bool()]
    vectors = [states.mean(dim=0)] if pooled is None else [states.mean(dim=0), pooled[0].float()]
    return tuple(torch.nn.functional.normalize(vector.cpu(), dim=0) for vector in vectors)


def _distance(old: Feature, new: Feature, centre: Feature) -> float:
    """1 - cosine of the centred vectors, the mean over a feature's parts; 0 for equal features."""
    if all(torch.equal(one, other) for one, other in zip(old, new)):
        return 0.0
    return mean(
        1 - torch.nn.functional.cosine_similarity(one - middle, other - middle, dim=0).item()
        for one, other, middle in zip(old, new, centre)
    )
