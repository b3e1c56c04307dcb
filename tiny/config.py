"""Sizes of the embedded demonstration model: codec, text encoder, vision tower and DiT."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.config import FramePackConfig


@dataclass(frozen=True, kw_only=True)
class TinyCodecConfig:
    """Sizes of the video codec; its two levels lie at 4x and 8x space, both at 4x time."""

    latent_channels: int = 16
    widths: tuple[int, int] = (64, 128)
    blocks: tuple[int, int] = (1, 2)
    time_kernels: tuple[int, int] = (1, 2)
    # What sampling multiplies latents by, until training has measured it (the codec's buffer of this name).
    # Not 1, so that scaling twice or never shows.
    latent_scale: float = 2.0


@dataclass(frozen=True, kw_only=True)
class TinyTextConfig:
    """Sizes of the text encoder; `embedding` is the width of the token table before its projection."""

    vocabulary: int = 49408
    max_tokens: int = 77
    embedding: int = 32
    width: int = 128
    heads: int = 4
    layers: int = 3
    pooled: int = 128


@dataclass(frozen=True, kw_only=True)
class TinyVisionConfig:
    """Sizes of the vision tower: (size / patch)**2 tokens of the given width."""

    size: int = 64
    patch: int = 16
    width: int = 96
    heads: int = 4
    layers: int = 3

    @property
    def tokens(self) -> int:
        """Number of tokens an image gives."""
        return (self.size // self.patch) ** 2


CODEC = TinyCodecConfig()
TEXT = TinyTextConfig()
VISION = TinyVisionConfig()

DIT = FramePackConfig(
    num_attention_heads=4,
    attention_head_dim=48,
    rope_axes_dim=(12, 18, 18),
    num_layers=2,
    num_single_layers=4,
    num_refiner_layers=1,
    text_embed_dim=TEXT.width,
    pooled_projection_dim=TEXT.pooled,
    image_proj_dim=VISION.width,
)
