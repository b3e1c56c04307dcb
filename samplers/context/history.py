"""What a section sees of the video so far, and how finished sections join it.

Latents are in the model's scale, float32, [B, 16, T, H, W]. Source: as in plan.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .indices import HISTORY_1X, HISTORY_2X, HISTORY_4X, Direction, SectionIndices
from .plan import PlannedSection


@dataclass(frozen=True, eq=False, kw_only=True)
class Context:
    """The packed past of one section: what the model sees of the video beside the window that it generates.

    Latents are [B, 16, T, H, W] with as many frames as `indices` lists for them. A segment is one of 4x, 2x, start, last
    and image; the mappings leave out the segments that they do not change.

    indices: where the window and the packed frames lie on the model's time axis.
    clean: the start frame and the remembered frame next to the window, at full resolution; None packs neither.
    clean_2x: the remembered frames that are compressed twofold; None packs none.
    clean_4x: the remembered frames that are compressed fourfold; None packs none.
    image_embeds: tokens [B, N, D] of the start image; None for none.
    tokens: by segment, the positions int64 [B or 1, K] of the tokens that are packed; the others are left out.
    kv_mask: by segment, 1 for each token that keeps its keys and values and 0 for each whose are zeroed, [B or 1, L].
    attention_shares: by segment, the share of attention that each token got in the section's first evaluation, [B, L];
        None until that was measured, which is done only for techniques that ask for it.
    concepts: by the name of a concept that techniques look for, how far it lies in each token, [B, L] in [0, 1] by segment;
        empty until that was measured, before the section's first evaluation.
    """

    indices: SectionIndices
    clean: Tensor | None = None
    clean_2x: Tensor | None = None
    clean_4x: Tensor | None = None
    image_embeds: Tensor | None = None
    tokens: Mapping[str, Tensor] = field(default_factory=dict)
    kv_mask: Mapping[str, Tensor] = field(default_factory=dict)
    attention_shares: Mapping[str, Tensor] | None = None
    concepts: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def to(self, device: torch.device) -> Context:
        """The same context with every tensor that is packed on `device`."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            clean=moved(self.clean),
            clean_2x=moved(self.clean_2x),
            clean_4x=moved(self.clean_4x),
            image_embeds=moved(self.image_embeds),
            tokens={name: part.to(device) for name, part in self.tokens.items()},
            kv_mask={name: part.to(device) for name, part in self.kv_mask.items()},
        )

    def without(self, past: str) -> Context:
        """The same context with less of the past: full, anchor or none (see techniques.base.Prediction)."""
        if past == "full" or self.clean is None:
            return self
        emptied = replace(self, clean_2x=_emptied(self.clean_2x), clean_4x=_emptied(self.clean_4x))
        if past == "none":
            return replace(emptied, clean=torch.zeros_like(self.clean), image_embeds=None)
        # As first sections see it: forward the start frame twice, backward nothing where the future will be.
        start = self.clean[:, :, :1]
        other = start if self.indices.direction is Direction.FORWARD else torch.zeros_like(start)
        clean = torch.cat([start, *[other] * (self.clean.shape[2] - 1)], dim=2)
        return replace(emptied, clean=clean)


def _emptied(tier: Tensor | None) -> Tensor | None:
    return None if tier is None else torch.zeros_like(tier)


@dataclass(frozen=True, eq=False, kw_only=True)
class Memory:
    """All that later sections see of those before them.

    start: the start frame [B, 16, 1, H, W].
    remembered: the frames next to the coming window [B, 16, n, H, W], in the video's order.
    replaced_tokens: image tokens [B, N, D] that take the place of a section's own; None for none.
    """

    start: Tensor
    remembered: Tensor
    replaced_tokens: Tensor | None = None


