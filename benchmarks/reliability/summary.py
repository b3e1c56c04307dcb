"""What renders that were killed came to, as plain data and in lines."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .bench import Found


def facts(found: Found) -> dict[str, Any]:
    """For the report."""
    return {
        "kills": dict(_signals(found)),
        "renders": len(found.renders),
        "faults": found.faults(),
        "undisturbed_seconds": round(found.seconds, 2),
        "trials": [vars(trial) for trial in found.trials],
    }


def table(found: Found) -> str:
    """For the terminal."""
    signals = ", ".join(f"{count} {name}" for name, count in sorted(_signals(found).items()))
    equal = sum(not differences for differences in found.renders.values())
    lost = sum(trial.lost for trial in found.trials)
    lines = [
        f"{found.kills} signals ({signals}) at random moments of a render that takes {found.seconds:.0f} s undisturbed.",
        f"{len(found.renders)} renders came to their end, {equal} of them bit for bit as the one that was left alone.",
        f"{lost} finished records were lost, {len(found.faults())} things went wrong.",
    ]
    return "\n".join([*lines, *found.faults()])


def _signals(found: Found) -> Counter[str]:
    return Counter(trial.signal for trial in found.trials if trial.signal)
