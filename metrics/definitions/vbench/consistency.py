"""Background consistency: how alike all frames are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...arrays import floats, units
from ...measuring.evidence import Evidence
from ...results import Metric, undefined
from .neighbours import Span, mean_of_neighbours

# What frames have to be compared by to have VBench's numbers, by open_clip's names.
BACKBONES = ("clip ViT-B-32/openai", "clip ViT-B-32-quickgelu/openai")


def background_consistency(features: ArrayLike, span: Span) -> Metric:
    """How alike the frames of a half-open range are: the mean over all but the first of (c_before + c_first) / 2.

    c_before and c_first are the cosines to the frame before and to the first one of the range, 0 where they are negative.
    High is good: 1 for a still. The curve is the value of each frame. Not valid for fewer than two frames, or where
    the first is not finite. features: of frames [T,D], raw.
    """
    features = floats(features)
    directions = units(features[slice(*span)])
    before = np.maximum((directions[1:] * directions[:-1]).sum(1), 0)
    first = np.maximum(directions[1:] @ directions[0], 0) if len(before) else before
    values = np.full(max(len(features) - 1, 0), np.nan)
    values[span[0] : span[0] + len(before)] = (before + first) / 2
    return mean_of_neighbours(values, span)


def score_background_consistency(evidence: Evidence) -> Metric:
    """Background consistency from a switch to the next one, where the features are those of VBench."""
    if evidence.measured.extractor not in BACKBONES:
        return undefined(
            f"VBench compares frames by OpenAI's CLIP ViT-B/32, and these were measured by {evidence.measured.extractor}"
        )
    return background_consistency(evidence.measured.features, evidence.windows.after)
