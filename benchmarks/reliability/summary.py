"""What renders that were killed came to, as plain data and in lines."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .bench import Found

MEGABYTE = 10**6


def facts(found: Found) -> dict[str, Any]:
    """For the report."""
    return {
        "kills": dict(_ways(found)),
        "renders": len(found.renders),
        "faults": found.faults(),
        "undisturbed_seconds": round(found.seconds, 2),
        "memory": found.memory,
        "trials": [vars(trial) for trial in found.trials],
    }


def table(found: Found) -> str:
    """For the terminal."""
    ways = ", ".join(f"{count} {name}" for name, count in sorted(_ways(found).items()))
    equal = sum(not differences for differences in found.renders.values())
    lost = sum(trial.lost for trial in found.trials)
    lines = [
        f"{found.kills} stops ({ways}) at random moments of a render that takes {found.seconds:.0f} s undisturbed.",
        f"{len(found.renders)} renders came to their end, {equal} of them bit for bit as the one that was left alone.",
        f"{lost} finished records were lost, {len(found.faults())} things went wrong.",
    ]
    return "\n".join([*lines, *_memory(found), *found.faults()])


def _memory(found: Found) -> list[str]:
    if found.memory is None:
        return []
    after = [trial.memory / MEGABYTE for trial in found.trials if trial.memory is not None]
    first, last = (value / MEGABYTE for value in found.memory)
    everywhere = f"After each start the ComfyUI took {min(after):.0f} to {max(after):.0f} MB"
    return [f"{everywhere}; as a rule {first:.0f} MB in the first quarter and {last:.0f} MB in the last."]


def _ways(found: Found) -> Counter[str]:
    return Counter(trial.signal for trial in found.trials if trial.signal)
