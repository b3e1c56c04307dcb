"""What a technique may do before a section is sampled: read the history, denoise, and change what is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from ..context.history import Context, History
from ..context.plan import Section


class Denoise(Protocol):
    """Denoises latents of a section again."""

    def __call__(
        self, *, context: Context, noise: Tensor, initial: Tensor, strength: float
    ) -> tuple[Tensor, int]:
        """Latents [B, 16, T, H, W] and how many evaluations they took; see Preparation.denoise."""


@dataclass(eq=False, kw_only=True)
class Preparation:
    """What a technique may use right before a section is sampled. Latents are in the model's scale, float32 on the CPU.

    section: the section that is about to be sampled.
    history: what it will remember, which a technique may change.
    image_embeds: gives its image tokens [B, N, D] as they are at the moment, None for none.
    attachments: the objects that technique nodes attached to the MODEL, by key.
    draw_noise: gives noise of the section's shape, new with every call; the sections' own noise stays what it is.
    to_vae: converts latents from the model's scale to the VAE's.
    to_model: converts latents from the VAE's scale to the model's.
    vision_tokens: checks a CLIP_VISION_OUTPUT and gives its image tokens.
    solve: denoises latents; use `denoise`.
    record: what a technique writes here goes into the section's trace.
    evaluations: how many evaluations of the model `denoise` has taken.
    """

    section: Section
    history: History
    image_embeds: Callable[[], Tensor | None]
    attachments: Mapping[str, Any]
    draw_noise: Callable[[], Tensor]
    to_vae: Callable[[Tensor], Tensor]
    to_model: Callable[[Tensor], Tensor]
    vision_tokens: Callable[[Any], Tensor | None]
    solve: Denoise
    record: dict[str, Any] = field(default_factory=dict)
    evaluations: int = 0

    def context(self) -> Context:
        """What the section would see now."""
        return self.history.context(self.section, self.image_embeds())

    def denoise(self, context: Context, initial: Tensor, strength: float) -> Tensor:
        """Re-noise `initial` [B, 16, window, H, W] to sigma `strength` in (0, 1] and denoise it under the section's prompt.

        The techniques' hooks on the context and on a step act as in the section itself; evaluations are added to the
        section's.
        """
        latents, evaluations = self.solve(
            context=context, noise=self.draw_noise(), initial=initial, strength=strength
        )
        self.evaluations += evaluations
        return latents

    def describe(self) -> dict[str, Any]:
        """What techniques did, as plain data for the trace; empty where they did nothing."""
        evaluations = {"evaluations": self.evaluations} if self.evaluations else {}
        return {**evaluations, **self.record}
