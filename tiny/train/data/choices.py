"""Which examples there are of each kind, and a draw of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..mix import Mix
from .places import Place
from .specs import ClipSpec
from .texts import PHRASINGS

KINDS = ("real", "caption_noise", "after", "normal")
FIRST_SHARE = 0.15  # of the caption noise lies where nothing is remembered beside the start frame
ALONE_SHARE = 0.8  # of the examples without an image remember nothing at all

Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Choices:
    """Examples, an entry each [B]: numbers of clip and place, and the text.

    That is one of the section's phrasings, -1 for the empty text; `other_text` takes those of a scene that is not shown.
    """

    clip: Array
    place: Array
    other_text: NDArray[np.bool_]
    phrasing: Array


def scene_change(spec: ClipSpec, place: Place) -> str:
    """How a clip's scenes lie around a place: real, after or normal (see Mix)."""
    own, start = spec.scene_of(place.section), [0] if place.has_image else []
    memory = [spec.scene_of(section) for section in place.neighbours] + start
    if memory and memory[0] != own:
        return "real"
    return "after" if any(scene != own for scene in memory) else "normal"


class Chooser:
    """Draws examples of clips and places in the shares of a mix; all examples of a kind are equally frequent."""

    def __init__(
        self, specs: Sequence[ClipSpec], clips: Sequence[int], listed: Sequence[Place], mix: Mix
    ) -> None:
        self.mix = mix
        self._pools: dict[str, list[tuple[int, int]]] = {
            name: [] for name in ("real", "after", "normal", "alone", "noise_first", "noise_later")
        }
        for number, place in enumerate(listed):
            for clip in clips:
                kind = scene_change(specs[clip], place)
                self._pools[kind].append((clip, number))
                if kind != "real":
                    self._pools["noise_later" if place.neighbours else "noise_first"].append((clip, number))
                if not place.neighbours:
                    self._pools["alone"].append((clip, number))
        self._arrays = {name: np.array(pool or self._any()) for name, pool in self._pools.items()}

    def _any(self) -> list[tuple[int, int]]:
        return self._pools["normal"] or self._pools["after"] or self._pools["real"]

    def sizes(self) -> dict[str, int]:
        """How many examples there are of each kind that `scene_change` names."""
        return {kind: len(self._pools[kind]) for kind in ("real", "after", "normal")}

    def draw(self, rng: np.random.Generator, count: int, *, text_only: bool) -> Choices:
        """Examples with a start image, or of all kinds of clips without one, where no text is noise."""
        if text_only:
            names = np.where(rng.random(count) < ALONE_SHARE, "alone", "normal")
        else:
            names = self._kinds(rng.random(count))
            noise = np.where(rng.random(count) < FIRST_SHARE, "noise_first", "noise_later")
            names = np.where(names == "caption_noise", noise, names)
        chosen = self._chosen(names, rng.random(count))
        empty = rng.random(count) < self.mix.text_dropout
        return Choices(
            clip=chosen[:, 0],
            place=chosen[:, 1],
            other_text=np.char.startswith(names, "noise"),
            phrasing=np.where(empty, -1, rng.integers(0, PHRASINGS, count)),
        )

    def _kinds(self, draws: NDArray[np.float64]) -> NDArray[np.str_]:
        mix = self.mix
        return np.array(KINDS)[
            np.searchsorted(np.cumsum([mix.real, mix.caption_noise, mix.after]), draws, "right")
        ]

    def _chosen(self, names: NDArray[np.str_], positions: NDArray[np.float64]) -> Array:
        """Clip and place [B,2] at positions in 0..1 of the pools with these names."""
        chosen = np.empty((len(names), 2), np.int64)
        for name in np.unique(names):
            here, pool = names == name, self._arrays[name]
            chosen[here] = pool[(positions[here] * len(pool)).astype(int)]
        return chosen
