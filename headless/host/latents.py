"""Core nodes between pictures and latents."""

from __future__ import annotations

from typing import Any

import torch

MAX_SIDE = 16384  # px


class EmptyHunyuanLatentVideo:
    """A latent of zeros for a video of this size and length in frames."""

    CATEGORY = "latent/video"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "width": ("INT", {"default": 848, "min": 16, "max": MAX_SIDE, "step": 16}),
                "height": ("INT", {"default": 480, "min": 16, "max": MAX_SIDE, "step": 16}),
                "length": ("INT", {"default": 25, "min": 1, "max": MAX_SIDE, "step": 4}),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }

    def generate(
        self, width: int, height: int, length: int, batch_size: int = 1
    ) -> tuple[dict[str, torch.Tensor]]:
        return ({"samples": torch.zeros(batch_size, 16, (length - 1) // 4 + 1, height // 8, width // 8)},)


class VAEEncode:
    """Images as a latent."""

    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"pixels": ("IMAGE",), "vae": ("VAE",)}}

    def encode(self, pixels: torch.Tensor, vae: Any) -> tuple[dict[str, torch.Tensor]]:
        return ({"samples": vae.encode(pixels[..., :3])},)


class VAEDecode:
    """A latent as images, the frames of all videos one after another."""

    CATEGORY = "latent"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

    def decode(self, samples: dict[str, torch.Tensor], vae: Any) -> tuple[torch.Tensor]:
        return (_one_batch(vae.decode(samples["samples"])),)


class VAEDecodeTiled:
    """VAEDecode in overlapping tiles; sizes are in pixels and frames."""

    CATEGORY = "_for_testing"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT",),
                "vae": ("VAE",),
                "tile_size": ("INT", {"default": 512, "min": 64, "max": 4096, "step": 32}),
                "overlap": ("INT", {"default": 64, "min": 0, "max": 4096, "step": 32}),
                "temporal_size": ("INT", {"default": 64, "min": 8, "max": 4096, "step": 4}),
                "temporal_overlap": ("INT", {"default": 8, "min": 4, "max": 4096, "step": 4}),
            }
        }

    def decode(
        self,
        samples: dict[str, torch.Tensor],
        vae: Any,
        tile_size: int,
        overlap: int = 64,
        temporal_size: int = 64,
        temporal_overlap: int = 8,
    ) -> tuple[torch.Tensor]:
        pixels = vae.spacial_compression_decode()
        side = tile_size // pixels
        times = self._times(vae.temporal_compression_decode(), temporal_size, temporal_overlap)
        images = vae.decode_tiled(
            samples["samples"],
            tile_x=side,
            tile_y=side,
            overlap=min(overlap, tile_size // 4) // pixels,
            **times,
        )
        return (_one_batch(images),)

    @staticmethod
    def _times(frames: int | None, size: int, overlap: int) -> dict[str, int | None]:
        """Temporal tile and overlap in latent frames; `frames` is how many frames one of them stands for."""
        if frames is None:
            return {"tile_t": None, "overlap_t": None}
        if size < 2 * overlap:
            overlap //= 2
        tile = max(2, size // frames)
        return {"tile_t": tile, "overlap_t": max(1, min(tile // 2, overlap // frames))}


def _one_batch(images: torch.Tensor) -> torch.Tensor:
    """[B,T,H,W,C] of a video VAE as [B*T,H,W,C]."""
    return images.flatten(0, 1) if images.ndim == 5 else images
