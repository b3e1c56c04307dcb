"""How much of a section's attention falls on the packed past, for the trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...models.attention.joint import PAST
from ...models.attention.probe import AttentionShares, Probe
from ..techniques.base import EDGE, Step

# Where a picture is composed, and where the techniques' windows end by default: sigma 0.89 at FramePack's shift of 7.
EARLY = 0.54


@dataclass(frozen=True, eq=False)
class StepMemory:
    """Where the attention of one step went."""

    step: Step
    shares: AttentionShares


def first_shares(probe: Probe) -> AttentionShares | None:
    """The attention of the first prediction, that of the positive text; None where no forward evaluated it."""
    parts = (shares.of_first_conditioning() for shares in probe.measured)
    return next((part for part in parts if part is not None), None)


def memory_record(measured: Sequence[StepMemory]) -> dict[str, Any] | None:
    """A section's measurements as plain data; None without any.

    `mass` is the share of the window's attention that falls on the packed past (start, last, 2x and 4x), the mean over
    rows, heads, blocks, videos and the early steps (t of EARLY and more; all steps where none is so early); `videos` has it
    for each video, `segments` for each segment, `steps` for each step. `context_tokens` and `rest_tokens` count what it
    is shared among, the mean where that changes between these steps.
    """
    if not measured:
        return None
    steps = [_step_record(one) for one in measured]
    early = [number for number, one in enumerate(measured) if one.step.t > EARLY - EDGE] or range(
        len(measured)
    )
    decisive = [steps[number] for number in early]
    names = {name: None for step in decisive for name in step["segments"]}
    return {
        "mass": _mean(step["mass"] for step in decisive),
        "context_tokens": _mean(step["context_tokens"] for step in decisive),
        "rest_tokens": _mean(step["rest_tokens"] for step in decisive),
        "segments": {name: _mean(step["segments"].get(name, 0.0) for step in decisive) for name in names},
        "videos": [_mean(masses) for masses in zip(*(_masses(measured[number].shares) for number in early))],
        "steps": steps,
    }


def _step_record(one: StepMemory) -> dict[str, Any]:
    lengths = {name: place.stop - place.start for name, place in one.shares.segments.items()}
    context = sum(length for name, length in lengths.items() if name in PAST)
    return {
        "sigma": one.step.sigma,
        "t": one.step.t,
        "mass": _mean(_masses(one.shares)),
        "segments": dict(zip(lengths, one.shares.of_segments.mean(dim=0).tolist())),
        "context_tokens": context,
        "rest_tokens": sum(lengths.values()) - context,
    }


def _masses(shares: AttentionShares) -> list[float]:
    """The share of attention on the packed past, video by video."""
    inside = [number for number, (name, _) in enumerate(shares.segments.items()) if name in PAST]
    masses: Tensor = shares.of_segments[:, inside].sum(dim=1)
    return masses.tolist()


def _mean(values: Any) -> Any:
    """The mean; a number that does not change stays as it is, whole numbers whole."""
    numbers = list(values)
    return numbers[0] if len(set(numbers)) == 1 else sum(numbers) / len(numbers)
