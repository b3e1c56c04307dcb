"""Encode and decode in pieces, exactly.

The codec sees a fixed distance: `past_latents` back in time, `reach_latents` to each side. A piece that is
read with that much of its surroundings gives the same numbers as the whole: no blending, no seams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from .codec import SPACE_FACTOR, TIME_FACTOR, TinyCodec, frames_of_latents, latents_of_frames

Tile = tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class Span:
    """Latents start to stop along one axis, read with their surroundings: first to last."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def own(self) -> slice:
        """The span's latents."""
        return slice(self.start, self.stop)

    @property
    def read(self) -> slice:
        """The latents that are read for them."""
        return slice(self.first, self.last)

    @property
    def kept(self) -> slice:
        """Where the span's latents lie among those that are read."""
        return slice(self.start - self.first, self.stop - self.first)


def spans(length: int, tile: int | None, before: int, after: int) -> list[Span]:
    """Cut `length` latents into spans of at most `tile` (None: one span) with their surroundings."""
    tile = length if tile is None else max(1, tile)
    stops = ((start, min(start + tile, length)) for start in range(0, length, tile))
    return [Span(start, stop, max(0, start - before), min(length, stop + after)) for start, stop in stops]


def to_frames(latents: slice) -> slice:
    """Frames that a slice of latents holds: latent 0 is one frame, each other one four."""
    return slice(*(max(0, frames_of_latents(edge)) for edge in (latents.start, latents.stop)))


def to_pixels(latents: slice) -> slice:
    """Pixels that a slice of latents covers along a side."""
    return slice(latents.start * SPACE_FACTOR, latents.stop * SPACE_FACTOR)


def pieces(codec: TinyCodec, shape: tuple[int, int, int], tile: Tile) -> Iterator[tuple[Span, Span, Span]]:
    """Spans in time, height and width that cover latents of `shape`, with what the codec sees around them."""
    # One latent more in time: a piece's first latent stands for a single frame, so it is never kept.
    past, side = codec.past_latents + 1, codec.reach_latents
    return product(
        spans(shape[0], tile[0], past, 0),
        spans(shape[1], tile[1], side, side),
        spans(shape[2], tile[2], side, side),
    )


def decode_tiled(codec: TinyCodec, latents: Tensor, tile: Tile) -> Tensor:
    """Decode as `TinyCodec.decode` does, in pieces of `tile` (time, height, width) latents, to the CPU."""
    codec.check_latents(latents)
    batch, _, length, height, width = latents.shape
    frames = torch.empty(batch, 3, frames_of_latents(length), height * SPACE_FACTOR, width * SPACE_FACTOR)
    for t, y, x in pieces(codec, (length, height, width), tile):
        piece = codec.decode(latents[:, :, t.read, y.read, x.read])
        piece = piece[:, :, to_frames(t.kept), to_pixels(y.kept), to_pixels(x.kept)]
        frames[:, :, to_frames(t.own), to_pixels(y.own), to_pixels(x.own)] = piece.to(frames)
    return frames


def encode_tiled(codec: TinyCodec, frames: Tensor, tile: Tile) -> Tensor:
    """Encode as `TinyCodec.encode` does, in pieces of `tile` (time, height, width) latents, to the CPU."""
    codec.check_frames(frames)
    batch, _, length, height, width = frames.shape
    shape = (latents_of_frames(length), height // SPACE_FACTOR, width // SPACE_FACTOR)
    latents = torch.empty(batch, codec.config.latent_channels, *shape)
    for t, y, x in pieces(codec, shape, tile):
        # Starting at its last frame makes the first latent read a single frame, as the codec wants it.
        read = slice(t.first * TIME_FACTOR, frames_of_latents(t.last))
        piece = codec.encode(frames[:, :, read, to_pixels(y.read), to_pixels(x.read)])
        latents[:, :, t.own, y.own, x.own] = piece[:, :, t.kept, y.kept, x.kept].to(latents)
    return latents
