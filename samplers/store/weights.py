"""Weights told apart without reading all of them: headers, sizes, times, and blocks here and there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WHOLE = 2**20  # bytes: up to this size all of a tensor is read
BLOCKS, BLOCK_BYTES = 16, 4096  # of a larger tensor
FILE_BLOCKS, FILE_BLOCK_BYTES = 64, 2**16
LONGEST_HEADER = 2**26


def tensor_bytes(tensor: Tensor) -> bytes:
    """The values of a tensor of any dtype, in order."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return flat.cpu().numpy().tobytes()


def module_weights(module: nn.Module) -> dict[str, Any]:
    """What tells a network's weights from others: for every parameter and buffer its dtype, shape and blocks of its values."""
    named = chain(module.named_parameters(), module.named_buffers())
    return {name: [str(tensor.dtype), list(tensor.shape), _blocks(tensor)] for name, tensor in named}


def _blocks(tensor: Tensor) -> bytes:
    """All bytes of a small tensor, of a large one blocks that lie evenly over it."""
    flat = tensor.detach().reshape(-1)
    size = flat.element_size()
    if flat.numel() * size <= WHOLE:
        return tensor_bytes(flat)
    length = BLOCK_BYTES // size
    starts = _evenly(flat.numel() - length, BLOCKS)
    return b"".join(tensor_bytes(flat[start : start + length]) for start in starts)


def file_weights(path: Path) -> dict[str, Any]:
    """What tells a file of weights from others: its size, its time, its header and blocks of its contents.

    Raises OSError where it cannot be read.
    """
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        head = file.read(8)
        header = int.from_bytes(head, "little")  # of a safetensors file; of another one just its beginning
        head += file.read(min(header, LONGEST_HEADER))
        blocks = []
        for start in _evenly(max(state.st_size - FILE_BLOCK_BYTES, 0), FILE_BLOCKS):
            file.seek(start)
            blocks.append(file.read(FILE_BLOCK_BYTES))
    return {"size": state.st_size, "time": state.st_mtime_ns, "header": head, "blocks": blocks}


def _evenly(last: int, count: int) -> Iterator[int]:
    """`count` whole numbers from 0 to `last`."""
    return (last * number // (count - 1) for number in range(count))
