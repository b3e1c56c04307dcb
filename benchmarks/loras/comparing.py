"""What the trainings of a LoRA amount to, and what one setting brings and costs against another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

from .. import statistics
from ..transition.arms import Arm
from ..transition.episodes import SWITCHES
from ..transition.running.results import Result
from .arms import Setting, compared

SHAM = ("sham",)
# Values by episode, those of its trainings together: they resemble one another.
Groups = list[list[float]]
Value = Callable[[Result], float | None]
GAIN, MEAN = statistics.grouped_gain_interval, statistics.grouped_mean_interval
SHARE = statistics.grouped_share_interval


def success(result: Result) -> float:
    """1 where the new scene came, 0 where it did not."""
    return float(result.measures.success)


def artefacts(result: Result) -> float:
    """The share of frames with something that is no scene of the world."""
    return result.measures.artefacts


def jump(result: Result) -> float | None:
    """How far the subject is from where it was heading, in px."""
    return result.measures.jump


class Found:
    """Results by arm and episode, of the episodes that were right before the switch."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = {(r.arm, r.case, r.seed): r for r in results if r.valid}
        self._episodes = sorted({(case, seed) for _, case, seed in self._results})

    def of(self, setting: Setting, cases: Sequence[str], value: Value) -> Groups:
        """A value of every episode of these cases, under each arm of a setting."""
        return self._grouped(
            cases, lambda episode: [self._value(arm, episode, value) for arm in setting.arms]
        )

    def differences(self, one: Setting, other: Setting, cases: Sequence[str], value: Value) -> Groups:
        """A value under one setting less that under another, training by training."""
        arms = list(zip(one.arms, cycle(other.arms)))
        return self._grouped(
            cases,
            lambda episode: [_less(*(self._value(arm, episode, value) for arm in both)) for both in arms],
        )

    def _value(self, arm: Arm, episode: tuple[str, int], value: Value) -> float | None:
        case, seed = episode
        return value(self._results[arm.name, case, seed])

    def _grouped(
        self, cases: Sequence[str], values: Callable[[tuple[str, int]], list[float | None]]
    ) -> Groups:
        """What `values` gives for every episode of these cases, without those that have none."""
        groups = (values(episode) for episode in self._episodes if episode[0] in cases)
        known = ([value for value in group if value is not None] for group in groups)
        return [group for group in known if group]


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def settings_rows(settings: Sequence[Setting], results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row for each setting: success over the switches, that of every training, and what shams say."""
    found = Found(results)
    return [
        {
            "setting": setting.name,
            "trainings": len(setting.arms),
            **_figure("success", found.of(setting, SWITCHES, success), SHARE),
            "success_by_training": [
                statistics.grouped_mean(found.of(Setting(arm.name, (arm,)), SWITCHES, success))
                for arm in setting.arms
            ],
            "artefacts": statistics.grouped_mean(found.of(setting, SWITCHES, artefacts)),
            **_figure("sham", found.of(setting, SHAM, success), SHARE),
            "sham_jump": statistics.grouped_mean(found.of(setting, SHAM, jump)),
            "evaluations": statistics.grouped_mean(
                found.of(setting, SWITCHES, lambda result: float(result.evaluations))
            ),
        }
        for setting in settings
    ]


def comparisons(settings: Sequence[Setting], results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row for each pair of settings that is compared: gains over the switches and at shams, with their intervals."""
    found = Found(results)
    return [
        {
            "setting": one.name,
            "against": other.name,
            **_figure("gain", found.differences(one, other, SWITCHES, success), GAIN),
            **_figure("artefacts", found.differences(one, other, SWITCHES, artefacts), MEAN),
            **_figure("sham_gain", found.differences(one, other, SHAM, success), GAIN),
            **_figure("sham_jump", found.differences(one, other, SHAM, jump), MEAN),
        }
        for one, other in compared(settings)
    ]


def _figure(
    name: str, groups: Groups, interval: Callable[[Sequence[list[float]]], statistics.Interval | None]
) -> Mapping[str, Any]:
    return {
        name: statistics.grouped_mean(groups),
        f"{name}_ci": statistics.ends_of(interval, groups),
        f"{name}_n": len(groups),
    }
