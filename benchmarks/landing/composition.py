"""A section that is composed of two predictions along its frames, as others let a prompt change inside a section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.context.plan import Section
from ...samplers.techniques.base import PREVIOUS, Prediction, Step, Technique, check_range

WITHOUT_PAST = Prediction("positive", "none")


@dataclass(frozen=True, kw_only=True)
class Composition(Technique):
    """Takes a section's first frames from the old prompt with the whole past, the others from the new prompt without any.

    Both predictions are made of the same noisy section, in all steps, so that what they share goes through the section itself and
    not through the past. It is there to be compared with, and no node offers it: over a whole section it is a cut.

    frames: how many latent frames are before the switch; 0 leaves the section to the new prompt.
    """

    frames: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("frames", self.frames, 0, 64)

    def predictions(self, section: Section, step: Step) -> tuple[Prediction, ...]:
        return (PREVIOUS, WITHOUT_PAST) if self.amount(section) else ()

    def combine(
        self, section: Section, step: Step, x0: Tensor, predictions: Mapping[Prediction, Tensor]
    ) -> Tensor:
        if not self.predictions(section, step):
            return x0
        before, after = predictions[PREVIOUS], predictions[WITHOUT_PAST]
        return torch.cat([before[:, :, : self.frames], after[:, :, self.frames :]], dim=2)
