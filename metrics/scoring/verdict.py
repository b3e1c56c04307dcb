"""The rule that decides whether a switch succeeded: one for suites, the command `evaluate` and the evaluator nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan

from ..results import Guard, Metric, Verdict

HALF = 0.5
VALIDATED = frozenset({"tiny"})  # features by which the rule was compared with the truth, see docs/METRICS.md
UNVALIDATED = (
    "The verdict was not validated for {features} features; docs/METRICS.md says by which command it is."
)


def decide(metrics: Mapping[str, Metric], guards: Sequence[Guard] = (), *, stays: bool = False) -> Verdict:
    """The verdict on a switch by its metrics: `stf` with the shares of both states in its details, and `df`.

    A switch succeeds if in the settled frames the mean share of the new state among old, new and distractors is at least
    a half, what should be gone is gone by at least a half where a detector looked for it, and no guard fails. With
    `stays` nothing should change, and it is the share of the old state that counts. Nothing can be said where the shares
    are unknown, or where before the switch the old state has no larger share than the new one.
    """
    fidelity = metrics["stf"]
    new, old = _shares(fidelity, "p_old", "old_before")
    if not isfinite(new + fidelity.details.get("p_settled", nan)):
        return Verdict(success=None, reason=fidelity.reason)
    if new >= old:
        return Verdict(success=None, reason=f"the old scene is not seen before the switch (share {old:.2f})")
    return outcome(metrics, guards, stays=stays)


def outcome(metrics: Mapping[str, Metric], guards: Sequence[Guard] = (), *, stays: bool = False) -> Verdict:
    """The verdict on what is seen after a switch, whatever was seen before it; the arguments are those of `decide`.

    A video with many switches is judged so, in which one that failed comes before the next one. An unknown share is no success.
    """
    fidelity, vanished = metrics["stf"], metrics["df"]
    new, old = _shares(fidelity, "p_settled", "old_settled")
    share = old if stays else new
    faults = [guard.reason for guard in guards if not guard.ok]
    if vanished.value < HALF:
        faults.append("what should be gone is still seen")
    if not share >= HALF:
        faults.append(f"the {'old' if stays else 'new'} state has a share of {share:.2f} only")
    return Verdict(success=not faults, share=share, reason="; ".join(faults))


def _shares(fidelity: Metric, new: str, old: str) -> tuple[float, float]:
    """Shares of the new and of the old state; without distractors the old one has what the new one has not."""
    share = fidelity.details.get(new, nan)
    return share, fidelity.details.get(old, 1 - share)
