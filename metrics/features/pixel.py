"""Features without a model: the picture itself, small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from .base import REDUCED_SIDE, USUAL_LOGIT_SCALE, as_frames, planes, reduced


@dataclass(frozen=True)
class PixelExtractor:
    """Means of sRGB values over `side` x `side` equal fields: as they are, so a cross-fade is a straight line.

    There is no text tower: what is new must be shown by a picture.
    """

    side: int = 16
    name: str = "pixel"
    logit_scale: float = USUAL_LOGIT_SCALE
    resolution: int = REDUCED_SIDE

    def images(self, frames: Any) -> NDArray[np.float32]:
        """Features [N, side*side*3] of frames [N,H,W,3], rows first, in 0..1."""
        frames = as_frames(frames)
        # Resizing is the quickest reader of large pictures, but only averages of whole fields are exact.
        small = reduced(frames, self.resolution) if self.side <= self.resolution else planes(frames)
        fields = F.adaptive_avg_pool2d(small, self.side).movedim(1, -1)
        return fields.reshape(len(frames), -1).cpu().numpy()

    def texts(self, texts: Sequence[str]) -> None:
        """None: pixels cannot read."""
