"""Which frames of a clip an example is made of: a window and what the sampler would show of its past, as tables of indices.

A place is a window together with what is generated before it. Frames are numbered as the clip's latent frames; NOTHING stands for
zeros and END_IMAGE for the picture that the window ends with, encoded by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....samplers.context.indices import HISTORY, HISTORY_2X, HISTORY_4X, Direction, SectionIndices
from ....samplers.context.plan import direction_of, plan_sections
from .specs import SECTIONS

NOTHING, END_IMAGE = -1, -2
TIERS = {
    "clean": "clean_latent_indices",
    "clean_2x": "clean_latent_2x_indices",
    "clean_4x": "clean_latent_4x_indices",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A window, `section` in time, of which `neighbours` were generated before it, nearest first.

    has_image: whether there is a start image; end_image: whether the window is to end with a given image.
    padding: how far the start frame is away, in windows, where the video is generated backward.
    """

    layout: str
    window: int
    section: int
    neighbours: tuple[int, ...]
    has_image: bool
    end_image: bool = False
    padding: int = 0

    @property
    def target(self) -> tuple[int, ...]:
        """The frames of the window."""
        return _frames(self.section, self.window)

    @property
    def indices(self) -> SectionIndices:
        """Where the window and its memory lie on the model's time axis."""
        count = self.section + 1 + len(self.neighbours) * (self.layout == "original")
        planned = plan_sections(self.layout, count, self.window, keeps_start=self.has_image)
        return next(section.indices for section in planned if section.latents[0] == self._begin)

    @property
    def tiers(self) -> dict[str, tuple[int, ...]]:
        """The frames of each tier, as the sampler's history packs them."""
        shown = [frame for section in sorted(self.neighbours) for frame in _frames(section, self.window)]
        start = 0 if self.has_image else NOTHING
        if direction_of(self.layout) is Direction.FORWARD:
            # The start frame is remembered like any other, until newer ones push it out.
            remembered = [NOTHING] * HISTORY + [start] + shown
            *_, last = remembered = remembered[-HISTORY:]
            far, near = remembered[:HISTORY_4X], remembered[HISTORY_4X : HISTORY_4X + HISTORY_2X]
        else:
            last, *rest = (shown + [NOTHING] * HISTORY)[:HISTORY]
            near, far = rest[:HISTORY_2X], rest[HISTORY_2X:]
            last = END_IMAGE if self.end_image else last
        return {"clean": (start, last), "clean_2x": tuple(near), "clean_4x": tuple(far)}

    @property
    def _begin(self) -> int:
        return self.section * self.window + self.has_image


def _frames(section: int, window: int) -> tuple[int, ...]:
    return tuple(range(1 + window * section, 1 + window * (section + 1)))


def places(layout: str, window: int, *, has_image: bool) -> list[Place]:
    """All places of a clip's windows. Without a start image at most one section is remembered."""
    return list(_forward(window, has_image) if layout == "f1" else _backward(window, has_image))


def _forward(window: int, has_image: bool) -> Iterator[Place]:
    for section in range(SECTIONS[window]):
        pasts = (
            [range(section)] if has_image else [range(0), range(section - 1, section)][: 1 + (section > 0)]
        )
        for past in pasts:
            yield Place(
                layout="f1",
                window=window,
                section=section,
                neighbours=tuple(reversed(past)),
                has_image=has_image,
            )


def _backward(window: int, has_image: bool) -> Iterator[Place]:
    for section in range(SECTIONS[window]):
        for end in range(section + 1, SECTIONS[window] + 1):
            neighbours = tuple(range(section + 1, end))
            for end_image in (False, True)[: 1 + (has_image and not neighbours)]:
                if has_image or len(neighbours) < 2:
                    yield Place(
                        layout="original",
                        window=window,
                        section=section,
                        neighbours=neighbours,
                        has_image=has_image,
                        end_image=end_image,
                    )


@dataclass(frozen=True, eq=False, kw_only=True)
class PlaceTable:
    """Places of one window and kind of start as tensors: frames and time indices int64 [P,n] by tier."""

    places: Sequence[Place]
    target: Tensor
    target_indices: Tensor
    tiers: dict[str, Tensor]
    tier_indices: dict[str, Tensor]

    @classmethod
    def of(cls, listed: Sequence[Place], device: torch.device) -> PlaceTable:
        """The table of places."""
        indices = [place.indices for place in listed]

        def table(rows: Sequence[Sequence[int]]) -> Tensor:
            return torch.tensor(rows, dtype=torch.int64, device=device)

        return cls(
            places=listed,
            target=table([place.target for place in listed]),
            target_indices=table([found.target for found in indices]),
            tiers={name: table([place.tiers[name] for place in listed]) for name in TIERS},
            tier_indices={name: table([getattr(found, name) for found in indices]) for name in TIERS},
        )
