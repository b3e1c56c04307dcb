"""Latents to frames, section by section, so that a video of any length takes the memory of one section.

Source: lllyasviel/FramePack, `demo_gradio_f1.py`. Every new section is decoded together with latent frames of the
section before it, and the frames that were decoded twice are cross-faded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..samplers.conditioning import expect_finite
from .pieces import TIME_FACTOR, Piece, PieceJoiner, frame_count

LATENT_CHANNELS = 16
SPACE_FACTOR = 8  # pixels a latent pixel, along each side
MIN_TILE = 64  # pixels
MIN_TILE_FRAMES = 2 * TIME_FACTOR
TILE_OVERLAP = 4  # tiles share 1/4 of their size with their neighbours, in space and in time

# Latents [1, 16, n, h, w] to frames [1, 4n-3, 8h, 8w, 3].
Decode = Callable[[Tensor], Tensor]


def decode_video(decode: Decode, latents: Tensor, pieces: list[Piece]) -> Iterator[Tensor]:
    """The frames [n, H, W, 3] of a video [1, 16, T, h, w], piece by piece, 4T-3 in all.

    Frames over which the next piece fades in are held back until that piece is decoded.
    """
    joiner = PieceJoiner(pieces)
    for index, piece in enumerate(pieces):
        for stretch in joiner.add(index, decode(latents[:, :, piece.start : piece.stop])[0]):
            yield stretch.frames


@dataclass(frozen=True)
class Tiles:
    """How a piece is cut into tiles for the VAE. Raises ValueError for tiles that are too small to overlap.

    side: height and width of a tile in pixels; 0 does not cut in space.
    frames: number of frames in a tile; 0 does not cut in time.
    """

    side: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        for name, size, smallest in (
            ("tile_size", self.side, MIN_TILE),
            ("tile_frames", self.frames, MIN_TILE_FRAMES),
        ):
            if size != 0 and size < smallest:
                raise ValueError(f"{name} is {size}; give {smallest} or more, or 0 for no tiles.")

    def arguments(self) -> dict[str, int | None]:
        """The keywords for the VAE's `decode_tiled`; its sizes are in latent pixels and latent frames."""
        # decode_tiled has no value for "not cut in space", so a tile larger than any picture stands for it.
        side = (self.side or 2**20) // SPACE_FACTOR
        frames = self.frames // TIME_FACTOR or None
        return {
            "tile_x": side,
            "tile_y": side,
            "overlap": side // TILE_OVERLAP,
            "tile_t": frames,
            "overlap_t": max(1, frames // TILE_OVERLAP) if frames else None,
        }


def vae_decoder(vae: Any, tiles: Tiles) -> Decode:
    """ComfyUI's VAE, or the embedded model's, as a function for `decode_video`.

    Raises ValueError for no VAE and for one whose latents hold other numbers of frames or pixels than HunyuanVideo's.
    The function raises ValueError when the VAE gives another number of frames than expected.
    """
    if vae is None:
        raise ValueError(
            "vae is empty: the loader's file holds no VAE; use Load VAE with hunyuan_video_vae_bf16."
        )
    factors = (vae.temporal_compression_decode(), vae.spacial_compression_decode())
    if factors != (TIME_FACTOR, SPACE_FACTOR):
        raise ValueError(
            f"vae packs {factors[0] or 1} frames of {factors[1]}x{factors[1]} pixels into a latent, FramePack's packs "
            f"{TIME_FACTOR} of {SPACE_FACTOR}x{SPACE_FACTOR}; use Load VAE with hunyuan_video_vae_bf16."
        )

    def decode(latents: Tensor) -> Tensor:
        cut = tiles != Tiles()
        frames: Tensor = vae.decode_tiled(latents, **tiles.arguments()) if cut else vae.decode(latents)
        _check_frames(frames, latents)
        return frames

    return decode


def _check_frames(frames: Tensor, latents: Tensor) -> None:
    expected = frame_count(latents.shape[2])
    if frames.ndim != 5 or frames.shape[1] != expected:
        raise ValueError(
            f"the VAE turned {latents.shape[2]} latent frames into {tuple(frames.shape)}, expected "
            f"[1, {expected}, height, width, 3]; use Load VAE with hunyuan_video_vae_bf16."
        )


def video_latents(latent: Any, name: str) -> Tensor:
    """The samples [B, 16, T, h, w] of a video's LATENT, called `name` in errors.

    Raises ValueError for anything else, and for values that are not finite.
    """
    samples = latent.get("samples") if isinstance(latent, dict) else None
    if not isinstance(samples, Tensor) or samples.is_nested:
        raise ValueError(
            f"{name} is a {type(latent).__name__} without one tensor of samples; connect FramePack Sampler."
        )
    if samples.ndim != 5 or samples.shape[1] != LATENT_CHANNELS or 0 in samples.shape:
        raise ValueError(
            f"{name} has shape {tuple(samples.shape)}, expected a video [batch, {LATENT_CHANNELS}, frames, height/8, "
            "width/8] with at least one frame; connect the latent of FramePack Sampler."
        )
    expect_finite(samples, name)
    return samples
