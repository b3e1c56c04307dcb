"""RoPE jitter: attention heads that measure time by clocks that differ a little."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ....models.attention.policy import AttentionPolicy
from ...context.plan import Section
from ..base import Step, Technique, check_range, check_window, in_window


@dataclass(frozen=True, kw_only=True)
class RopeJitter(Technique):
    """The base of the rotary embedding along time, head by head: theta_h = theta (1 + sigma e_h), e_h in [-1, 1].

    Rows and columns keep theta. e_h is the golden ratio's sequence, 0 for the first head (see models.rope.head_thetas).
    Frames that are far away then no longer line up for all heads at once, which is what keeps videos without end from
    falling back to their beginning in LoL (multi-head RoPE jitter).

    sigma: how far the heads differ; 0 is off.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    """

    sigma: float = 0.0
    t_start: float = 1.0
    t_end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("sigma", self.sigma, 0, 0.9)
        check_window(self.t_start, self.t_end)

    def attention(self, section: Section, step: Step, policy: AttentionPolicy) -> AttentionPolicy:
        sigma = self._sigma(section, step)
        if sigma == 0:
            return policy
        if policy.rope_jitter is not None:
            raise ValueError("two RoPE jitters act on the same section; keep one of them.")
        return replace(policy, rope_jitter=torch.tensor(sigma))

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {"jitter": self._sigma(section, step)}

    def _sigma(self, section: Section, step: Step) -> float:
        """The jitter of a step."""
        return self.amount(section) * self.sigma if in_window(step, self.t_start, self.t_end) else 0.0
