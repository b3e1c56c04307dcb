"""What the agreement study finds: figures over scored clips, with what was aimed at."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from statistics import fmean
from typing import Any

import numpy as np

from .. import statistics
from . import rendered
from .rendered import GHOSTS
from .study import SCENE_EVENTS, SUBJECT_EVENTS, ScoredClip

AUC_GOAL, RANK_GOAL, LATENCY_GOAL = 0.97, 0.9, 0.9
TOLERANCE = 2  # frames
WAVER = 0.01  # by which a likeness may fall and still count as rising
ABRUPT, FADING = ("at once", "delayed"), ("fading",)


def gates(scored: Sequence[ScoredClip]) -> list[dict[str, Any]]:
    """Every question with what was found, what was aimed at, and on how many clips."""
    drawn, made = ([one for one in scored if one.source == source] for source in ("rendered", "generated"))
    ways = (("stf_reference", "with reference"), ("stf", "texts alone"))
    return [
        *(_auc_row("STF against success", by=by, clips=drawn, truth="succeeds", key=key) for key, by in ways),
        *(_auc_row("STF against success", by=by, clips=made, truth="succeeds", key=key) for key, by in ways),
        *(_rank_row(by, made, key) for key, by in ways),
        _latency_row("all changes", drawn, (*ABRUPT, *FADING)),
        _latency_row("abrupt changes", drawn, ABRUPT),
        _latency_row("fading ones", drawn, FADING),
        _auc_row("DF against presence", by="detector", clips=drawn, truth="gone", key="df"),
        _auc_row("DF against presence", by="texts", clips=drawn, truth="gone", key="df_text"),
        _auc_row("DF against presence", by="texts", clips=made, truth="gone", key="df_text"),
        _ghost_row("place, time, cut", drawn, SCENE_EVENTS),
        _ghost_row("subject", drawn, SUBJECT_EVENTS),
    ]


def latencies(scored: Sequence[ScoredClip]) -> list[dict[str, Any]]:
    """Share of TL90 within TOLERANCE of the truth: of every way to measure it, by what changes and how."""
    rows = []
    for key, by in (
        ("tl", "whole frames by CLIP"),
        ("tl_reference", "whole frames by CLIP, with reference"),
        ("tl_pixels", "whole frames by pixels"),
        ("tl_subject", "the subject's detector"),
    ):
        row: dict[str, Any] = {"by": by}
        for what, events in (("subject", SUBJECT_EVENTS), ("scene", SCENE_EVENTS)):
            for how, kinds in (("abrupt", ABRUPT), ("fading", FADING)):
                clips = [one for one in scored if one.event in events and one.kind in kinds]
                row[f"{what}, {how}"] = within([(one.latency, getattr(one.scores, key)) for one in clips])
        rows.append(row)
    return rows


def within(pairs: Sequence[tuple[int | None, float | None]]) -> float | None:
    """Share of measured frames that are no farther than TOLERANCE from the true ones, None without any."""
    known = [(true, found) for true, found in pairs if true is not None and found is not None]
    return fmean(abs(found - true) <= TOLERANCE for true, found in known) if known else None


def by_kind(scored: Sequence[ScoredClip]) -> list[dict[str, Any]]:
    """Of every kind of rendered clip the mean scores, and how far TL90 is right."""
    rows = []
    for kind in rendered.KINDS:
        clips = [one for one in scored if one.source == "rendered" and one.kind == kind]
        rows.append(
            {
                "kind": kind,
                "n": len(clips),
                **{
                    key: _mean([getattr(one.scores, key) for one in clips])
                    for key in ("stf_reference", "stf", "gas", "df", "df_text")
                },
                "tl_within": within([(one.latency, one.tl) for one in clips]),
            }
        )
    return rows


def arm_means(scored: Sequence[ScoredClip], key: str) -> list[dict[str, Any]]:
    """Of every arm the share of successes and the mean of a score, over the same generated episodes."""
    rows = []
    for arm in dict.fromkeys(one.kind for one in scored if one.source == "generated"):
        mine = [one for one in scored if one.source == "generated" and one.kind == arm]
        mine = [one for one in mine if getattr(one.scores, key) is not None]
        if mine:
            score = fmean(getattr(one.scores, key) for one in mine)
            rows.append(
                {
                    "arm": arm,
                    "n": len(mine),
                    "score": score,
                    "success": fmean(bool(one.succeeds) for one in mine),
                }
            )
    return rows


def ghost_curves(scored: Sequence[ScoredClip]) -> list[tuple[str, list[float]]]:
    """Of every seed whose likeness is known at all opacities, the event and GAS from a clean change to none."""
    order = ("at once", *GHOSTS, "never")
    found = {(one.seed, one.kind): one for one in scored if one.source == "rendered" and one.kind in order}
    curves = []
    for seed in sorted({seed for seed, _ in found}):
        known = [found[seed, kind].scores.gas for kind in order if (seed, kind) in found]
        curve = [gas for gas in known if gas is not None]
        if len(curve) == len(order):
            curves.append((found[seed, order[0]].event, curve))
    return curves


def is_rising(curve: Sequence[float]) -> bool:
    """Whether a curve never falls by more than rounding and ends higher than it began."""
    return bool(np.diff(curve).min() >= -WAVER and curve[-1] > curve[0])


def _auc_row(question: str, *, by: str, clips: Sequence[ScoredClip], truth: str, key: str) -> dict[str, Any]:
    known = [(getattr(one, truth), getattr(one.scores, key)) for one in clips]
    known = [(true, score) for true, score in known if true is not None and score is not None]
    yes, no = ([score for true, score in known if true is wanted] for wanted in (True, False))
    area = statistics.auc(yes, no) if yes and no else None
    return _row(f"{question}, AUC", by=by, clips=clips, n=len(known), value=area, goal=AUC_GOAL)


def _rank_row(by: str, clips: Sequence[ScoredClip], key: str) -> dict[str, Any]:
    means = arm_means(clips, key)
    ranks = statistics.rank_correlation(*([row[name] for row in means] for name in ("score", "success")))
    return _row(
        "STF against success, ranks of arm means",
        by=by,
        clips=clips,
        n=len(means),
        value=ranks,
        goal=RANK_GOAL,
    )


def _latency_row(by: str, clips: Sequence[ScoredClip], kinds: Sequence[str]) -> dict[str, Any]:
    pairs = [(one.latency, one.tl) for one in clips if one.kind in kinds and one.tl is not None]
    return _row(
        f"TL90 within {TOLERANCE} frames",
        by=by,
        clips=clips,
        n=len(pairs),
        value=within(pairs),
        goal=LATENCY_GOAL,
    )


def _ghost_row(by: str, clips: Sequence[ScoredClip], events: Sequence[str]) -> dict[str, Any]:
    rising = [is_rising(curve) for event, curve in ghost_curves(clips) if event in events]
    share = fmean(rising) if rising else None
    return _row("GAS rises with opacity", by=by, clips=clips, n=len(rising), value=share, goal=None)


def _row(
    question: str, *, by: str, clips: Sequence[ScoredClip], n: int, value: float | None, goal: float | None
) -> dict[str, Any]:
    """One figure; n is what it counts, clips or arms."""
    value = None if value is None or isnan(value) else value
    met = None if goal is None or value is None else value >= goal
    source = clips[0].source if clips else "-"
    return {"question": question, "clips": source, "by": by, "n": n, "value": value, "goal": goal, "met": met}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
