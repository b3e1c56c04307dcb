"""What a forward does for a step cache: it gives what the cache judges by, and keeps or takes what the blocks add.

The cache decides before the forward, so that nothing in here depends on values, and a compiled forward stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..attention.joint import Segments
from ..attention.options import with_options
from ..layers.blocks import normalise
from ..patches import tell_block


@dataclass(eq=False)
class Signal:
    """Asks a forward for what a step cache judges by; what such a forward predicts means nothing.

    kind: one of SIGNALS.
    value: tokens [B, L, D], once the forward has run. Where no past is packed, those of the window stand for it.
    """

    kind: str
    value: Tensor | None = None

    def given(self) -> Tensor:
        """The value. Raises RuntimeError where no forward of a FramePackDiT was run."""
        if self.value is None:
            raise RuntimeError(
                "the step cache got no signal: another node replaced the model's forward; remove one of the two."
            )
        return self.value


@dataclass(eq=False)
class BlockCache:
    """What all blocks together add to the window's tokens, [B, L, D] for each conditioning of a step by its number.

    residuals: to be added in place of running the blocks; a conditioning without one is computed.
    computed: what forwards have added.
    """

    residuals: Mapping[int, Tensor] = field(default_factory=dict)
    computed: dict[int, Tensor] = field(default_factory=dict)

    def residual(self, conditionings: Sequence[int]) -> Tensor | None:
        """The residuals of the chunks of a batch as [chunks * B, L, D]; None where one of them must be computed."""
        if not all(number in self.residuals for number in conditionings):
            return None
        return torch.cat([self.residuals[number] for number in conditionings])

    def keep(self, conditionings: Sequence[int], residual: Tensor) -> None:
        """Keep what the blocks have added to the chunks of a batch, [chunks * B, L, D]."""
        self.computed.update(zip(conditionings, residual.chunk(len(conditionings))))


def run_cached(dit: Any, transformer_options: Mapping[str, Any], **sequence: Any) -> Tensor:
    """The window's tokens [B, L, D] after all blocks of a FramePackDiT, or with what a cache keeps added in their place.

    `sequence` has the other arguments of FramePackDiT.run_blocks. A forward evaluates the conditionings that the host names in
    `cond_or_uncond`, by their numbers in the step; without these it evaluates number 0.
    """
    sequence["transformer_options"] = transformer_options
    window: Tensor = sequence["img"][:, sequence["segments"].span("noisy")]
    signal: Signal | None = transformer_options.get("framepack_signal")
    if signal is not None:
        signal.value = SIGNALS[signal.kind](dit, **sequence)
        return window
    cache: BlockCache | None = transformer_options.get("framepack_cache")
    conditionings = transformer_options.get("cond_or_uncond", (0,))
    residual = None if cache is None else cache.residual(conditionings)
    if residual is not None:
        return window + residual
    computed: Tensor = dit.run_blocks(**sequence)
    if cache is not None:
        cache.keep(conditionings, computed - window)
    return computed


def modulated_input(dit: Any, *, img: Tensor, vec: Tensor, **sequence: Any) -> Tensor:
    """Tokens of past and window [B, L, D] as the first block attends to them, normalised and modulated."""
    norm = dit.transformer_blocks[0].norm1
    shift, scale, *_ = norm(vec)
    return normalise(norm.norm, img, scale, shift)


def modulated_past(dit: Any, *, img: Tensor, segments: Segments, **sequence: Any) -> Tensor:
    """Tokens of the packed past alone [B, L, D], likewise; where nothing is packed, those of the window."""
    past = segments.span("noisy").start
    return modulated_input(dit, img=img[:, :past] if past else img, **sequence)


def first_block_residual(
    dit: Any, *, img: Tensor, segments: Segments, transformer_options: Mapping[str, Any], **sequence: Any
) -> Tensor:
    """What the first block adds to the tokens of past and window, [B, L, D]."""
    attention, options = with_options(dit.attention, transformer_options, segments), {**transformer_options}
    tell_block(options, "double", 0, dit.config.num_layers)
    attended: Tensor = dit.transformer_blocks[0](
        img=img, segments=segments, attention=attention, rotate=dit.rotation.apply,
        transformer_options=options, **sequence,
    )[0]  # fmt: skip
    return attended - img


# The packed past, or past and window, as the first block attends to them; or what that block adds to both.
SIGNALS: dict[str, Callable[..., Tensor]] = {
    "past": modulated_past,
    "input": modulated_input,
    "first_block": first_block_residual,
}
