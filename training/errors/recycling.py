"""Recycled errors: copies of examples whose remembered frames have the errors that the model itself makes.

Source: Stable Video Infinity (Li et al. 2025, arXiv 2510.09212). Of its three places for errors this is the one that stock
musubi-tuner can train, since the remembered frames lie in its caches as they are; the target stays clean.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..caches import latent_file, remove_caches
from ..checking.findings import reading_direction
from ..dataset import Dataset, Example, kind_cache
from ..musubi.latents import LatentCache, read_latents, read_whole, save_whole, write_latents
from ..musubi.names import read_name, text_file

BANK_FORMAT = "framepack-transitions error bank 1"
MOST_COPIES = 16


@dataclass(frozen=True, eq=False)
class ErrorBank:
    """Errors of single latent frames, [N, 16, H, W], and the sigma at which each was made, [N]."""

    errors: Tensor
    sigmas: Tensor

    def of_size(self, like: Tensor) -> Tensor:
        """The errors as large as latents [..., H, W]. Raises ValueError where there are none."""
        if self.errors.shape[-2:] != like.shape[-2:]:
            have, want = (
                f"{8 * size[1]}x{8 * size[0]}" for size in (self.errors.shape[-2:], like.shape[-2:])
            )
            raise ValueError(
                f"the bank's errors are for pictures of {have}, the examples have {want}; make a bank of these examples."
            )
        return self.errors


def save_bank(file: Path, bank: ErrorBank) -> None:
    """Writes a bank, in half precision. Raises OSError."""
    tensors = {"errors": bank.errors.half().contiguous(), "sigmas": bank.sigmas.float().contiguous()}
    save_whole(file, tensors, {"format": BANK_FORMAT})


def load_bank(file: Path) -> ErrorBank:
    """Reads a bank, in float32. Raises ValueError for a file that is none."""
    if not file.is_file():
        raise ValueError(f"{file} does not exist; FramePack Error Bank makes one.")
    tensors, facts = read_whole(file)
    whole = (
        tensors.keys() == {"errors", "sigmas"} and tensors["errors"].ndim == 4 and len(tensors["errors"]) > 0
    )
    if facts.get("format") != BANK_FORMAT or not whole:
        raise ValueError(f"{file.name} is no error bank of this pack; FramePack Error Bank makes one.")
    return ErrorBank(tensors["errors"].float(), tensors["sigmas"])


def with_errors(cache: LatentCache, bank: ErrorBank, share: float, draw: random.Random) -> LatentCache:
    """A cache whose remembered frames have an error each with probability `share`.

    The start frame, copies of it, and the zeros where nothing is remembered stay: at sampling these have no errors either.
    """
    errors, context = bank.of_size(cache.target), cache.context
    if context.clean is None:
        return cache
    start = context.clean[:, :, :1]

    def spoiled(tier: Tensor | None, first: int = 0) -> Tensor | None:
        if tier is None:
            return None
        tier = tier.clone()
        for place in range(first, tier.shape[2]):
            frame = tier[:, :, place : place + 1]
            if frame.count_nonzero() and not torch.equal(frame, start) and draw.random() < share:
                tier[:, :, place] += errors[draw.randrange(len(errors))]
        return tier

    spoiled_context = replace(
        context,
        clean=spoiled(context.clean, 1),
        clean_2x=spoiled(context.clean_2x),
        clean_4x=spoiled(context.clean_4x),
    )
    return replace(cache, context=spoiled_context)


def recycle(
    dataset: Dataset, root: Path, bank: ErrorBank, *, share: float, copies: int, seed: int = 0
) -> tuple[Dataset, int]:
    """Writes `copies` of every example with errors in its memory; returns the dataset with them and how many there are.

    Copies of an earlier call are replaced. An example that remembers nothing but its start frame gets none.
    Raises ValueError for a share, a number or a bank that cannot be used, and for examples that are not cached.
    """
    _check(dataset, share, copies)
    originals = [example for example in dataset.examples if not example.copy_of]
    _remove_copies(dataset, root)
    added = []
    for example in originals:
        file = latent_file(example, root)
        cache = read_latents(file, reading_direction(dataset))
        for number in range(1, copies + 1):
            copy = replace(example, name=f"{example.name}_r{number}", copy_of=example.name)
            spoiled = with_errors(cache, bank, share, random.Random(f"{seed} {copy.name}"))
            if _same_memory(cache, spoiled):
                continue
            _write_copy(copy, file, spoiled, root)
            added.append(copy)
    return replace(dataset, examples=(*originals, *added)), len(added)


def _check(dataset: Dataset, share: float, copies: int) -> None:
    if dataset.one_frame:
        raise ValueError(
            "one-frame examples remember no generated frames, so that there is nothing to recycle."
        )
    if not 0 < share <= 1:
        raise ValueError(f"share is {share:g}; give more than 0 and at most 1.")
    if not 1 <= copies <= MOST_COPIES:
        raise ValueError(f"copies is {copies}; give 1 to {MOST_COPIES}.")


def _write_copy(copy: Example, file: Path, spoiled: LatentCache, root: Path) -> None:
    """The latents of a copy, and the encoded caption of its example where there is one."""
    name = read_name(file)
    if name is None:
        return
    name = replace(name, item=copy.name)
    write_latents(file.with_name(name.file()), spoiled, name)
    text = text_file(kind_cache(root, copy.kind), copy.copy_of)
    if text.is_file():
        shutil.copyfile(text, text_file(text.parent, copy.name))


def _remove_copies(dataset: Dataset, root: Path) -> None:
    for example in dataset.examples:
        if example.copy_of:
            remove_caches(example, root)


def _same_memory(one: LatentCache, other: LatentCache) -> bool:
    pairs = [
        (getattr(one.context, tier), getattr(other.context, tier))
        for tier in ("clean", "clean_2x", "clean_4x")
    ]
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)
