"""The table of the study of LoRAs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..transition.pictures import markdown, number, percent, signed, signed_share, with_interval

Row = Mapping[str, Any]
INTERVALS = (
    "Intervals are over episodes, whose trainings are taken together. How far other trainings would lie apart they do not say: "
    "look at the single ones."
)


def table(rows: Sequence[Row], compared: Sequence[Row]) -> str:
    """Every setting with its trainings, and below what one setting brings and costs against another."""
    lines = [_line(row) for row in rows], [_comparison(row) for row in compared]
    return "\n".join([*map(markdown, lines), INTERVALS, ""])


def _line(row: Row) -> dict[str, str]:
    return {
        "setting": row["setting"],
        "n": str(row["success_n"]),
        "success": with_interval(row, "success"),
        "of each training": ", ".join(map(percent, row["success_by_training"])),
        "artefacts": percent(row["artefacts"]),
        "evaluations": number(row["evaluations"]),
        f"sham success ({row['sham_n']})": with_interval(row, "sham"),
        "sham jump px": number(row["sham_jump"]),
    }


def _comparison(row: Row) -> dict[str, str]:
    return {
        "setting": row["setting"],
        "against": row["against"],
        "success": with_interval(row, "gain", signed_share),
        "artefacts": with_interval(row, "artefacts", signed_share),
        "sham success": with_interval(row, "sham_gain", signed_share),
        "sham jump px (n)": f"{with_interval(row, 'sham_jump', signed)} ({row['sham_jump_n']})",
    }
