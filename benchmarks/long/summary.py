"""Rows of long videos: what becomes of switches one after another, and of the picture over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from ...metrics.scoring.survival import fraction_reached, restricted_mean
from .. import statistics
from ..transition.arms import PLAIN
from .measures import SectionMeasures, SwitchMeasures
from .results import LongResult

POOLED = "all"  # the scenario of rows over all that have switches
OVER_TIME = ("right", "colour", "sharpness")

Value = Callable[[SwitchMeasures], float | None]


def rows(results: Sequence[LongResult], section: int) -> list[dict[str, Any]]:
    """One row for each arm and scenario, and where several have switches for each arm over these; `section` in frames.

    All switches of a video count, also those that come after one that failed: `ready` is the share of those before which
    the scene was right, and `success_ready` is success among them. Intervals take the switches of one video together, and
    all videos of one start image.
    """
    scenarios = list(dict.fromkeys(result.scenario for result in results))
    switched = {result.scenario for result in results if result.switches}
    names = [POOLED, *scenarios] if len(switched) > 1 else scenarios
    return [
        {
            "technique": arm,
            "scenario": name,
            **_row(_of(results, arm, name), _of(results, PLAIN.name, name), section),
        }
        for arm in dict.fromkeys(result.arm for result in results)
        for name in names
    ]


def kinds(results: Sequence[LongResult]) -> list[dict[str, Any]]:
    """One row for each arm, scenario and switch of it, in the order in which they come."""
    made = []
    for arm, scenario in dict.fromkeys((result.arm, result.scenario) for result in results):
        videos = _of(results, arm, scenario)
        for number, first in enumerate(videos[0].switches):
            switches = [[video.switches[number] for video in alike] for alike in _by_image(videos)]
            made.append(
                {
                    "technique": arm,
                    "scenario": scenario,
                    "switch": number + 1,
                    "kind": first.kind,
                    "n": len(videos),
                    **_share("success", switches, lambda switch: switch.success),
                    "ready": _mean(switches, lambda switch: switch.ready),
                    "lasting": _mean(switches, lambda switch: switch.lasting),
                    "identity": _mean(switches, lambda switch: switch.identity),
                }
            )
    return made


def over_time(results: Sequence[LongResult]) -> list[dict[str, Any]]:
    """For each arm and scenario the means of every section, in the order of the video: see SectionMeasures."""
    return [
        {
            "technique": arm,
            "scenario": scenario,
            **{name: _curve(_of(results, arm, scenario), name) for name in OVER_TIME},
        }
        for arm, scenario in dict.fromkeys((result.arm, result.scenario) for result in results)
    ]


def _of(results: Sequence[LongResult], arm: str, scenario: str) -> list[LongResult]:
    """The results of an arm in a scenario, or in all scenarios that have switches."""
    return [
        result
        for result in results
        if result.arm == arm and (result.scenario == scenario or (scenario == POOLED and result.switches))
    ]


def _by_image(results: Sequence[LongResult]) -> list[list[LongResult]]:
    """The videos of each start image."""
    found: dict[str, list[LongResult]] = {}
    for result in results:
        found.setdefault(result.made_from, []).append(result)
    return list(found.values())


def _row(mine: Sequence[LongResult], plain: Sequence[LongResult], section: int) -> dict[str, Any]:
    images = [[switch for video in alike for switch in video.switches] for alike in _by_image(mine)]
    every = [switch for switches in images for switch in switches]
    ready = [[switch for switch in switches if switch.ready] for switches in images]
    won = [[switch for switch in switches if switch.success] for switches in images]
    waits = [section if switch.latency is None else switch.latency for switch in every]
    reached = [switch.latency is not None for switch in every]
    return {
        "videos": len(mine),
        "n": len(every),
        **_share("success", images, lambda switch: switch.success),
        **_gain(mine, plain),
        "ready": _mean(images, lambda switch: switch.ready),
        **_share("success_ready", ready, lambda switch: switch.success),
        "lasting": _mean(images, lambda switch: switch.lasting),
        **_share("relapse", won, lambda switch: not switch.lasting),
        "tl_frames": restricted_mean(waits, reached, section) if every else None,
        "reached": fraction_reached(waits, reached) if every else None,
        "remaining": _mean(images, lambda switch: switch.remaining),
        "artefacts": _mean(images, lambda switch: switch.artefacts),
        "first_scene": _mean(images, lambda switch: switch.first_scene),
        **_mean_with_interval("identity", images, lambda switch: switch.identity),
        **_drift("colour_drift", mine, lambda measures: measures.colour),
        **_drift("sharpness_drift", mine, lambda measures: measures.sharpness),
        "right_at_end": fmean(result.sections[-1].right for result in mine),
        "evaluations": _mean_where_all_tell([result.evaluations for result in mine]),
        "seconds": fmean(result.seconds for result in mine),
    }


def _share(
    name: str, images: Sequence[Sequence[SwitchMeasures]], value: Callable[[SwitchMeasures], bool]
) -> dict[str, Any]:
    """In how many switches something is so, with its interval."""
    groups = [[float(value(switch)) for switch in switches] for switches in images if switches]
    every = [so for group in groups for so in group]
    return {
        name: fmean(every) if every else None,
        f"{name}_ci": list(statistics.grouped_share_interval(groups)) if every else None,
        f"{name}_n": len(every),
    }


def _mean_with_interval(
    name: str, images: Sequence[Sequence[SwitchMeasures]], value: Value
) -> dict[str, Any]:
    """The mean of what some switches have, with its interval."""
    groups = [[x for switch in switches if (x := value(switch)) is not None] for switches in images]
    every = [x for group in groups for x in group]
    found = statistics.grouped_mean_interval(groups)
    return {
        name: fmean(every) if every else None,
        f"{name}_ci": None if found is None else list(found),
        f"{name}_n": len(every),
    }


def _gain(mine: Sequence[LongResult], plain: Sequence[LongResult]) -> dict[str, Any]:
    """Success minus that of the plain sampler, switch by switch; the plain sampler is not compared with itself."""
    theirs = {_episode(result): result.switches for result in plain}
    groups = [
        [
            float(a.success) - float(b.success)
            for video in alike
            if video.arm != PLAIN.name and _episode(video) in theirs
            for a, b in zip(video.switches, theirs[_episode(video)])
        ]
        for alike in _by_image(mine)
    ]
    every = [gain for group in groups for gain in group]
    return {
        "gain": fmean(every) if every else None,
        "gain_ci": list(statistics.grouped_gain_interval(groups)) if every else None,
    }


def _episode(result: LongResult) -> tuple[str, str, int]:
    return result.scenario, result.episode, result.seed


def _drift(
    name: str, videos: Sequence[LongResult], value: Callable[[SectionMeasures], float]
) -> dict[str, Any]:
    """By how much a measure of the last section differs from that of the first, with its interval."""
    groups = [
        [value(video.sections[-1]) - value(video.sections[0]) for video in alike]
        for alike in _by_image(videos)
    ]
    found = statistics.grouped_mean_interval(groups)
    moved = [value for group in groups for value in group]
    return {name: fmean(moved), f"{name}_ci": None if found is None else list(found)}


def _curve(videos: Sequence[LongResult], name: str) -> list[float]:
    sections = zip(*(video.sections for video in videos), strict=True)
    return [fmean(getattr(measures, name) for measures in alike) for alike in sections]


def _mean(images: Sequence[Sequence[SwitchMeasures]], value: Value) -> float | None:
    values = [x for switches in images for switch in switches if (x := value(switch)) is not None]
    return fmean(values) if values else None


def _mean_where_all_tell(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
