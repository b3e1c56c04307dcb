"""The metrics and guards of one switch, and their averages over switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..arrays import mean
from ..definitions.disappearance import calibrate
from ..measuring.evidence import Evidence, features_of
from ..results import Guard, Metric, SwitchScores, failures, undefined
from .guards import guards, kept_features, kept_object
from .registry import BY_KEY, METRICS
from .survival import aggregate_latencies
from .verdict import decide


def score_switch(evidence: Evidence) -> SwitchScores:
    """The metrics and guards of one switch; a metric is not valid where a guard fails."""
    switch = evidence.switch
    if not switch.changes:
        reason = "the prompt does not change here"
        return SwitchScores(switch, {spec.key: undefined(reason) for spec in METRICS})
    checks = _guards(evidence)
    metrics, failed = _metrics(evidence), failures(checks)
    if failed:
        metrics = {key: metric.but(failed) if metric.valid else metric for key, metric in metrics.items()}
    verdict = replace(decide(metrics, checks), distractors=evidence.distractors if evidence.texts else ())
    return SwitchScores(switch, metrics, checks, verdict)


def summary(scores: Sequence[SwitchScores]) -> dict[str, float]:
    """Averages over switches by name; empty without a switch.

    `<key>` is the mean of the valid values and `<key>_founding` that of the founding values. A wait has
    `<key>_restricted_mean`, in frames, and `<key>_reached`, by Kaplan and Meier's estimate, instead of the first, and
    `<key>_unknown`, the number of switches that count as not reached because nothing says whether they were.
    """
    averages: dict[str, float] = {}
    for spec in METRICS if scores else ():
        metrics = [entry.metrics[spec.key] for entry in scores]
        averages |= _waits(spec.key, metrics) if spec.is_wait else {spec.key: _mean_of_valid(metrics)}
        averages[f"{spec.key}_founding"] = mean([metric.founding for metric in metrics])
    return averages


def _metrics(evidence: Evidence) -> dict[str, Metric]:
    """All metrics by key, in the order of the table."""
    known: dict[str, Metric] = {}
    for spec in METRICS:
        _compute(spec.key, evidence, known)
    return {spec.key: known[spec.key] for spec in METRICS}


def _compute(key: str, evidence: Evidence, known: dict[str, Metric]) -> Metric:
    """A metric, after those that it is computed from; `known` holds what is computed already."""
    if key not in known:
        spec = BY_KEY[key]
        known[key] = spec.compute(evidence, *(_compute(other, evidence, known) for other in spec.after))
    return known[key]


def _guards(evidence: Evidence) -> tuple[Guard, ...]:
    windows, reference = evidence.windows, evidence.reference
    checks = [*guards(evidence.measured, windows, None if reference is None else reference.measurements)]
    checks += [_kept_object(evidence, concept) for concept in evidence.kept]
    features = features_of(evidence.clip, evidence.kept_region)
    if features is not None:
        checks.append(
            kept_features(
                f"{evidence.kept_region} of the box",
                features,
                windows,
                control=features_of(evidence.control, evidence.kept_region),
                centre=evidence.centre,
            )
        )
    return tuple(checks)


def _kept_object(evidence: Evidence, concept: str) -> Guard:
    limit = calibrate(evidence.object_free.get(concept), evidence.threshold)
    return kept_object(concept, evidence.measured.detections[concept], evidence.windows, limit.confidence)


def _waits(key: str, metrics: Sequence[Metric]) -> dict[str, float]:
    latencies = aggregate_latencies(metrics)
    return {
        f"{key}_restricted_mean": latencies.restricted_mean,
        f"{key}_reached": latencies.reached,
        f"{key}_unknown": float(latencies.unknown),
    }


def _mean_of_valid(metrics: Sequence[Metric]) -> float:
    return mean([metric.value for metric in metrics if metric.valid])
