"""Who sees and measures an episode: the detector of one subject, or that of two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ...tiny.detector import PairDetection, agrees, detect, detect_pair
from ...tiny.world import Scene
from . import measures, pairs
from .episodes import Episode

Array = NDArray[Any]


@dataclass(frozen=True)
class Judge:
    """How frames are looked at and measured.

    see: what is seen in frames [T,64,64,3] in 0..1.
    holds: in which frames of what was seen a scene is seen, bool [T].
    is_valid: whether what was seen before the switch is the old scene.
    measure: an episode's measures, of what was seen before the switch, the frames after it and the frames of a section.
    """

    see: Callable[[Array], Any]
    holds: Callable[[Any, Scene], Array]
    is_valid: Callable[[Any, Episode], bool]
    measure: Callable[[Episode, Any, Array, int], measures.Measures]


ONE_SUBJECT = Judge(detect, agrees, measures.is_valid, measures.measure_episode)
TWO_SUBJECTS = Judge(detect_pair, PairDetection.agrees, pairs.is_valid, pairs.measure_episode)


def judge_of(episode: Episode) -> Judge:
    """The judge for an episode's scenes."""
    return TWO_SUBJECTS if episode.pair else ONE_SUBJECT
