"""What the videos of scripts amount to, switch by switch, plain against treated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any

from ....metrics import SwitchScores, VideoScores, aggregate_latencies
from ... import statistics
from ...transition.pictures import markdown, number, percent, signed_difference, with_interval
from ...transition.summary import POOLED

Groups = list[list[float]]  # values by script
Value = Callable[[SwitchScores], float | None]


@dataclass(frozen=True, eq=False, kw_only=True)
class ScriptResult:
    """The scores of one video.

    script, seed, arm: the script, the seed of the noise, and "plain" or "treated".
    scores: of all its switches.
    evaluations: calls of the model; None where no trace says so.
    seconds: time of sampling.
    """

    script: str
    seed: int
    arm: str
    scores: VideoScores
    evaluations: int | None
    seconds: float


@dataclass(frozen=True)
class Pair:
    """One switch of one script and seed, plain and treated, and its place in the script from 1 on."""

    script: str
    place: int
    switches: tuple[SwitchScores, SwitchScores]


def pairs_of(results: Sequence[ScriptResult], plain: str, treated: str) -> list[Pair]:
    """The switches before which the old scene was seen in both videos: only these count."""
    found = {(result.script, result.seed, result.arm): result for result in results}
    both = [
        (result, found[result.script, result.seed, treated])
        for result in results
        if result.arm == plain and (result.script, result.seed, treated) in found
    ]
    return [
        Pair(one.script, place, switches)
        for one, other in both
        for place, switches in enumerate(zip(one.scores.switches, other.scores.switches), 1)
        if all(success(switch) is not None for switch in switches)
    ]


def success(switch: SwitchScores) -> float | None:
    """The verdict on a switch as a number, None where there is none."""
    known = switch.verdict is not None and switch.verdict.success is not None
    return float(bool(switch.verdict and switch.verdict.success)) if known else None


def fidelity(switch: SwitchScores) -> float | None:
    """STF, where it is valid."""
    metric = switch.metrics["stf"]
    return metric.value if metric.valid and isfinite(metric.value) else None


def ghosting(switch: SwitchScores) -> float | None:
    """GAS by its founding formula, which needs no reference."""
    founding = switch.metrics["gas"].founding
    return founding if isfinite(founding) else None


MEASURES: Mapping[str, Value] = {"success": success, "stf": fidelity, "gas_founding": ghosting}


def rows(pairs: Sequence[Pair], results: Sequence[ScriptResult]) -> list[dict[str, Any]]:
    """One row for each arm over all switches, and for each arm and place of a switch in its script."""
    arms = list(dict.fromkeys(result.arm for result in results))
    return [
        _row(number, arm, case, pairs=chosen, results=results)
        for number, arm in enumerate(arms)
        for case, chosen in _cases(pairs).items()
    ]


def differences(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Treated minus plain, switch by switch, with an interval that takes those of one script together."""
    return [
        entry
        for case, chosen in _cases(pairs).items()
        for name in MEASURES
        if (entry := _difference(name, case, chosen)) is not None
    ]


def table(rows: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> str:
    """The arms over all switches and at each place, and what treatment changed over all of them."""
    lines = [
        {
            "arm": row["technique"],
            "switches": row["case"],
            "n": str(row["n"]),
            "success": with_interval(row, "success"),
            "gain over plain": with_interval(row, "gain"),
            "STF": percent(row["stf"]),
            "TL frames": number(row["tl_frames"]),
            "reached": percent(row["reached"]),
            "GAS, founding": percent(row["gas_founding"]),
            "evaluations": number(row["evaluations"]),
        }
        for row in rows
    ]
    changed = [
        {"treated - plain": entry["measure"], "n": str(entry["n"]), "difference": signed_difference(entry)}
        for entry in differences
        if entry["case"] == POOLED
    ]
    return "\n".join(markdown(part) for part in (lines, changed) if part)


def _cases(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    places = sorted({pair.place for pair in pairs})
    return {
        POOLED: list(pairs),
        **{f"switch {place}": [pair for pair in pairs if pair.place == place] for place in places},
    }


def _row(
    arm_number: int, arm: str, case: str, *, pairs: Sequence[Pair], results: Sequence[ScriptResult]
) -> dict[str, Any]:
    mine = {name: _groups(pairs, _one(value, arm_number)) for name, value in MEASURES.items()}
    gains = _groups(pairs, _gain(success)) if arm_number else []
    waits = aggregate_latencies(pair.switches[arm_number].metrics["tl90"] for pair in pairs)
    videos = [result for result in results if result.arm == arm]
    calls = [result.evaluations for result in videos if result.evaluations is not None]
    return {
        "technique": arm,
        "case": case,
        "n": len(pairs),
        "success": statistics.grouped_mean(mine["success"]),
        "success_ci": statistics.ends_of(statistics.grouped_share_interval, mine["success"]),
        "gain": statistics.grouped_mean(gains),
        "gain_ci": statistics.ends_of(statistics.grouped_gain_interval, gains),
        "stf": statistics.grouped_mean(mine["stf"]),
        "tl_frames": _known(waits.restricted_mean),
        "reached": _known(waits.reached),
        "gas_founding": statistics.grouped_mean(mine["gas_founding"]),
        "evaluations": fmean(calls) if calls else None,
        "seconds": fmean(result.seconds for result in videos),
    }


def _difference(name: str, case: str, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    gains = _groups(pairs, _gain(MEASURES[name]))
    by = statistics.grouped_gain_interval if name == "success" else statistics.grouped_mean_interval
    if not gains:
        return None
    return {
        "measure": name,
        "case": case,
        "n": sum(map(len, gains)),
        "mean": statistics.grouped_mean(gains),
        "ci": statistics.ends_of(by, gains),
    }


def _one(value: Value, arm: int) -> Callable[[Pair], float | None]:
    return lambda pair: value(pair.switches[arm])


def _gain(value: Value) -> Callable[[Pair], float | None]:
    """How much more of a value the treated video has."""

    def gain(pair: Pair) -> float | None:
        less, more = map(value, pair.switches)
        return None if less is None or more is None else more - less

    return gain


def _groups(pairs: Sequence[Pair], value: Callable[[Pair], float | None]) -> Groups:
    """The values of the switches of each script; None is left out."""
    found: dict[str, list[float]] = {}
    for pair in pairs:
        if (known := value(pair)) is not None:
            found.setdefault(pair.script, []).append(known)
    return list(found.values())


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
