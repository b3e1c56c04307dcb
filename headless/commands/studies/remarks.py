"""What must be known to read the numbers of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENOUGH = 32  # seeds a case, for numbers that may be quoted
ENOUGH_LONG = 16  # seeds of long videos
LONG = ("long", "drift")  # studies of these


def enough(study: str) -> int:
    """How many seeds numbers need that may be quoted."""
    return ENOUGH_LONG if study in LONG else ENOUGH


def remarks_on(
    study: str, seeds: range, trained: bool, machine: Mapping[str, Any], *, layout: str = "f1"
) -> list[str]:
    """What must be known to read the numbers."""
    remarks = [
        f"TransitionBench, study {study}, {len(seeds)} seeds a case (from {seeds.start} on).",
        _counted(study, layout),
    ]
    remarks.append(
        f"Sampled in {machine['dtype']} on {machine['device']}, one thread a process, torch {machine['torch']}."
    )
    if machine["dtype"] == "bfloat16":
        remarks.append("In bfloat16 some verdicts depend on the processor: to quote, leave --bfloat16 out.")
    if not trained:
        remarks.append(
            "The embedded model's weights are random: these numbers only show that everything runs."
        )
    if len(seeds) < enough(study):
        remarks.append(f"A quick look: fewer than {enough(study)} seeds a case are not enough to quote.")
    remarks.append("Sizes of effects in this miniature do not carry over to the 13B model.")
    return remarks


def _counted(study: str, layout: str) -> str:
    """Which episodes are counted."""
    if study in ("drift", "later"):
        return "All videos are counted."
    if layout != "f1":
        return (
            f"Layout {layout}: everything is told in the order of generation, from the end of the video to its beginning. The new scene "
            "is the earlier one; only episodes that show the later one right after the switch are counted."
        )
    if study == "shots":
        return "Only episodes that showed their first scene are counted."
    if study == "long":
        return "All switches of a video are counted, also those after one that failed."
    return "Only episodes that were right before the switch are counted."
