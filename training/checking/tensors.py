"""Latents and indices of a cache against the layout of the dataset."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...samplers.context.indices import SectionIndices
from ...samplers.context.plan import plan_sections
from ..dataset import Dataset, Example
from ..musubi.latents import LatentCache
from ..one_frame import CONTROLS, layout_named
from .findings import Finding, Loaded, error


def expected_indices(example: Example, dataset: Dataset) -> SectionIndices:
    """The indices that the pack's own sampler gives an example's section."""
    if dataset.one_frame:
        return layout_named(dataset.layout, dataset.window).indices(CONTROLS[dataset.layout])
    planned = plan_sections(dataset.layout, example.sections, dataset.window)
    return sorted(planned, key=lambda section: section.latents)[example.section].indices


def tensor_findings(loaded: Loaded, dataset: Dataset) -> Iterator[Finding]:
    """What is wrong with the tensors of an example."""
    cache, name = loaded.latents, loaded.example.name
    if cache is None:
        return
    yield from _index_findings(cache, name, expected_indices(loaded.example, dataset), dataset.layout)
    for label, tensor, count in _tiers(cache):
        if tensor is None:
            continue
        if tensor.shape[2] != count:
            yield error(
                name, f"its {label} has {tensor.shape[2]} latent frames but {count} indices; cache it anew"
            )
        if tensor.shape[3:] != cache.target.shape[3:]:
            sizes = f"{_size(tensor)}, its target {_size(cache.target)}"
            yield error(name, f"its {label} has the size {sizes}; cache it anew")
        if not torch.isfinite(tensor).all():
            yield error(
                name,
                f"its {label} holds NaN or infinite values; cache it anew with another precision of the VAE",
            )
    if not torch.count_nonzero(cache.target):
        yield error(name, "its target is all zeros; look at the clip, and cache it anew")


def _index_findings(
    cache: LatentCache, name: str, expected: SectionIndices, layout: str
) -> Iterator[Finding]:
    found = cache.context.indices
    for label in ("target", "clean", "clean_2x", "clean_4x"):
        own, wanted = getattr(found, label), getattr(expected, label)
        if own != wanted:
            yield error(
                name,
                f"its {label} indices are {_listed(own)}, layout {layout} has {_listed(wanted)} there; cache it anew with the "
                "command of README.md",
            )


def _tiers(cache: LatentCache) -> list[tuple[str, Tensor | None, int]]:
    context, indices = cache.context, cache.context.indices
    return [
        ("target", cache.target, len(indices.target)),
        ("clean latents", context.clean, len(indices.clean)),
        ("2x tier", context.clean_2x, len(indices.clean_2x)),
        ("4x tier", context.clean_4x, len(indices.clean_4x)),
    ]


def _listed(values: tuple[int, ...]) -> str:
    """Indices in short: 20-28, or 0 and 19."""
    if len(values) > 2 and values == tuple(range(values[0], values[-1] + 1)):
        return f"{values[0]}-{values[-1]}"
    return " ".join(map(str, values)) or "none"


def _size(tensor: Tensor) -> str:
    return f"{tensor.shape[4]}x{tensor.shape[3]}"
