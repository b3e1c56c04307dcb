"""Attention scaling: sharper attention early, the published AlignVid baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ....models.attention.blocks import block_set
from ....models.attention.policy import AttentionPolicy
from ...context.plan import Section
from ..base import Step, Technique, check_range, check_window, in_window

PUBLISHED_BLOCKS = {
    "f1": "single:0-7,12-16,18-20,23,25,29,32,36-39",
    "original": "single:0,2,4-7,10-21,23,25-27,31,33",
}


@dataclass(frozen=True, kw_only=True)
class AttentionScaling(Technique):
    """Keys of all rows times `scale` after RoPE, in some blocks, early (AlignVid, arXiv 2512.01334).

    The published setting is scale 1.35 in PUBLISHED_BLOCKS at sigma above 0.9, which is t above 0.56 at FramePack's
    shift of 7.

    scale: the factor on the keys; 1 is off.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    blocks: the blocks in which it acts, such as "double:0-3; single:0-7"; empty for all.
    """

    scale: float = 1.35
    t_start: float = 1.0
    t_end: float = 0.56
    blocks: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("scale", self.scale, 0, 10)
        check_window(self.t_start, self.t_end)
        block_set(self.blocks)

    def attention(self, section: Section, step: Step, policy: AttentionPolicy) -> AttentionPolicy:
        scale = 1 + self.amount(section) * (self.scale - 1)
        if scale == 1 or not in_window(step, self.t_start, self.t_end):
            return policy
        if policy.key_scale is not None:
            raise ValueError(
                "two attention scalings act on the same section; keep one of them, with the blocks of both."
            )
        return replace(policy, key_scale=torch.tensor(scale), scaled_blocks=block_set(self.blocks))

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {}
