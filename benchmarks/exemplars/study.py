"""Whether a clip that shows the new scene, in place of the old history or start frame, brings changes that the preset does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ...samplers.techniques.presets import PRESETS
from .. import statistics
from ..transition import summary
from ..transition.arms import EXEMPLAR, PLAIN, Arm, SwitchConditions
from ..transition.bench import Bench
from ..transition.episodes import SWITCHES
from ..transition.pictures import markdown, percent, signed_share, with_interval
from ..transition.running.results import Result
from ..transition.running.sampling import BenchSettings

CASES = ("background", "cut", "disappear", "sham")
BALANCED = Arm("preset balanced", PRESETS["balanced"])
MODES = {
    "history": SwitchConditions(history=EXEMPLAR),
    "anchor": SwitchConditions(anchor=EXEMPLAR),
    "both": SwitchConditions(history=EXEMPLAR, anchor=EXEMPLAR),
}
ALONE = tuple(Arm(f"exemplar as {mode}", (), where) for mode, where in MODES.items())
BESIDE = tuple(
    Arm(f"exemplar as {mode} + balanced", BALANCED.techniques, where) for mode, where in MODES.items()
)
ARMS = (PLAIN, BALANCED, *ALONE, *BESIDE)
# What an exemplar alone is compared with, and what one beside the preset is.
AGAINST = {PLAIN.name: (BALANCED, *ALONE), BALANCED.name: BESIDE}

Episodes = Mapping[tuple[str, int], Result]


def success(result: Result) -> bool:
    """Whether place, time and subject are right."""
    return result.measures.success


def place(result: Result) -> bool | None:
    """Whether place and time are right."""
    return result.measures.place


def subject(result: Result) -> bool | None:
    """Whether the subject has the shape and colour that was asked for, or is gone."""
    return result.measures.subject


def bench(folder: Path, seeds: range) -> Bench:
    """One section after the switch, under all arms."""
    return Bench(
        folder=folder,
        seeds=len(seeds),
        first_seed=seeds.start,
        settings=BenchSettings(after=1),
        arms=ARMS,
        cases=CASES,
    )


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row an arm: what is right at the end of the section over the switches, and at shams."""
    by_arm = {arm.name: _valid(results, arm.name) for arm in ARMS}
    against = {arm.name: name for name, arms in AGAINST.items() for arm in arms}
    return [
        _row(arm.name, by_arm[arm.name], against.get(arm.name, ""), by_arm)
        for arm in ARMS
        if by_arm[arm.name]
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every arm with what it gets right, and what it brings against plain or, beside the preset, against the preset."""
    shams = rows[0]["sham_n"] if rows else 0
    return markdown(
        [
            {
                "arm": row["arm"],
                "n": str(row["success_n"]),
                "place and time": with_interval(row, "place"),
                "subject": with_interval(row, "subject"),
                "all right": with_interval(row, "success"),
                "against": row["against"] or "-",
                "gain": with_interval(row, "gain", signed_share),
                f"sham right ({shams})": with_interval(row, "sham"),
                "sham gain": with_interval(row, "sham_gain", signed_share),
                "artefacts": percent(row["artefacts"]),
            }
            for row in rows
        ]
    )


def _valid(results: Sequence[Result], arm: str) -> Episodes:
    return {(result.case, result.seed): result for result in results if result.arm == arm and result.valid}


def _row(arm: str, mine: Episodes, against: str, by_arm: Mapping[str, Episodes]) -> dict[str, Any]:
    switched, shams = _of(mine, SWITCHES), _of(mine, ("sham",))
    theirs = by_arm.get(against, {})
    return {
        "arm": arm,
        "against": against,
        **summary.counted_share("place", list(switched.values()), place),
        **summary.counted_share("subject", list(switched.values()), subject),
        **summary.counted_share("success", list(switched.values()), success),
        **_gain("gain", switched, theirs),
        **summary.counted_share("sham", list(shams.values()), success),
        **_gain("sham_gain", shams, theirs),
        "artefacts": fmean(result.measures.artefacts for result in mine.values()),
    }


def _of(episodes: Episodes, cases: Sequence[str]) -> Episodes:
    return {key: result for key, result in episodes.items() if key[0] in cases}


def _gain(name: str, mine: Episodes, theirs: Episodes) -> dict[str, Any]:
    """How much more often all is right than in the same episodes under the other arm."""
    pairs = [(result, theirs[key]) for key, result in mine.items() if key in theirs]
    return summary.paired(name, statistics.gain_interval, pairs, lambda result: float(success(result)))
