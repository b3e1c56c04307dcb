"""Frames of a video in chunks of one size, however they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..features.frames import as_frames

CHUNK = 16  # frames worked on at once


def chunks_of(batches: Any) -> Iterator[Tensor]:
    """Frames [T,H,W,3], or an iterable of batches of them, in chunks of CHUNK or somewhat more, on the CPU."""
    waiting: list[Tensor] = []
    for part in _parts([batches] if hasattr(batches, "shape") else batches):
        if waiting and (part.dtype, part.shape[1:]) != (waiting[0].dtype, waiting[0].shape[1:]):
            yield torch.cat(waiting)
            waiting = []
        waiting.append(part)
        if sum(map(len, waiting)) >= CHUNK:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)


def _parts(batches: Iterable[Any]) -> Iterator[Tensor]:
    for batch in batches:
        if not isinstance(batch, Tensor):
            batch = torch.from_numpy(np.ascontiguousarray(batch))
        for part in torch.split(batch, CHUNK):
            if len(part):
                yield as_frames(part.detach().cpu())
