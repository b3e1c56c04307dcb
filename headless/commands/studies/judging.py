"""The study `judge` of TransitionBench: whether the verdict on a switch is true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ....benchmarks.agreement import confusion, judge
from ....benchmarks.transition import pictures
from ....benchmarks.transition.bench import Bench
from ....benchmarks.transition.running.results import Result
from ....nodes.evaluation.models import TINY, load_models
from ...workflows.errors import WorkflowError, as_sentences

JUDGE = "judge"


def judge_study(
    out: Path,
    seeds: range,
    measure: Callable[[Bench], list[Result]],
    features: str = TINY,
    **model: str,
) -> dict[str, Any]:
    """Verdicts on generated episodes, as suites and evaluators give them, beside the truth.

    features, model: what frames are compared by; raises WorkflowError where its weights are missing, before anything is
    sampled.
    """
    try:
        models = load_models(features, **model)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise WorkflowError(as_sentences(str(error))) from error
    bench = judge.bench(out, seeds)
    judged = judge.judge_all(measure(bench), bench.folder, models)
    rows = confusion.confusion(judged)
    judge.save_verdicts(out / judge.VERDICTS, judged)
    confusion.save_plot(out / pictures.PLOT, judged)
    return {
        "settings": bench.settings.describe(),
        "techniques": {arm.name: arm.describe() for arm in bench.arms},
        "features": features,
        "confusion": rows,
        "clips": judge.VERDICTS,
        "text": confusion.table(rows),
    }
