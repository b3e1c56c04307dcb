"""A video that is decoded and encoded while its latents are still being made, at either of its ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from .decode import Decode, Tiles
from .kept_segments import KeptSegments
from .pieces import TIME_FACTOR, PieceJoiner, Stretch, decode_pieces, frame_count
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
    """Decodes every piece of a video once, as soon as its frames are needed, and encodes what is settled once.

    `latents` [1, 16, T, h, w] are those of the whole video, on the CPU: `add` writes them, `reach` says that they are there.
    In the end `segments` are those of decoding the whole video from its start with the same settings. Where latents do not
    come in the order of the video, the settings' overlap must not be larger than their window. Settled segments go to
    `kept` and are taken from it. With `all_frames` their pieces are decoded all the same, because encoded frames are not quite
    those that were decoded; then only encoding is saved.
    """

    def __init__(
        self,
        decode: Decode,
        latents: Tensor,
        settings: DecodeSettings,
        kept: KeptSegments | None = None,
        *,
        all_frames: bool = False,
    ) -> None:
        self._decode, self._settings, self._kept, self._all_frames = decode, settings, kept, all_frames
        self._latents = latents
        # An overlap beyond the window lets pieces fade into more than the next one; then they come in their order.
        self._fades_far = settings.overlap > settings.window
        # By latent frame, whether it is there, and whether a whole piece with it is there.
        self._known = torch.zeros(latents.shape[2], dtype=torch.bool)
        self._covered = torch.zeros_like(self._known)
        self._pieces = decode_pieces(latents.shape[2], settings.window, settings.overlap)
        self._ends = [*(piece.first_frame for piece in self._pieces[1:]), frame_count(latents.shape[2])]
        self._whole: set[int] = set()  # the pieces whose latents are all there
        self._joined: set[int] = set()  # those that were decoded
        self._joiner = PieceJoiner(self._pieces)
        self._segments: dict[int, Segment] = {}  # by the piece that their frames begin with
        self._newest = (0, 0)

    @property
    def segments(self) -> list[Segment]:
        """What is settled, in the order of the video."""
        return [self._segments[index] for index in sorted(self._segments)]

    def add(self, start: int, latents: Tensor) -> list[Stretch]:
        """Take in latents [1, 16, n, h, w] from latent frame `start` on; give the frames that are settled now, as `reach`."""
        stop = start + latents.shape[2]
        self._latents[:, :, start:stop] = latents
        return self.reach(start, stop)

    def reach(self, start: int, stop: int) -> list[Stretch]:
        """The latent frames from `start` to `stop` are there; give the frames that are settled now.

        Unless all frames are wanted, these are none of a segment that was kept, or where the video ends with it, its last one.
        """
        self._newest = (start, stop)
        self._known[start:stop] = True
        for index, piece in enumerate(self._pieces):
            if index not in self._whole and self._known[piece.start : piece.stop].all():
                self._whole.add(index)
                self._covered[piece.start : piece.stop] = True
        settled = sorted(index for index in self._whole if index == 0 or index - 1 in self._whole)
        return [stretch for index in settled for stretch in self._settle(index)]

    def so_far(self) -> list[Segment]:
        """Segments of all that can be shown, in the order of the video: what is settled, and the rest as it is so far."""
        last = len(self._pieces) - 1
        for index in sorted(self._whole):
            if {index, min(index + 1, last)} <= self._segments.keys():
                continue
            for each in self._needed(index) if self._fades_far else [index]:
                self._join(each)
        rest = [*filter(self._is_new, self._joiner.unsettled()), *self._beyond_pieces()]
        return sorted([*self.segments, *map(self._encode, rest)], key=lambda segment: segment.frames)

    def _settle(self, index: int) -> list[Stretch]:
        """Encode the frames of a piece up to those over which the next one fades in, unless that was done before."""
        if index in self._segments or self._ends[index] == self._pieces[index].first_frame:
            return []
        found = None if self._all_frames else self._found(index)
        return self._join_up_to(index) if found is None else self._take(index, *found)

    def _found(self, index: int) -> tuple[bytes, Tensor | None] | None:
        """The segment of a piece, if it was kept, with its last frame where the video ends with it."""
        return None if self._kept is None else self._kept.get(self._key(self._kept, index))

    def _take(self, index: int, file: bytes, last_frame: Tensor | None) -> list[Stretch]:
        """A segment that was kept."""
        frames = (self._pieces[index].first_frame, self._ends[index])
        self._segments[index] = Segment(data=file, frames=frames, encoding=self._settings.encoding)
        return [] if last_frame is None else [Stretch(frames[1] - 1, last_frame)]

    def _join_up_to(self, index: int) -> list[Stretch]:
        """Decode a piece and those that fade into it, as far as they were not decoded yet, and encode what that settles."""
        return [stretch for each in self._needed(index) for stretch in self._join(each)]

    def _join(self, index: int) -> list[Stretch]:
        if index in self._joined:
            return []
        self._joined.add(index)
        piece = self._pieces[index]
        settled = list(filter(self._is_new, self._joiner.add(index, self._frames(piece.start, piece.stop))))
        for stretch in settled:
            self._keep(self._ends.index(stretch.start + stretch.frames.shape[0]), stretch)
        return settled

    def _keep(self, index: int, stretch: Stretch) -> None:
        """Encode the settled frames that begin with a piece, unless that was done in an earlier run."""
        if self._all_frames and (found := self._found(index)) is not None:
            self._take(index, *found)
            return
        self._segments[index] = segment = self._encode(stretch)
        if self._kept is not None:
            last_frame = stretch.frames[-1:] if index == len(self._pieces) - 1 else None
            self._kept.put(self._key(self._kept, index), cast(bytes, segment.data), last_frame)

    def _is_new(self, stretch: Stretch) -> bool:
        """Whether a stretch has frames, and these are not settled yet."""
        return len(stretch.frames) > 0 and not any(
            first <= stretch.start < stop for first, stop in (s.frames for s in self.segments)
        )

    def _needed(self, index: int) -> range:
        """The pieces that the segment of a piece is made of."""
        return range(0 if self._fades_far else max(index - 1, 0), index + 1)

    def _key(self, kept: KeptSegments, index: int) -> str:
        """What stands for the segment of a piece: the latents that decide on it, and where its pieces lie among these."""
        pieces = [self._pieces[each] for each in self._needed(index)]
        start = pieces[0].start
        place = [(piece.start - start, piece.stop - start, piece.overlap) for piece in pieces]
        length = self._ends[index] - self._pieces[index].first_frame
        return kept.key(self._latents[:, :, start : pieces[-1].stop], [place, length])

    def _beyond_pieces(self) -> list[Stretch]:
        """Frames of the newest latents that no piece holds yet, decoded for this once."""
        first, stop = self._newest
        missing = (~self._covered[first:stop]).nonzero().flatten() + first
        if not len(missing):
            return []
        start, end = int(missing[0]), int(missing[-1]) + 1
        first = start
        while first > 0 and self._known[first - 1] and start - first < self._settings.overlap:
            first -= 1
        if end < len(self._known) and self._covered[end]:
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
