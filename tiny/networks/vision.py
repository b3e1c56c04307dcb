"""The embedded model's vision tower, the stand-in for SigLIP: an image becomes 4x4 tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import VISION, TinyVisionConfig
from .transformer import TransformerBlock


def prepare_images(images: Tensor, size: int, crop: bool) -> Tensor:
    """Bring images [B,H,W,3] in 0..1 to [B,3,size,size] in -1..1.

    As the host prepares images for SigLIP: `crop` keeps the centre square of the image, otherwise all of it
    is squeezed into the square; bicubic with antialiasing, rounded to 8 bits.
    """
    images = images.movedim(-1, 1)
    if images.shape[-2:] != (size, size):
        short = min(images.shape[-2:])
        target = [round(side * size / short) for side in images.shape[-2:]] if crop else [size, size]
        images = F.interpolate(images, size=target, mode="bicubic", antialias=True)
        top, left = ((side - size) // 2 for side in target)
        images = images[..., top : top + size, left : left + size]
    return (images * 255).clamp(0, 255).round() / 127.5 - 1


class TinyVisionTower(nn.Module):
    """Vision transformer: an image to one token for each patch and a pooled vector."""

    def __init__(self, config: TinyVisionConfig = VISION) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(3, config.width, config.patch, stride=config.patch)
        self.position = nn.Parameter(torch.randn(config.tokens, config.width) * 0.1)
        blocks = (TransformerBlock(config.width, config.heads) for _ in range(config.layers))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)
        self.pool = nn.Linear(config.width, config.width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode images [B,3,size,size] in -1..1.

        Gives tokens [B,N,width], what the last block was given [B,N,width], and a pooled vector [B,width].
        """
        x = self.patches(images).flatten(2).transpose(1, 2) + self.position
        penultimate = x
        for block in self.blocks:
            penultimate = x
            x = block(x)
        tokens = self.norm(x)
        return tokens, penultimate, self.pool(tokens.mean(1))
