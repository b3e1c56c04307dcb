"""What each frame of a long video shows: the likeliest of the states that its prompts ask for and of what else may be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....metrics.definitions.stf import state_shares
from ....metrics.measuring.measurements import Measurements
from .episodes import LongSuiteEpisode

OTHER = -1  # a frame that shows a distractor, or that cannot be compared


def states_seen(
    episode: LongSuiteEpisode, measured: Measurements, borders: Sequence[int], extractor: Any
) -> NDArray[np.int64]:
    """For each frame [T] the first stretch whose state has the largest share, or OTHER.

    borders: the frame with which each stretch begins, and the number of frames. Each stretch has distractors of its own.
    """
    first: dict[str, int] = {}
    for number, stretch in enumerate(episode.stretches):
        first.setdefault(stretch.state, number)
    seen = []
    for number, (begin, end) in enumerate(pairwise(borders)):
        others = episode.distractors(number)
        features = np.asarray(extractor.texts([*first, *others]), np.float64)
        shares = state_shares(measured.features[begin:end], features, float(extractor.logit_scale))
        likeliest = np.where(np.isfinite(shares).all(1), shares.argmax(1), len(features))
        seen.append(np.array([*first.values(), *[OTHER] * (len(others) + 1)])[likeliest])
    return np.concatenate(seen)


def stretch_borders(
    episode: LongSuiteEpisode, switched: Sequence[int], frames: int, asked: Sequence[int]
) -> list[int]:
    """The frame with which each stretch begins, and the number of frames.

    switched: the frames at which the sampler's trace says that a prompt took over. asked: those at which prompts take over
    by their times, for where the trace does not have as many. Raises ValueError where the video ends before the last one.
    """
    inner = list(switched if len(switched) == len(episode.stretches) - 1 else asked)
    if inner and inner[-1] >= frames:
        raise ValueError(
            f"the video has {frames} frames and ends before its last prompt, at frame {inner[-1]}"
        )
    return [0, *inner, frames]


def section_borders(sections: Sequence[Mapping[str, Any]], frames: int, length: int) -> list[int]:
    """The frame with which each section begins, and the number of frames: by the trace's sections, else by their length."""
    begins = sorted(section["frames"][0] for section in sections)
    return [*(begins or [0, *range(1 + length, frames, length)]), frames]
