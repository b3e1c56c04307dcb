"""The results of long videos, of the study and of suites; the study keeps them on disk, one line of JSON a video and arm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..transition.arms import Arm
from ..transition.running.results import Line, key_of, world_digest
from .measures import SectionMeasures, SwitchMeasures
from .scenarios import LongEpisode

VERSION = 1  # of what is measured and how: results of another version are not mixed with these


@dataclass(frozen=True, kw_only=True)
class LongResult(Line):
    """A long video sampled under one arm.

    key: see `long_key`, or what a suite gives it.
    scenario, seed: the episode.
    arm: the name of the arm.
    switches: the measures of every switch, in their order.
    sections: the measures of every section, in their order.
    evaluations: calls of the model; None where a suite's workflow does not tell them.
    seconds: time for them, divided by the number of videos in the batch.
    episode, image: of a suite, the episode that the seed is one of, and its start image; in the study seeds are episodes.
    """

    scenario: str
    seed: int
    arm: str
    switches: tuple[SwitchMeasures, ...]
    sections: tuple[SectionMeasures, ...]
    evaluations: int | None
    seconds: float
    episode: str = ""
    image: str = ""

    @property
    def made_from(self) -> str:
        """What videos have in common that resemble one another: their start image."""
        return self.image or f"{self.scenario} {self.seed}"

    def to_line(self) -> str:
        """The result as a line of JSON."""
        return json.dumps({name: value for name, value in asdict(self).items() if value != ""}) + "\n"

    @classmethod
    def from_line(cls, line: str) -> LongResult:
        """The inverse of `to_line`; raises ValueError, KeyError or TypeError for other text."""
        facts = json.loads(line)
        switches = tuple(SwitchMeasures(**entry) for entry in facts.pop("switches"))
        sections = tuple(SectionMeasures(**entry) for entry in facts.pop("sections"))
        return cls(switches=switches, sections=sections, **facts)


def long_key(fingerprint: str, episode: LongEpisode, arm: Arm, batch: Sequence[int]) -> str:
    """The key of an episode under an arm: all that its result depends on.

    fingerprint: the sampler's. batch: the seeds of all episodes that are sampled with it.
    """
    asked = [(stretch.kind, stretch.prompt, stretch.sections) for stretch in episode.stretches]
    facts = [VERSION, world_digest(), fingerprint, episode.scenario, episode.seed, asked]
    facts += [list(batch), arm.name, arm.describe()]
    return key_of(facts)
