"""What a section sees of the video so far, and how finished sections join it.

Latents are in the model's scale, float32, [B, 16, T, H, W]. Source: as in plan.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .plan import HISTORY, HISTORY_1X, HISTORY_2X, HISTORY_4X, Direction, PlannedSection, SectionIndices


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
    """

    indices: SectionIndices
    clean: Tensor | None = None
    clean_2x: Tensor | None = None
    clean_4x: Tensor | None = None
    image_embeds: Tensor | None = None
    tokens: Mapping[str, Tensor] = field(default_factory=dict)
    kv_mask: Mapping[str, Tensor] = field(default_factory=dict)
    attention_shares: Mapping[str, Tensor] | None = None

    def to(self, device: torch.device) -> Context:
        """The same context with every tensor on `device`."""
        moved = {
            name: value if value is None else value.to(device)
            for name, value in (
                ("clean", self.clean),
                ("clean_2x", self.clean_2x),
                ("clean_4x", self.clean_4x),
                ("image_embeds", self.image_embeds),
            )
        }
        chosen = {
            name: {segment: part.to(device) for segment, part in parts.items()}
            for name, parts in (("tokens", self.tokens), ("kv_mask", self.kv_mask))
        }
        return replace(self, **moved, **chosen)

    def without(self, past: str) -> Context:
        """The same context with less of the past: full, anchor or none (see techniques.base.Prediction)."""
        if past == "full" or self.clean is None:
            return self
        emptied = {
            name: value if value is None else torch.zeros_like(value)
            for name, value in (("clean_2x", self.clean_2x), ("clean_4x", self.clean_4x))
        }
        if past == "none":
            return replace(self, clean=torch.zeros_like(self.clean), image_embeds=None, **emptied)
        # As in first sections: F1 sees the start twice, the original layout nothing where its future will be.
        start = self.clean[:, :, :1]
        forward = self.indices.direction is Direction.FORWARD
        others = (start if forward else torch.zeros_like(start)).repeat(1, 1, self.clean.shape[2] - 1, 1, 1)
        clean = torch.cat([start, others], dim=2)
        return replace(self, clean=clean, **emptied)


class _Anchored:
    """The anchor of a history: its start frame and image tokens, which may be replaced on the way."""

    _start: Tensor
    replaced_tokens: Tensor | None = None

    def replace_anchor(self, start: Tensor, image_embeds: Tensor | None = None) -> None:
        """Let later sections see another start frame [B, 16, 1, H, W]; `replaced_tokens` are other image tokens, if given."""
        self._start = start.to(self._start)
        if image_embeds is not None:
            self.replaced_tokens = image_embeds

    def take_anchor(self, start: Tensor) -> None:
        """Let later sections see another start frame, and again its own image tokens."""
        self._start, self.replaced_tokens = start, None


class F1History(_Anchored):
    """F1 generates forward: the newest frames are the last ones."""

    def __init__(self, start: Tensor, *, keeps_start: bool = True, past_video: Tensor | None = None) -> None:
        """`start` [B, 16, 1, H, W]; zeros, with `keeps_start` False, when there is no image.

        `past_video` is a video that goes on: remembered, and shown instead of the start.
        """
        self._parts = _front(start, keeps_start, past_video)
        self.cut(start)
        if past_video is not None:
            self._recent = torch.cat([_empty(start), past_video], dim=2)[:, :, -HISTORY:]

    def context(self, section: PlannedSection, image_embeds: Tensor | None = None) -> Context:
        clean_4x, clean_2x, last = self._recent.split([HISTORY_4X, HISTORY_2X, HISTORY_1X], dim=2)
        clean = torch.cat([self._start, last], dim=2)
        return Context(
            indices=section.indices,
            clean=clean,
            clean_2x=clean_2x,
            clean_4x=clean_4x,
            image_embeds=image_embeds,
        )

    def recent(self, count: int) -> Tensor:
        """The `count` latent frames that touch the next window, in the video's order; zeros where there are none."""
        return self._recent[:, :, -count:]

    def replace_recent(self, latents: Tensor) -> None:
        """Let later sections remember these frames instead of those that `recent` gives; the video keeps its own."""
        count = latents.shape[2]
        self._recent = torch.cat([self._recent[:, :, :-count], latents.to(self._start)], dim=2)

    def before_recent(self, count: int) -> F1History:
        """A history that knows what this one knew before the latest `count` frames came, as far as it still remembers."""
        earlier = copy(self)
        earlier._recent = torch.cat([_empty(self._start), self._recent[:, :, :-count]], dim=2)[
            :, :, -HISTORY:
        ]
        return earlier

    def forget(self) -> None:
        """Empty what is remembered beside the start frame."""
        self._recent = _empty(self._start)

    def cut(self, start: Tensor) -> None:
        """Forget everything, as at the first section of a run from `start`, which the video does not show."""
        self.take_anchor(start)
        self._recent = torch.cat([_empty(start), start], dim=2)[:, :, -HISTORY:]

    def append(self, latents: Tensor) -> None:
        self._parts.append(latents.to(self._start))
        self._recent = torch.cat([self._recent, self._parts[-1]], dim=2)[:, :, -HISTORY:]

    def video(self) -> Tensor:
        """All real latents in the order of the video."""
        return torch.cat(self._parts, dim=2)


