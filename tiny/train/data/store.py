"""The training clips as tensors: drawn, encoded, and kept where training needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from ...config import VISION
from ...networks.codec import TinyCodec, latents_of_frames
from ...networks.vision import prepare_images
from ...precision import autocast
from .. import state
from ..clock import Stopwatch
from .drawing import DrawnClip, drawn_clips
from .specs import SECTIONS, ClipSpec
from .texts import PHRASINGS
from .tokens import TokenTable

ENCODED_AT_ONCE = 8  # clips; on a CPU one by one is twice as fast
LEAST = 32  # clips that a run has, however short it is


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipStore:
    """Clips of a run; tensors but for those of numpy lie on the training device.

    latents: fp16 [N,L+1,16,h,w] in the scale of sampling; a shorter clip ends with zeros, and the last frame is always zeros.
    end_images: fp16 [N,S,16,h,w], the last picture of each section encoded by itself; None where no layout needs it.
    subjects: bool [N,L,h,w], which cells of a latent frame a subject passes through.
    images: uint8 [N,64,64,3], first frames as the vision tower sees them.
    tokens: int32 [R,M], every text of the run, padded with 0; row 0 is the empty one. lengths: int64 [R] of numpy.
    text_rows: int64 [N,S,2,PHRASINGS] of numpy: rows of the section's own texts and of those of another scene.
    """

    specs: list[ClipSpec]
    latents: Tensor
    end_images: Tensor | None
    subjects: Tensor
    images: Tensor
    tokens: Tensor
    lengths: NDArray[np.int64]
    text_rows: NDArray[np.int64]

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the specs, by field."""
        found = {
            "latents": self.latents,
            "subjects": self.subjects,
            "images": self.images,
            "tokens": self.tokens,
            "lengths": torch.from_numpy(self.lengths),
            "text_rows": torch.from_numpy(self.text_rows),
        }
        return found if self.end_images is None else {**found, "end_images": self.end_images}

    @classmethod
    def of(cls, specs: Sequence[ClipSpec], tensors: dict[str, Tensor], device: torch.device) -> ClipStore:
        """A store of what `tensors` gave, on a device."""
        here = {
            name: value.to(device) for name, value in tensors.items() if name not in ("lengths", "text_rows")
        }
        return cls(
            specs=list(specs),
            latents=here["latents"],
            end_images=here.get("end_images"),
            subjects=here["subjects"],
            images=here["images"],
            tokens=here["tokens"],
            lengths=tensors["lengths"].numpy(),
            text_rows=tensors["text_rows"].numpy(),
        )


