"""How a video is cut into pieces that are decoded one at a time, and how decoded pieces become one video again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .cross_fade import soft_append

TIME_FACTOR = 4  # frames a latent frame


def frame_count(latents: int) -> int:
    """Frames of a video of `latents` latent frames: one for the first, four for each other."""
    return TIME_FACTOR * latents - (TIME_FACTOR - 1)


@dataclass(frozen=True)
class Piece:
    """A range of latent frames that are decoded together.

    start, stop: the range, half open.
    overlap: number of frames (not latent frames) that fade in over the end of the piece before.
    """

    start: int
    stop: int
    overlap: int

    @property
    def first_frame(self) -> int:
        """Where the piece's first frame lies in the video: it is the last of the four of its first latent frame."""
        return TIME_FACTOR * self.start


def decode_pieces(latent_frames: int, window: int, overlap: int) -> list[Piece]:
    """The pieces of a video, in order: the start frame and one window, then a window each.

    All numbers are latent frames. Every piece but the first also takes in the `overlap` latent frames before its
    window; FramePack's own overlap is one window. Raises ValueError when a number is below 1.
    """
    if min(latent_frames, window, overlap) < 1:
        raise ValueError(
            f"cannot decode {latent_frames} latent frames with window {window} and overlap {overlap}; "
            "all of them must be 1 or more."
        )
    pieces = [Piece(0, min(1 + window, latent_frames), 0)]
    while (seam := pieces[-1].stop) < latent_frames:
        start = max(0, seam - overlap)
        pieces.append(Piece(start, min(seam + window, latent_frames), frame_count(seam - start)))
    return pieces


@dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive frames [n, H, W, 3] of a video, of which the first is its frame number `start`."""

    start: int
    frames: Tensor


class PieceJoiner:
    """Cross-fades the pieces of a video, which may come in any order, and gives frames as soon as they are settled.

    A settled frame is one that no other piece changes. Those of a piece reach up to the frames over which the next piece
    fades in; they are settled once the piece before is there. Where `overlap` was larger than `window`, the pieces have
    to come in their order.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        # By piece, the number of frames over which the next one fades in.
        self._fades = [*(piece.overlap for piece in pieces[1:]), 0]
        # By piece, its frames up to these, while the piece before is missing.
        self._beginnings: dict[int, Tensor] = {}
        # By piece, these frames, while the next piece is missing.
        self._ends: dict[int, Tensor] = {}

    def add(self, index: int, frames: Tensor) -> list[Stretch]:
        """Take in the frames of piece `index`; give what is settled now and was not before."""
        own = frames.shape[0] - self._fades[index]
        if index - 1 in self._ends:
            frames = soft_append(self._ends.pop(index - 1), frames, self._pieces[index].overlap)
            own = frames.shape[0] - self._fades[index]
            settled = [self._stretch(index, frames[:own])]
        elif index == 0:
            settled = [self._stretch(index, frames[:own])]
        else:
            self._beginnings[index], settled = frames[:own], []
        self._ends[index] = frames[own:]
        if index + 1 in self._beginnings:
            end, beginning = self._ends.pop(index), self._beginnings.pop(index + 1)
            settled.append(self._stretch(index + 1, soft_append(end, beginning, self._fades[index])))
        return settled

    def unsettled(self) -> list[Stretch]:
        """The other frames of the pieces that are there, as they are so far, in the order of the video."""
        parts = [self._stretch(index, frames) for index, frames in self._beginnings.items()]
        for index, frames in self._ends.items():
            parts.append(Stretch(TIME_FACTOR * self._pieces[index].stop - 3 - frames.shape[0], frames))
        return sorted((part for part in parts if part.frames.shape[0]), key=lambda part: part.start)

    def _stretch(self, index: int, frames: Tensor) -> Stretch:
        return Stretch(self._pieces[index].first_frame, frames)
