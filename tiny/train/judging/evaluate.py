"""Evaluates the embedded model by what it generates: whether it keeps a scene and follows a new prompt.

Everything is measured by the analytic detector on decoded frames of episodes that training has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from ....samplers.techniques.presets import PRESETS
from ...bundle import TinyBundle
from ..clock import Stopwatch
from .episodes import EVENTS
from .gates import gate_report
from .questions import Examiner, Trials
from .sampling import Generator, Settings
from .tally import Tally

ROUND = 16  # episodes of each question at a time
TRIALS: Trials = {"plain": (), "remedy": PRESETS["balanced"]}


@dataclass(frozen=True)
class Question:
    """A question, and about how many sections an episode of it generates (balanced counts half as much again)."""

    ask: Callable[[Examiner, int, int], None]
    sections: float


# In the order in which they matter where time is short.
QUESTIONS = {
    "text_alone": Question(Examiner.text_alone, 1.0),
    "switches": Question(Examiner.switches, 3.5),
    "survival": Question(Examiner.survival, 3.0),
    "pair_text": Question(Examiner.pair_text, 1.0),
    "pair_leaves": Question(Examiner.pair_leaves, 1.0),
    "history_shows": Question(Examiner.history_shows, 1.0),
    "shams": Question(Examiner.shams, 3.5),
    "end_image": Question(Examiner.end_image, 1.0),
    "codec": Question(Examiner.codec, 1.0),
    "pair_switch": Question(Examiner.pair_switch, 3.5),
}
QUICK = ("text_alone", "survival", "history_shows", "switches")
ONLY_IN = {"end_image": "original", "history_shows": "f1"}


def evaluate(
    bundle: TinyBundle,
    count: int = 32,
    settings: Settings | None = None,
    trials: Trials = TRIALS,
    *,
    questions: Sequence[str] = tuple(QUESTIONS),
    round_size: int = ROUND,
    watch: Stopwatch | None = None,
) -> dict[str, Any]:
    """All figures of what is generated: `count` episodes an event type, and as many of every other question in all.

    The trial "remedy" is the preset `balanced`, early real guidance and a gate. With a `watch` it ends in time: every question is asked
    of the first episodes before any is of further ones, and one for which there is not enough time is passed over.
    """
    settings = settings or Settings()
    generator = Generator(bundle, settings)
    tally, watch = Tally(), watch or Stopwatch()
    examiner = Examiner(generator, tally, trials)
    asked = [QUESTIONS[name] for name in questions if ONLY_IN.get(name, settings.layout) == settings.layout]
    slowest = 0.0  # seconds a section has taken, at most
    for first in range(0, ceil(count * len(EVENTS) / round_size) * round_size, round_size):
        for question in asked:
            if watch.over or question.sections * slowest > watch.left:
                continue
            began = watch.seconds
            question.ask(examiner, first, round_size)
            slowest = max(slowest, (watch.seconds - began) / question.sections)
    return report_of(tally, settings.layout)


def report_of(tally: Tally, layout: str) -> dict[str, Any]:
    """A tally as the log and the curve take it, with the gates of a layout; what was not asked is None."""
    switch = {
        name: {
            "valid": tally.asked[name],
            "success": tally.share(name),
            "stayed": tally.share(f"{name} stayed"),
            "by_event": {
                event: {
                    "valid": tally.asked[f"{name} {event}"],
                    "success": tally.right[f"{name} {event}"],
                    "stayed": tally.right[f"{name} stayed {event}"],
                }
                for event in EVENTS
            },
        }
        for name in ("plain", "remedy")
    }
    understood = {
        name: {
            "success": tally.share(name),
            "by_event": {event: tally.right[f"{name} {event}"] for event in EVENTS},
        }
        for name in ("zero", "new")
    }
    return {
        "episodes": tally.asked["zero"],
        "survival": {f"section_{s}": tally.share(f"survival section_{s}") for s in (1, 2, 3)},
        **understood,
        **switch,
        "sham": {
            "valid": tally.asked["sham plain"],
            **{
                name: {"success": tally.share(f"sham {name}"), "jump": _mean(tally, f"sham jump {name}")}
                for name in ("plain", "remedy")
            },
        },
        "pair": {name: tally.share(name) for name in tally.names() if name.startswith("pair")},
        "end": tally.share("end"),
        "codec": {"one": tally.share("codec"), "pair": tally.share("codec pair")},
        "gates": gate_report(tally, layout),
    }


def _mean(tally: Tally, name: str) -> float | None:
    values = tally.values.get(name)
    return float(np.mean(values)) if values else None
