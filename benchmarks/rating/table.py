"""The figures of people's ratings as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..transition.pictures import markdown, percent, with_interval

Row = Mapping[str, Any]


def table(figures: Mapping[str, Any]) -> str:
    """How far people and judge agree, what was seen under each arm, and what was preferred."""
    agreed = [
        _agreement("judge, people", figures["people"]),
        *(_agreement(f"judge, {row['rater']}", row) for row in figures["raters"]),
        *(_agreement(", ".join(row["raters"]), row) for row in figures["between"]),
    ]
    seen = [_seen(row) for row in figures["seen"] if row["n"]]
    preferred = [_preferred(row) for row in figures["preferences"] if row["n"]]
    return "\n".join(markdown(lines) for lines in (agreed, seen, preferred) if lines)


def _agreement(name: str, row: Row) -> dict[str, str]:
    return {
        "agreement": name,
        "videos": str(row["n"]),
        "kappa": with_interval(row, "kappa"),
        "both success": str(row["both"]),
        "only the first": str(row["only_first"]),
        "only the second": str(row["only_second"]),
        "neither": str(row["neither"]),
    }


def _seen(row: Row) -> dict[str, str]:
    return {
        "people saw": row["technique"],
        "in": row["case"],
        "answers": str(row["n"]),
        "success": with_interval(row, "success"),
        "old": str(row["old"]),
        "half": str(row["half"]),
        "new": str(row["new"]),
        "broken": with_interval(row, "broken_share"),
        "jumped": with_interval(row, "jumped"),
    }


def _preferred(row: Row) -> dict[str, str]:
    asked = {"followed": "followed the prompt", "looks": "looks better"}
    return {
        "which": asked[row["question"]],
        "in": row["case"],
        "answers": str(row["n"]),
        "treated": str(row["treated"]),
        "no difference": str(row["same"]),
        "plain": str(row["plain"]),
        "treated of the decided": with_interval(row, "preferred")
        if row["preferred"] is not None
        else percent(None),
    }
