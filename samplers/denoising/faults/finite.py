"""Predictions that are not finite: found without waiting for the device, and explained by what they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...context.history import Context
from ...techniques.base import Prediction, Step

IN_MODEL = (
    "what went into the model was finite: try without LoRAs (or at lower strength), without other nodes' patches and "
    "with another attention (ComfyUI's --use-pytorch-cross-attention); if it stays, the model file is damaged"
)
IN_GUIDANCE = (
    "the predictions before it were finite, their combination was not: lower cfg and the techniques that combine "
    "predictions, and try another solver"
)
IN_PAST = "the packed past was not finite: remove the techniques that change it (Context Refresh, Low-Pass, Blur) one by one"


class NotFiniteError(Exception):
    """A prediction or a section holds NaN or infinite values.

    step: the step after which it was found; None where only the finished section is not finite.
    what: the thing that is not finite, in words.
    cause: the likely cause and the remedy, as a sentence without capital and full stop.
    """

    def __init__(self, step: Step | None, what: str, cause: str) -> None:
        super().__init__(f"{what}: {cause}")
        self.step, self.what, self.cause = step, what, cause


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluated:
    """The predictions of one step.

    step: the step.
    names: what was predicted.
    finite: whether each prediction is finite, bool [n] on its device.
    x: the latents [B, 16, T, H, W] that they were made from.
    context: the packed past that they saw.
    """

    step: Step
    names: tuple[str, ...]
    finite: Tensor
    x: Tensor
    context: Context


class FiniteCheck:
    """Watches the predictions of a section.

    Whether a step's predictions are finite is worked out on their device and read only before the next step, which
    reads its noise level from the device and so has waited for the step already.
    """

    def __init__(self) -> None:
        self._latest: Evaluated | None = None

    def keep(
        self, step: Step, predictions: Mapping[Prediction, Tensor], *, x: Tensor, context: Context
    ) -> None:
        """Note the predictions of a step, [B, 16, T, H, W] each, without waiting for them."""
        self._latest = Evaluated(
            step=step,
            names=tuple(prediction.name for prediction in predictions),
            finite=torch.stack([values.isfinite().all() for values in predictions.values()]),
            x=x,
            context=context,
        )

    def read(self) -> None:
        """Raise NotFiniteError where the predictions noted last are not finite."""
        latest, self._latest = self._latest, None
        if latest is None:
            return
        wrong = [name for name, finite in zip(latest.names, latest.finite.tolist()) if not finite]
        if wrong:
            raise NotFiniteError(latest.step, f"the {' and the '.join(wrong)} prediction", _cause(latest))


def expect_finite_section(latents: Tensor) -> None:
    """Raise NotFiniteError where a finished section [B, 16, T, H, W], whose predictions were finite, is not."""
    if not latents.isfinite().all():
        raise NotFiniteError(None, "the section", IN_GUIDANCE)


def _cause(evaluated: Evaluated) -> str:
    if not evaluated.x.isfinite().all():
        return IN_GUIDANCE
    return IN_MODEL if _is_finite(evaluated.context) else IN_PAST


def _is_finite(context: Context) -> bool:
    parts = (context.clean, context.clean_2x, context.clean_4x, context.image_embeds)
    return all(bool(part.isfinite().all()) for part in parts if part is not None)
