"""The findings as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = {
    "name": "what",
    "milliseconds": "ms",
    "of_floor": "of the floor",
    "of_diffusers": "of diffusers",
    "of_plain": "of the plain forward",
    "peak_gib": "peak above the weights, GiB",
    "first_seconds": "first call, s",
    "difference": "difference from the plain forward",
}
DIGITS = {"milliseconds": 1, "first_seconds": 1}


def table(found: Mapping[str, Any]) -> str:
    """What was measured on what, a table of all works, and sentences on the sampler and on whole videos."""
    rows = found["rows"]
    columns = [key for key in COLUMNS if any(key in row for row in rows)]
    lines = [
        _line(COLUMNS[key] for key in columns),
        _line("---" for _ in columns),
        *(_line(_cell(key, row.get(key, "")) for key in columns) for row in rows),
    ]
    return "\n".join([_described(found), "", *lines, "", *_sentences(found), ""])


def _described(found: Mapping[str, Any]) -> str:
    facts = {**found["machine"], **found["settings"]}
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _sentences(found: Mapping[str, Any]) -> list[str]:
    sampler, videos = found["sampler"], found["seconds_of_videos"]
    lengths = ", ".join(
        f"{length} in {seconds:.0f} s ({model})"
        for model, times in videos.items()
        for length, seconds in times.items()
    )
    outside, inside = sampler["milliseconds_a_step_outside_the_model"], sampler["milliseconds_a_forward"]
    shares = (
        f"{sampler['overhead']:.1%} of it, and {sampler['overhead_of_this_size']:.2%} of the forward above"
    )
    return [
        f"Beside the embedded model's forward of {inside:.1f} ms the sampler takes {outside:.2f} ms: {shares}.",
        f"Videos without techniques: {lengths}.",
    ]


def _cell(key: str, value: Any) -> str:
    return f"{value:.{DIGITS.get(key, 3)}f}" if isinstance(value, float) else str(value)


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