class StoreBuilder:
    """Fills a store clip by clip, so that drawing can end at any of them."""

    def __init__(
        self, specs: Sequence[ClipSpec], codec: TinyCodec, device: torch.device, *, end_images: bool
    ) -> None:
        self.specs, self.codec, self.device = specs, codec, device
        count, side = len(specs), 8 * specs[0].scale
        longest = latents_of_frames(max(spec.frames for spec in specs))
        shape = (codec.config.latent_channels, side, side)
        self.latents = torch.zeros(count, longest + 1, *shape, dtype=torch.float16, device=device)
        sections = max(SECTIONS.values())
        self.end_images = (
            torch.zeros(count, sections, *shape, dtype=torch.float16, device=device) if end_images else None
        )
        self.subjects = torch.zeros(count, longest, side, side, dtype=torch.bool, device=device)
        self.images = torch.zeros(count, VISION.size, VISION.size, 3, dtype=torch.uint8, device=device)
        self.text_rows = np.zeros((count, sections, 2, PHRASINGS), np.int64)
        self.table = TokenTable()
        self.done = 0

    def add(self, clips: Sequence[DrawnClip]) -> None:
        """Encode the next clips, all of one length, and keep what training reads of them."""
        rows = slice(self.done, self.done + len(clips))
        video = to_input(torch.from_numpy(np.stack([clip.frames for clip in clips])).to(self.device))
        latents = encoded(self.codec, video)
        self.latents[rows, : latents.shape[1]] = latents
        cells = torch.from_numpy(np.stack([clip.subjects for clip in clips]))
        self.subjects[rows, : cells.shape[1]] = cells.to(self.device)
        seen = prepare_images((video[:, :, 0].movedim(1, -1) + 1) / 2, VISION.size, crop=False)
        self.images[rows] = ((seen.movedim(1, -1) + 1) * 127.5).round().to(torch.uint8)
        if self.end_images is not None:
            self._add_end_images(self.end_images[rows], video)
        for row, clip in enumerate(clips, self.done):
            for section, texts in enumerate(clip.texts):
                self.text_rows[row, section] = [self.table.rows(texts.own), self.table.rows(texts.new)]
        self.done += len(clips)

    def _add_end_images(self, kept: Tensor, video: Tensor) -> None:
        """Encode the last picture of every section by itself."""
        spec = self.specs[self.done]
        for section in range(spec.sections):
            last = video[:, :, spec.first_frame(section + 1) - 1][:, :, None]
            kept[:, section] = encoded(self.codec, last)[:, 0]

    def finish(self) -> ClipStore:
        """The store of the clips that were added."""
        done = self.done
        return ClipStore(
            specs=list(self.specs[:done]),
            latents=self.latents[:done],
            end_images=None if self.end_images is None else self.end_images[:done],
            subjects=self.subjects[:done],
            images=self.images[:done],
            tokens=self.table.tensor().to(self.device),
            lengths=self.table.lengths(),
            text_rows=self.text_rows[:done],
        )


def to_input(frames: Tensor) -> Tensor:
    """Frames uint8 [...,T,H,W,3] to the codec's [...,3,T,H,W] in -1..1."""
    return frames.movedim(-1, -4).float() / 127.5 - 1


@torch.no_grad()
def encoded(codec: TinyCodec, video: Tensor) -> Tensor:
    """Latents fp16 [B,L,16,h,w] in the scale of sampling of video [B,3,T,H,W] in -1..1."""
    with autocast(video.device):
        latents = codec.encode(video)
    return (latents.float() * codec.latent_scale).half().movedim(1, 2)


def make_store(
    codec: TinyCodec,
    chosen: Sequence[ClipSpec],
    device: torch.device,
    *,
    end_images: bool = False,
    seconds: float = float("inf"),
    progress: bool = True,
) -> ClipStore:
    """Draw and encode the clips of a run on all cores; stops after `seconds` with those that are done, LEAST at least."""
    builder = StoreBuilder(chosen, codec, device, end_images=end_images)
    clock = Stopwatch(seconds)
    with tqdm(total=len(chosen), desc="clips", disable=not progress) as bar:
        for clips in _equally_long(drawn_clips(chosen), 1 if device.type == "cpu" else ENCODED_AT_ONCE):
            builder.add(clips)
            bar.update(len(clips))
            if clock.over and builder.done >= LEAST:
                break
    return builder.finish()


def _equally_long(clips: Iterator[DrawnClip], most: int) -> Iterator[list[DrawnClip]]:
    """Clips in their order, at most so many of the same length together."""
    group: list[DrawnClip] = []
    for clip in clips:
        if group and (len(group) == most or clip.frames.shape != group[0].frames.shape):
            yield group
            group = []
        group.append(clip)
    if group:
        yield group


def save_store(store: ClipStore, path: Path) -> None:
    """Keep a store in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = json.dumps([asdict(spec) for spec in store.specs])
    path.with_suffix(".json").write_text(facts, encoding="utf-8")
    # The file whose presence says that the stage is done comes last.
    state.save(path, store.tensors(), {})


def load_store(path: Path, device: torch.device) -> ClipStore:
    """Read what `save_store` wrote."""
    specs = [
        ClipSpec(**fields) for fields in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    ]
    return ClipStore.of(specs, load_file(path), device)
