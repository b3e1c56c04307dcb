"""The caches of encoded captions. Source: kohya-ss/musubi-tuner, `fpack_cache_text_encoder_outputs.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .latents import DTYPE, HEAD, read_whole, save_whole

LENGTH = 512  # tokens that every caption is padded to
VECTORS, MASK, POOLED = "llama_vec", "llama_attention_mask", "clip_l_pooler"


@dataclass(frozen=True, eq=False, kw_only=True)
class TextCache:
    """An encoded caption.

    caption: the text.
    states: of its tokens, [1, L, D], without padding.
    pooled: one vector for the whole text, [1, P].
    """

    caption: str
    states: Tensor
    pooled: Tensor


def write_text(file: Path, text: TextCache) -> None:
    """Writes an encoded caption, padded with zeros to LENGTH tokens, or cut off there."""
    states = text.states[0, :LENGTH].to("cpu", DTYPE)
    padded = torch.cat([states, states.new_zeros(LENGTH - len(states), states.shape[1])])
    dtype = str(DTYPE).removeprefix("torch.")
    tensors = {
        f"{VECTORS}_{dtype}": padded.contiguous(),
        MASK: torch.arange(LENGTH) < len(states),
        f"{POOLED}_{dtype}": text.pooled[0].to("cpu", DTYPE).contiguous(),
    }
    save_whole(file, tensors, {**HEAD, "caption1": text.caption})


def read_text(file: Path) -> TextCache:
    """Reads an encoded caption without its padding, in float32. Raises ValueError for a file that is none."""
    tensors, facts = read_whole(file)
    states, pooled = _of(tensors, VECTORS), _of(tensors, POOLED)
    if states is None or pooled is None or MASK not in tensors or "caption1" not in facts:
        raise ValueError(
            f"{file.name} is no encoded caption for FramePack; make it with fpack_cache_text_encoder_outputs.py."
        )
    return TextCache(
        caption=facts["caption1"],
        states=states[tensors[MASK].bool()].float().unsqueeze(0),
        pooled=pooled.float().unsqueeze(0),
    )


def _of(tensors: Mapping[str, Tensor], name: str) -> Tensor | None:
    """A tensor by its name without dtype."""
    return next((tensor for key, tensor in tensors.items() if key.startswith(f"{name}_")), None)
