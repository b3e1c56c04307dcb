"""Features without a model: the picture itself, small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import USUAL_LOGIT_SCALE

RESOLUTION = 192  # px


@dataclass(frozen=True)
class PixelExtractor:
    """The picture itself, at `side` x `side` values: the mean of sRGB in each of as many equal fields.

    Features are linear in the pictures, so that a cross-fade is a straight line between two scenes. There is no text
    tower: scores that compare with a prompt need a picture of the new scene instead.

    side: fields along each side of the picture.
    name, logit_scale, resolution: as for every extractor.
    """

    side: int = 16
    name: str = "pixel"
    logit_scale: float = USUAL_LOGIT_SCALE
    resolution: int = RESOLUTION

    @property
    def fields(self) -> int:
        """Fields along each side of the picture, as features lie in them."""
        return self.side

    def images(self, frames: Any) -> NDArray[np.float32]:
        """Features [N, side*side*3] of frames [N,H,W,3], rows first, in 0..1."""
        import torch.nn.functional as F

        from .frames import as_frames, planes, reduced

        frames = as_frames(frames)
        # Resizing is the quickest reader of large pictures, but only averages of whole fields are exact.
        small = reduced(frames, self.resolution) if self.side <= self.resolution else planes(frames)
        fields = F.adaptive_avg_pool2d(small, self.side).movedim(1, -1)
        return fields.reshape(len(frames), -1).cpu().numpy()

    def texts(self, texts: Sequence[str]) -> None:
        """None: there is no text tower."""
        return
