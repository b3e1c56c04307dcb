"""What trained weights are to reach, and how far they are from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .tally import Tally, exact_interval


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A figure and its bound.

    figure: the name of a question of the tally. less: another one whose share is taken off.
    at_least, at_most: the bound; one of them.
    """

    title: str
    figure: str
    less: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def value(self, tally: Tally) -> float | None:
        """The figure, None where it was not measured."""
        own, other = tally.share(self.figure), tally.share(self.less) if self.less else 0.0
        return None if own is None or other is None else own - other

    def met(self, value: float | None) -> bool | None:
        """Whether a value is within the bound, None for no value."""
        if value is None:
            return None
        rounded = round(value, 4)
        return rounded >= self.at_least if self.at_least is not None else rounded <= (self.at_most or 0.0)


def _shared(kept: float, text: float, plain: float, gain: float) -> tuple[Gate, ...]:
    """The gates that both layouts have."""
    return (
        Gate(title="scene kept over three sections", figure="survival section_3", at_least=kept),
        Gate(title="text alone", figure="zero", at_least=text),
        Gate(title="plain switch", figure="plain", at_most=plain),
        Gate(title="balanced over plain", figure="remedy", less="plain", at_least=gain),
    )


CODEC = (
    Gate(title="detector through the codec, one subject", figure="codec", at_least=0.99),
    Gate(title="detector through the codec, two subjects", figure="codec pair", at_least=0.99),
)
PAIRS = (
    Gate(title="two subjects, text alone: the named one is right", figure="pair named", at_least=0.90),
    Gate(title="one leaves, zero history: the other untouched", figure="pair zero other", at_least=0.95),
)
GATES: dict[str, tuple[Gate, ...]] = {
    "f1": (
        *_shared(0.94, 0.95, 0.40, 0.45),
        Gate(title="history shows the new scene", figure="new", at_least=0.98),
        Gate(title="old scene kept at a plain switch", figure="plain stayed", at_least=0.45),
        Gate(title="sham loss of balanced", figure="sham plain", less="sham remedy", at_most=0.03),
        *PAIRS,
        *CODEC,
    ),
    "original": (
        *_shared(0.90, 0.90, 0.45, 0.40),
        Gate(title="end image met within 2 px", figure="end", at_least=0.95),
        *PAIRS,
        *CODEC,
    ),
}


def gate_report(tally: Tally, layout: str) -> list[dict[str, Any]]:
    """The gates of a layout with value, number of episodes, exact interval of the figure, and whether they are met."""
    rows = []
    for gate in GATES[layout]:
        value, asked = gate.value(tally), tally.asked[gate.figure]
        # A loss is judged by the scenes that were lost, in pairs: the shares' difference hides those that were won.
        counted = "sham lost" if gate.figure.startswith("sham") else gate.figure
        interval = (
            exact_interval(tally.right[counted], tally.asked[counted]) if tally.asked[counted] else None
        )
        rows.append(
            {
                "gate": gate.title,
                "goal": gate.at_least if gate.at_least is not None else gate.at_most,
                "side": "at least" if gate.at_least is not None else "at most",
                "value": value,
                "n": asked,
                "interval": interval,
                "interval_of": counted,
                "met": gate.met(value),
            }
        )
    return rows


def gate_table(rows: Sequence[dict[str, Any]]) -> str:
    """The gates as lines of text."""
    lines = []
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:+.3f}"
        word = {True: "met", False: "MISSED", None: "-"}[row["met"]]
        between = "" if row["interval"] is None else "[{:.3f}, {:.3f}]".format(*row["interval"])
        of = f" of {row['interval_of']}" if between and row["interval_of"].startswith("sham") else ""
        lines.append(
            f"{row['gate']:50} {value:>12}  {row['side']} {row['goal']:<5g} {word:7} n {row['n']:<4} 95 %: {between}{of}"
        )
    return "\n".join(lines)
