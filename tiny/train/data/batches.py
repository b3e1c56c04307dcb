"""Training examples of the transformer, gathered from a store: a window, its past as the sampler shows it, and a text.

Which examples a step has is drawn on the CPU as numbers; everything else is a gather on the training device.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..mix import Mix
from .choices import Choices, Chooser
from .places import END_IMAGE, TIERS, PlaceTable, places
from .specs import SECTIONS
from .store import ClipStore

PADDED_TO = 8  # tokens of a text, where a compiler wants few different lengths


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Examples of one window; images uint8 [B,64,64,3] is None for text to video.

    target [B,16,w,h,w'], subject bool [B,w,h,w'] where the target shows one, tokens [B,L] with mask [B,L] (None where all are
    real), what the transformer is told of window and past, by its arguments' names, and which frames of each tier of the past,
    bool [B,n], were generated: not the start frame, a given picture or nothing.
    """

    target: Tensor
    subject: Tensor
    past: dict[str, Tensor]
    generated: dict[str, Tensor]
    images: Tensor | None
    tokens: Tensor
    mask: Tensor | None


class BatchSource(Protocol):
    """Gives the batch of any step of a training, the same one every time."""

    def of_step(self, step: int, /) -> Batch: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool:
    """All examples of one window with or without a start image."""

    table: PlaceTable
    chooser: Chooser


class Batches:
    """Gives the batch of any step and replica of a run, the same one every time."""

    def __init__(self, store: ClipStore, mix: Mix, batch: int, seed: int, *, layout: str = "f1") -> None:
        self.store, self.mix, self.batch, self.seed = store, mix, batch, seed
        self.device = store.latents.device
        self._pools = {
            (window, text_only): self._pool(window, text_only, layout)
            for window in SECTIONS
            for text_only in (False, True)
            if any(spec.window == window for spec in store.specs)
        }

    def _pool(self, window: int, text_only: bool, layout: str) -> Pool:
        clips = [number for number, spec in enumerate(self.store.specs) if spec.window == window]
        listed = places(layout, window, has_image=not text_only)
        chooser = Chooser(self.store.specs, clips, listed, self.mix)
        return Pool(table=PlaceTable.of(listed, self.device), chooser=chooser)

    def sizes(self) -> dict[str, int]:
        """How many examples with a start image there are of each kind that a scene change makes, over all windows."""
        found = Counter[str]()
        for (_, text_only), pool in self._pools.items():
            if not text_only:
                found.update(pool.chooser.sizes())
        return dict(found)

    def of_step(self, step: int, replica: int = 0) -> Batch:
        """The batch of a step. All replicas' batches are equally long: they would wait for the longest."""
        shared, rng = (
            np.random.default_rng(seed) for seed in ([self.seed, step], [self.seed, step, replica])
        )
        window = 5 if shared.random() < self.mix.window_5 else 9
        text_only = bool(shared.random() < self.mix.text_to_video)
        if (window, text_only) not in self._pools:
            window = next(iter(self._pools))[0]
        pool = self._pools[window, text_only]
        choices = pool.chooser.draw(rng, self.batch, text_only=text_only)
        return self.gather(choices, pool.table, rng, text_only=text_only)

    def gather(
        self, choices: Choices, table: PlaceTable, rng: np.random.Generator, *, text_only: bool = False
    ) -> Batch:
        """Examples in the form that the model takes."""
        clip, place = (self._sent(numbers) for numbers in (choices.clip, choices.place))
        noise = self._noise_levels(rng, len(clip))
        past, generated = {"latent_indices": table.target_indices[place]}, {}
        for name, indices_name in TIERS.items():
            frames = table.tiers[name][place]
            latents = self._latents(clip, frames, self._end_sections(choices, table))
            past[_argument(name)] = self._disturbed(latents, frames, noise, rng)
            past[indices_name] = table.tier_indices[name][place]
            generated[_argument(name)] = frames > 0
        window = table.target[place]
        tokens, mask = self._texts(choices, table)
        return Batch(
            target=self._latents(clip, window),
            subject=self.store.subjects[clip[:, None], window],
            past=past,
            generated=generated,
            images=None if text_only else self.store.images[clip],
            tokens=tokens,
            mask=mask,
        )

    def _latents(self, clip: Tensor, frames: Tensor, ends: Tensor | None = None) -> Tensor:
        """Latents [B,16,n,h,w] of frames [B,n] of clips [B]; `ends` [B] are the sections whose last picture END_IMAGE is."""
        # The last frame of every clip is NOTHING: zeros.
        found = self.store.latents[clip[:, None], frames].float()
        if ends is not None and self.store.end_images is not None:
            pictures = self.store.end_images[clip, ends].float()[:, None]
            found = torch.where((frames == END_IMAGE)[..., None, None, None], pictures, found)
        return found.movedim(2, 1)

    def _end_sections(self, choices: Choices, table: PlaceTable) -> Tensor | None:
        if self.store.end_images is None:
            return None
        return self._sent(np.array([place.section for place in table.places])[choices.place])

    def _noise_levels(self, rng: np.random.Generator, count: int) -> Tensor:
        """How much noise each example's memory carries, [B]: some have none."""
        noisy = rng.random(count) < self.mix.history_noise
        levels = np.where(noisy, rng.random(count) * self.mix.history_noise_sigma, 0)
        return self._sent(levels.astype(np.float32))

    def _disturbed(self, latents: Tensor, frames: Tensor, levels: Tensor, rng: np.random.Generator) -> Tensor:
        """Generated latents with noise, as the model's own mistakes would be: it must not pass them on."""
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(latents.shape, generator=generator, device=self.device)
        amount = levels[:, None] * (frames > 0)
        return latents + amount[:, None, :, None, None] * noise

    def _texts(self, choices: Choices, table: PlaceTable) -> tuple[Tensor, Tensor | None]:
        """Token ids [B,L] and what of them is real; L is that of the longest, rounded up for a compiler's sake."""
        sections = self._caption_sections(choices, table)
        rows = self.store.text_rows[choices.clip, sections, choices.other_text.astype(int), choices.phrasing]
        rows = np.where(choices.phrasing < 0, 0, rows)
        lengths = self.store.lengths[rows]
        longest = int(lengths.max())
        if self.device.type != "cpu":
            longest = min(-(-longest // PADDED_TO) * PADDED_TO, self.store.tokens.shape[1])
        tokens = self.store.tokens[self._sent(rows), :longest].long()
        if lengths.min() == longest:
            return tokens, None
        real = torch.arange(longest, device=self.device) < self._sent(lengths)[:, None]
        return tokens, real

    def _caption_sections(self, choices: Choices, table: PlaceTable) -> NDArray[Any]:
        """The section that each example's text is of: its own."""
        sections: NDArray[Any] = np.array([place.section for place in table.places])[choices.place]
        return sections

    def _sent(self, numbers: np.ndarray) -> Tensor:
        """Numbers on the training device, without waiting for it."""
        there = torch.from_numpy(np.ascontiguousarray(numbers))
        if self.device.type == "cuda":
            there = there.pin_memory()
        return there.to(self.device, non_blocking=True)


def _argument(tier: str) -> str:
    return tier.replace("clean", "clean_latents")
