"""A video that is decoded and encoded while its latents are still being made, at either of its ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .decode import Decode, Tiles
from .pieces import TIME_FACTOR, PieceJoiner, Stretch, decode_pieces
from .segments import Encoding, Segment, encode_segment


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """What decides on the frames and the file that latents become.

    window: latent frames that are decoded at a time.
    overlap: latent frames that are decoded once more for the cross-fade.
    tiles: how the VAE cuts them.
    encoding: frame rate and quality of the file.
    """

    window: int
    overlap: int
    tiles: Tiles
    encoding: Encoding


class GrowingVideo:
    """Decodes every piece of a video once, as soon as its latents are there, and encodes what is settled once.

    `latents` [1, 16, T, h, w] gives the size of the whole video; its values are not read. In the end `segments` are those
    of decoding the whole video from its start with the same settings. Where latents do not come in the order of the
    video, the settings' overlap must not be larger than their window.
    """

    def __init__(self, decode: Decode, latents: Tensor, settings: DecodeSettings) -> None:
        self._decode, self._settings = decode, settings
        self._latents = torch.zeros_like(latents, device="cpu")
        self._known = torch.zeros(latents.shape[2], dtype=torch.bool)  # by latent frame, whether it is there
        self._decoded = torch.zeros_like(self._known)  # by latent frame, whether a piece with it was decoded
        self._pieces = decode_pieces(latents.shape[2], settings.window, settings.overlap)
        self._missing = dict(enumerate(self._pieces))
        self._joiner = PieceJoiner(self._pieces)
        self._segments: list[Segment] = []
        self._newest = (0, 0)

    @property
    def segments(self) -> list[Segment]:
        """What is settled, in the order of the video."""
        return sorted(self._segments, key=lambda segment: segment.frames)

    def add(self, start: int, latents: Tensor) -> list[Stretch]:
        """Take in latents [1, 16, n, h, w] from latent frame `start` on; give the frames that are settled now."""
        self._newest = (start, start + latents.shape[2])
        self._latents[:, :, slice(*self._newest)] = latents
        self._known[slice(*self._newest)] = True
        settled: list[Stretch] = []
        for index, piece in list(self._missing.items()):
            if self._known[piece.start : piece.stop].all():
                del self._missing[index]
                self._decoded[piece.start : piece.stop] = True
                settled += self._joiner.add(index, self._frames(piece.start, piece.stop))
        self._segments += [self._encode(stretch) for stretch in settled]
        return settled

    def so_far(self) -> list[Segment]:
        """Segments of all that can be shown, in the order of the video: what is settled, and the rest as it is so far."""
        rest = [*self._joiner.unsettled(), *self._beyond_pieces()]
        return sorted([*self._segments, *map(self._encode, rest)], key=lambda segment: segment.frames)

    def _beyond_pieces(self) -> list[Stretch]:
        """Frames of the newest latents that no piece holds yet, decoded for this once."""
        first, stop = self._newest
        missing = (~self._decoded[first:stop]).nonzero().flatten() + first
        if not len(missing):
            return []
        start, end = int(missing[0]), int(missing[-1]) + 1
        first = start
        while first > 0 and self._known[first - 1] and start - first < self._settings.overlap:
            first -= 1
        if end < len(self._known) and self._decoded[end]:
            # The frames of the next latent up to its last one, with which the piece after begins.
            frames = self._frames(first, end + 1)[:-1]
        else:
            frames = self._frames(first, end)
        skipped = TIME_FACTOR * (start - first) - (TIME_FACTOR - 1) if first < start else 0
        return [Stretch(TIME_FACTOR * first + skipped, frames[skipped:])]

    def _frames(self, start: int, stop: int) -> Tensor:
        return self._decode(self._latents[:, :, start:stop])[0]

    def _encode(self, stretch: Stretch) -> Segment:
        return encode_segment(stretch.frames, self._settings.encoding, start=stretch.start)