class History:
    """The video that sections have made so far, and what the next one remembers of it.

    The remembered frames are the HISTORY frames (more with `recent_frames`) nearest to the next window, in the order of the video: the last ones where
    the video is generated forward, the first ones where it is generated backward. They are zeros where there is no video
    yet. In forward generation the start frame is remembered like a frame of the video until newer ones push it out.

    `replaced_tokens` are image tokens [B, N, D] that take the place of a section's own; None for none.
    """

    replaced_tokens: Tensor | None
    _start: Tensor
    _remembered: Tensor

    def __init__(
        self,
        direction: Direction,
        start: Tensor,
        *,
        keeps_start: bool = True,
        end: Tensor | None = None,
        past_video: Tensor | None = None,
        recent_frames: int = HISTORY_1X,
    ) -> None:
        """A history before any section.

        direction: the order in which sections are generated.
        start: the start frame [B, 16, 1, H, W]; zeros for no image.
        keeps_start: whether the video shows the start frame.
        end: the frame [B, 16, 1, H, W] that the first section remembers as the one after its window; None for none.
        past_video: a video that the run continues, shown in place of the start frame; None for none. Forward generation
            remembers it.
        recent_frames: how many of the remembered frames are packed at full resolution, at most.

        Raises ValueError for an end frame where sections remember no frames after their window.
        """
        self._forward = direction is Direction.FORWARD
        if end is not None and self._forward:
            raise ValueError(
                "end_latent is connected, but layout f1 generates forward and has no slot for an end frame; "
                "choose layout original (with the original model), or disconnect end_latent."
            )
        self._end = end
        self._size = HISTORY_4X + HISTORY_2X + recent_frames
        self._front = [past_video] if past_video is not None else [start] * keeps_start
        self._sections: list[Tensor] = []
        self._loop_from: int | None = None  # how many sections were there when the loop began to close
        self.cut(start)
        if past_video is not None and self._forward:
            self._remembered = self._nearest(torch.cat([self._empty(), past_video], dim=2), self._size)

    def context(self, section: PlannedSection, image_embeds: Tensor | None = None) -> Context:
        """What a section sees, before techniques edit it, with image tokens [B, N, D]."""
        recent = len(section.indices.clean) - 1
        remembered = self._nearest(self._remembered, HISTORY_4X + HISTORY_2X + recent)
        if self._forward:
            clean_4x, clean_2x, last = torch.split(remembered, [HISTORY_4X, HISTORY_2X, recent], dim=2)
        else:
            last, clean_2x, clean_4x = torch.split(remembered, [recent, HISTORY_2X, HISTORY_4X], dim=2)
        if section.index == 0 and self._end is not None:
            last = self._end
        return Context(
            indices=section.indices,
            clean=torch.cat([self._start, last], dim=2),
            clean_2x=clean_2x,
            clean_4x=clean_4x,
            image_embeds=image_embeds,
        )

    def recent(self, count: int) -> Tensor:
        """The `count` latent frames that touch the next window, in the video's order; zeros where there are none."""
        return self._nearest(self._remembered, count)

    def replace_recent(self, latents: Tensor) -> None:
        """Let later sections remember these frames instead of those that `recent` gives; the video keeps its own."""
        self._remembered = self._joined(self._farther(latents.shape[2]), latents.to(self._start))

    def before_recent(self, count: int) -> History:
        """A history as it was before the latest `count` frames came, with zeros for those that have been forgotten since."""
        earlier = copy(self)
        padded = self._joined(self._empty(), self._farther(count))
        earlier._remembered = self._nearest(padded, self._size)
        return earlier

    def replace_anchor(self, start: Tensor, image_embeds: Tensor | None = None) -> None:
        """Let later sections see another start frame [B, 16, 1, H, W]; `replaced_tokens` are other image tokens, if given."""
        self._start = start.to(self._start)
        if image_embeds is not None:
            self.replaced_tokens = image_embeds

    def take_anchor(self, start: Tensor) -> None:
        """Let later sections see another start frame [B, 16, 1, H, W], and again their own image tokens."""
        self._start, self.replaced_tokens = start, None

    def forget(self) -> None:
        """Empty what is remembered beside the start frame."""
        self._remembered = self._empty()

    def cut(self, start: Tensor) -> None:
        """Forget everything, as before the first section of a run from `start`; the video stays."""
        self.take_anchor(start)
        self.forget()
        if self._forward:
            self._remembered = self._nearest(self._joined(self._remembered, start), self._size)

    def close_loop(self) -> None:
        """Let later sections lead from the last frame of the video so far to its first ones.

        They follow it, and are generated backward, from the video's start.
        """
        video = self.video()
        self._loop_from = len(self._sections)
        self._remembered = self._nearest(torch.cat([video, self._empty()], dim=2), self._size)
        self._start = video[:, :, -1:]

    @property
    def memory(self) -> Memory:
        """What the coming section and those after it can see; the video is not part of it."""
        return Memory(start=self._start, remembered=self._remembered, replaced_tokens=self.replaced_tokens)

    @property
    def sections(self) -> Sequence[Tensor]:
        """All sections [B, 16, window, H, W] in the order of generation; those of an earlier run may be joined in one."""
        return self._sections

    @property
    def latest(self) -> Tensor:
        """The section that came last, [B, 16, window, H, W]."""
        return self._sections[-1]

    def take_over(self, latents: Tensor, memory: Memory) -> None:
        """Add a section [B, 16, window, H, W] that was finished in an earlier run, with the memory that it left."""
        self.append(latents)
        self.recall(memory)

    def recall(self, memory: Memory) -> None:
        """Let later sections see what an earlier section could see, in place of what came since; the video stays."""
        self._start, self._remembered = memory.start.to(self._start), memory.remembered.to(self._start)
        tokens = memory.replaced_tokens
        self.replaced_tokens = None if tokens is None else tokens.to(self._start.device)

    def append(self, latents: Tensor) -> None:
        """Add a finished section, [B, 16, window, H, W]."""
        latents = latents.to(self._start)
        self._sections.append(latents)
        self._remembered = self._nearest(self._joined(self._remembered, latents), self._size)

    def video(self) -> Tensor:
        """All latents in the order of the video, with the start frame or the past video in front."""
        sections = self._sections if self._forward else self._sections[::-1]
        if self._loop_from is not None:
            sections = self._sections[: self._loop_from][::-1] + self._sections[self._loop_from :][::-1]
        return torch.cat([*self._front, *sections], dim=2)

    def _joined(self, farther: Tensor, nearer: Tensor) -> Tensor:
        """Frames in the video's order, of which `nearer` are next to the coming window."""
        return torch.cat([farther, nearer] if self._forward else [nearer, farther], dim=2)

    def _nearest(self, latents: Tensor, count: int) -> Tensor:
        """The `count` frames that are next to the coming window; all where there are fewer."""
        return latents[:, :, max(latents.shape[2] - count, 0) :] if self._forward else latents[:, :, :count]

    def _farther(self, count: int) -> Tensor:
        """What is remembered beyond the `count` frames next to the coming window."""
        kept = max(self._remembered.shape[2] - count, 0)
        return self._remembered[:, :, :kept] if self._forward else self._remembered[:, :, count:]

    def _empty(self) -> Tensor:
        return self._start.new_zeros(*self._start.shape[:2], self._size, *self._start.shape[3:])
