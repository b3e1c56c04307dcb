"""Evaluates the embedded model by what it generates: whether it keeps a scene and follows a new prompt.

Everything is measured by the analytic detector on decoded frames of episodes that training has not seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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

logger = logging.getLogger(__name__)

ROUND = 16  # episodes of each question at a time
TRIALS: Trials = {"plain": (), "remedy": PRESETS["balanced"]}
# In the order in which they matter where time is short.
QUESTIONS: dict[str, Callable[[Examiner, int, int], None]] = {
    "text_alone": Examiner.text_alone,
    "switches": Examiner.switches,
    "survival": Examiner.survival,
    "pair_text": Examiner.pair_text,
    "pair_leaves": Examiner.pair_leaves,
    "history_shows": Examiner.history_shows,
    "shams": Examiner.shams,
    "end_image": Examiner.end_image,
    "codec": Examiner.codec,
    "pair_switch": Examiner.pair_switch,
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

    The trial "remedy" is the preset `balanced`, early real guidance and a gate. With a `watch` it ends in time, with fewer
    episodes; every question is asked of the first ones before any is asked of further ones.
    """
    settings = settings or Settings()
    generator = Generator(bundle, settings)
    tally, watch = Tally(), watch or Stopwatch()
    examiner = Examiner(generator, tally, trials)
    asked = [name for name in questions if ONLY_IN.get(name, settings.layout) == settings.layout]
    for first in range(0, ceil(count * len(EVENTS) / round_size) * round_size, round_size):
        for name in asked:
            if watch.over:
                logger.info("the time is over after %d episodes and before the question %s", first, name)
                return report_of(tally, settings.layout)
            QUESTIONS[name](examiner, first, round_size)
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
