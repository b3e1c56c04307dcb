"""How much a new prompt changes the scene, measured with the text encoder.

The distance between the features of two prompts means nothing by itself: encoders differ, and in each of them even
unlike sentences point in nearly the same direction. So the mean feature of the built-in texts below is subtracted
first, and two mean distances between built-in texts make the scale from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from .syntaxes.spans import PromptSpan

# Unit vectors of one text.
Feature = tuple[Tensor, ...]

# Pairs that describe the same scene in other words; their distance counts as no change.
PARAPHRASES = (
    ("a man sits on a sofa in a living room", "in a living room, a man is sitting on a couch"),
    ("a red car drives along a road by the sea", "a car, red, is driving on a coastal road"),
    ("a woman dances in a park on a sunny day", "on a bright sunny day a woman is dancing in the park"),
    ("an empty street at night in the rain", "a rainy street at night with nobody there"),
)
# Pairs of scenes with other subjects in other places; their distance counts as a change of 1.
SCENES = (
    ("a man sits on a sofa in a living room", "a red car drives along a road by the sea"),
    ("a woman dances in a park on a sunny day", "an empty street at night in the rain"),
    ("an empty street at night in the rain", "a man sits on a sofa in a living room"),
    ("a red car drives along a road by the sea", "a woman dances in a park on a sunny day"),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class ChangeScale:
    """What a text encoder gives for the built-in texts.

    centre: the mean feature of all of them.
    paraphrase: the mean distance of the pairs that describe the same scene.
    scene: the mean distance of the pairs that describe different scenes.
    """

    centre: Feature
    paraphrase: float
    scene: float

    @property
    def usable(self) -> bool:
        """Whether the encoder finds different scenes further apart than other words for the same scene."""
        return self.scene > self.paraphrase

    def change(self, old: Feature, new: Feature) -> float:
        """The change between two features, from 0 (as for other words) to 1 (as for another scene).

        With a scale that is not usable it is 0 for equal features and 1 for all others.
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
    return ChangeScale(centre=centre, paraphrase=paraphrase, scene=scene)


def measure_changes(
    spans: Sequence[PromptSpan], feature_of: Callable[[str], Feature]
) -> tuple[list[float], str]:
    """How much the scene changes where each span takes over, 0 for the first one, and a remark for a report.

    What can be seen before and after is compared: a span's state text where it has one, else its prompt. Forced spans
    count in full, and `feature_of` is asked once for every text.
    """
    feature = cache(feature_of)
    scale = change_scale(feature)
    changes = [0.0]
    for old, new in pairwise(spans):
        texts = (new.text, new.text) if new.sham else (old.state or old.text, new.state or new.text)
        changes.append(1.0 if new.forced else scale.change(*map(feature, texts)))
    return changes, measured_remark(spans, changes, scale)


def measured_remark(spans: Sequence[PromptSpan], changes: Sequence[float], scale: ChangeScale) -> str:
    """A line for a report: the changes, the scale they were measured on, and that they are uncalibrated."""
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
    """Unit vectors of a ComfyUI CONDITIONING: the mean of its token states, and the pooled vector where it has one.

    Padding is left out of the mean, so that the feature does not depend on the length of the text.
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