class OriginalHistory(_Anchored):
    """The original layout generates backwards: its history is the future, newest (nearest) first."""

    def __init__(
        self,
        start: Tensor,
        *,
        keeps_start: bool = True,
        end: Tensor | None = None,
        past_video: Tensor | None = None,
    ) -> None:
        """`end` [B, 16, 1, H, W] stands in for the frame after the window in the first generated section.

        `past_video` is a video that goes on: shown instead of the start, but there is no place to remember it.
        """
        self._end = end
        self._front = _front(start, keeps_start, past_video)
        self.cut(start)
        self._parts: list[Tensor] = []

    def context(self, section: PlannedSection, image_embeds: Tensor | None = None) -> Context:
        last, clean_2x, clean_4x = self._recent.split([HISTORY_1X, HISTORY_2X, HISTORY_4X], dim=2)
        if section.index == 0 and self._end is not None:
            last = self._end
        clean = torch.cat([self._start, last], dim=2)
        return Context(
            indices=section.indices,
            clean=clean,
            clean_2x=clean_2x,
            clean_4x=clean_4x,
            image_embeds=image_embeds,
        )

    def recent(self, count: int) -> Tensor:
        """The `count` latent frames that touch the next window, in the video's order; zeros where there are none."""
        return self._recent[:, :, :count]

    def replace_recent(self, latents: Tensor) -> None:
        """Let later sections remember these frames instead of those that `recent` gives; the video keeps its own."""
        self._recent = torch.cat([latents.to(self._start), self._recent[:, :, latents.shape[2] :]], dim=2)

    def before_recent(self, count: int) -> OriginalHistory:
        """A history that knows what this one knew before the latest `count` frames came, as far as it still remembers."""
        earlier = copy(self)
        earlier._recent = torch.cat([self._recent[:, :, count:], _empty(self._start)], dim=2)[:, :, :HISTORY]
        return earlier

    def forget(self) -> None:
        """Empty what is remembered beside the start frame."""
        self._recent = _empty(self._start)

    def cut(self, start: Tensor) -> None:
        """Forget the future, as at the first section of a run from `start`, which the video does not show."""
        self.take_anchor(start)
        self._recent = _empty(start)

    def append(self, latents: Tensor) -> None:
        latents = latents.to(self._start)
        self._parts.append(latents)
        self._recent = torch.cat([latents, self._recent], dim=2)[:, :, :HISTORY]

    def video(self) -> Tensor:
        """All real latents in the order of the video, the start frame in front."""
        return torch.cat([*self._front, *reversed(self._parts)], dim=2)


History = F1History | OriginalHistory


def make_history(
    direction: Direction,
    start: Tensor,
    *,
    keeps_start: bool = True,
    end: Tensor | None = None,
    past_video: Tensor | None = None,
) -> History:
    """The history of a run before its first section. Raises ValueError for an end frame where the memory has no place for one."""
    if direction is Direction.BACKWARD:
        return OriginalHistory(start, keeps_start=keeps_start, end=end, past_video=past_video)
    if end is not None:
        raise ValueError(
            "end_latent is connected, but layout f1 generates forward and has no slot for an end frame; "
            "choose layout original (with the original model), or disconnect end_latent."
        )
    return F1History(start, keeps_start=keeps_start, past_video=past_video)


def soft_append(first: Tensor, second: Tensor, overlap: int, dim: int = 0) -> Tensor:
    """Join two clips; the last `overlap` frames of `first` cross-fade linearly into the first of `second`.

    The weights run from 1 to 0 inclusive, as upstream's `soft_append_bcthw`. Raises ValueError when a clip is shorter
    than the overlap.
    """
    if overlap <= 0:
        return torch.cat([first, second], dim=dim)
    if min(first.shape[dim], second.shape[dim]) < overlap:
        raise ValueError(
            f"cannot blend {overlap} frames of clips with {first.shape[dim]} and {second.shape[dim]} frames."
        )
    shape = [1] * first.ndim
    shape[dim] = overlap
    weight = torch.linspace(1, 0, overlap, dtype=first.dtype, device=first.device).view(shape)
    kept, tail = first.split([first.shape[dim] - overlap, overlap], dim=dim)
    head, rest = second.split([overlap, second.shape[dim] - overlap], dim=dim)
    return torch.cat([kept, weight * tail + (1 - weight) * head, rest], dim=dim)


def _front(start: Tensor, keeps_start: bool, past_video: Tensor | None) -> list[Tensor]:
    """What the video shows before the first section."""
    if past_video is not None:
        return [past_video]
    return [start] if keeps_start else []


def _empty(start: Tensor) -> Tensor:
    return start.new_zeros(*start.shape[:2], HISTORY, *start.shape[3:])
