"""ComfyUI's CLIP_VISION as an extractor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...metrics.features.base import USUAL_LOGIT_SCALE
from ...metrics.features.frames import as_frames, planes


@dataclass(frozen=True, kw_only=True)
class HostExtractor:
    """Features from ComfyUI's CLIP_VISION: the mean of the image tokens that its `encode_image(image [N,H,W,3], crop=...)` gives.

    The mean of `last_hidden_state`, because the pooled output of a host means different things: SigLIP has no
    class token, so that there it is a corner of the picture. The whole picture is squeezed into the model's
    square. There is no text tower.
    """

    vision: Any
    name: str = "clip_vision"
    logit_scale: float = USUAL_LOGIT_SCALE
    batch: int = 16
    resolution: int | None = None

    def images(self, frames: Any) -> NDArray[np.float32]:
        """Features [N,D] of frames [N,H,W,3]; raises ValueError when the model gives no image tokens."""
        parts = [self._tokens(part).mean(1) for part in torch.split(as_frames(frames), self.batch)]
        return torch.cat(parts).numpy()

    def texts(self, texts: Sequence[str]) -> None:
        """None: the host's vision models cannot read."""

    def _tokens(self, frames: torch.Tensor) -> torch.Tensor:
        output = self.vision.encode_image(planes(frames).movedim(1, -1), crop=False)
        tokens: torch.Tensor | None = getattr(output, "last_hidden_state", None)
        if tokens is None or tokens.ndim != 3 or len(tokens) != len(frames):
            shape = None if tokens is None else list(tokens.shape)
            raise ValueError(
                f"clip_vision gave image tokens {shape} for {len(frames)} frames, expected [frames, tokens, "
                "width]: connect a vision model from CLIPVisionLoader."
            )
        return tokens.detach().to("cpu", torch.float32)
