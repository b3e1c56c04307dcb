"""The latent caches of musubi-tuner: one section, or one picture, with what is remembered beside it.

Source: kohya-ss/musubi-tuner, `fpack_cache_latents.py` and `dataset/cache_io.py`. Tensors in a file have no batch, those
here have a batch of 1. Latents are in the model's scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...samplers.context.history import Context
from ...samplers.context.indices import Direction, SectionIndices
from .names import LatentName

DTYPE = torch.float16  # as musubi-tuner's own caches
HEAD = {"architecture": "framepack", "format_version": "1.0.1"}
INDICES = ("latent_indices", "clean_latent_indices", "clean_latent_2x_indices", "clean_latent_4x_indices")


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentCache:
    """What training reads of one example beside its text.

    target: the latents to be learned, [1, 16, F, H, W].
    context: what is remembered beside them, at its indices, with image tokens [1, N, D].
    """

    target: Tensor
    context: Context


def write_latents(file: Path, cache: LatentCache, name: LatentName, *, omit_zeros: bool = False) -> None:
    """Writes one cache under musubi-tuner's keys; `omit_zeros` leaves out tiers that are all zeros, as for one frame.

    Raises ValueError where a tensor holds NaN or infinity: training would go on with it and spoil the LoRA.
    """
    tensors = tensors_of(cache, omit_zeros=omit_zeros)
    bad = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ValueError(
            f"{file.name} would hold NaN or infinite values in {', '.join(bad)}; nothing was written."
        )
    width, height = name.size
    facts = {**HEAD, "width": str(width), "height": str(height)}
    if name.frames is not None:
        facts["frame_count"] = str(name.frames)
    save_whole(file, tensors, facts)


def tensors_of(cache: LatentCache, *, omit_zeros: bool = False) -> dict[str, Tensor]:
    """The tensors of a cache by musubi-tuner's keys, in half precision and without the batch."""
    context, indices = cache.context, cache.context.indices
    if context.clean is None or context.image_embeds is None:
        raise ValueError(
            "an example needs its start frame and image tokens; give the clip and a CLIP_VISION."
        )
    frames, height, width = cache.target.shape[2:]
    size, dtype = f"{frames}x{height}x{width}", str(DTYPE).removeprefix("torch.")
    found = {
        f"latents_{size}_{dtype}": cache.target,
        f"latents_clean_{size}_{dtype}": context.clean,
        f"image_embeddings_{dtype}": context.image_embeds,
    }
    for tier, latents in (("2x", context.clean_2x), ("4x", context.clean_4x)):
        if latents is not None and not (omit_zeros and not torch.count_nonzero(latents)):
            found[f"latents_clean_{tier}_{size}_{dtype}"] = latents
    tensors = {key: tensor[0].to("cpu", DTYPE).contiguous() for key, tensor in found.items()}
    places = (indices.target, indices.clean, indices.clean_2x, indices.clean_4x)
    tensors |= {f"{key}_int64": torch.tensor(values) for key, values in zip(INDICES, places) if values}
    return tensors


def read_latents(file: Path, direction: Direction) -> LatentCache:
    """Reads a cache, in float32; tiers whose latents are left out are zeros, as training takes them.

    Raises ValueError for a file that is none of musubi-tuner's for FramePack, or lacks a part.
    """
    tensors, facts = read_whole(file)
    if facts.get("architecture") != HEAD["architecture"]:
        raise ValueError(
            f"{file.name} is a cache for {facts.get('architecture', 'nothing that it names')}, not for framepack; cache it "
            "with fpack_cache_latents.py."
        )
    parts = {_plain(key): tensor for key, tensor in tensors.items()}
    missing = [
        key for key in ("latents", "latents_clean", "image_embeddings", *INDICES[:2]) if key not in parts
    ]
    if missing:
        raise ValueError(f"{file.name} has no {', '.join(missing)}; cache it anew.")
    _expect_dimensions(file, parts)
    target = parts["latents"].float().unsqueeze(0)
    places = [tuple(parts[key].tolist()) if key in parts else () for key in INDICES]
    return LatentCache(
        target=target,
        context=Context(
            indices=SectionIndices(
                target=places[0], clean=places[1], clean_2x=places[2], clean_4x=places[3], direction=direction
            ),
            clean=parts["latents_clean"].float().unsqueeze(0),
            clean_2x=_tier(parts, "latents_clean_2x", places[2], target),
            clean_4x=_tier(parts, "latents_clean_4x", places[3], target),
            image_embeds=parts["image_embeddings"].float().unsqueeze(0),
        ),
    )


def _expect_dimensions(file: Path, parts: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a tensor that has other dimensions than training reads."""
    for key, tensor in parts.items():
        wanted = 4 if key.startswith("latents") else 1 if key in INDICES else 2
        if tensor.ndim != wanted or 0 in tensor.shape:
            raise ValueError(
                f"{file.name} holds {key} of shape {list(tensor.shape)}, expected {wanted} dimensions; cache it anew."
            )


def _tier(parts: Mapping[str, Tensor], key: str, places: tuple[int, ...], target: Tensor) -> Tensor | None:
    if key in parts:
        return parts[key].float().unsqueeze(0)
    return target.new_zeros(1, target.shape[1], len(places), *target.shape[3:]) if places else None


def _plain(key: str) -> str:
    """A key without its dtype, and for latents without its size: latents_clean_2x_9x80x80_float16 is latents_clean_2x."""
    plain = key.rsplit("_", 1)[0]
    return plain.rsplit("_", 1)[0] if plain.startswith("latents_") else plain


def save_whole(file: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """Writes a safetensors file whole or not at all. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.tmp")
    try:
        save_file(tensors, unfinished, facts)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def read_whole(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file. Raises ValueError where it is damaged or missing."""
    try:
        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}
    except Exception as error:  # safetensors raises kinds of its own, and the system's
        raise ValueError(f"{file.name} cannot be read ({error}); remove it, and cache it anew.") from error
