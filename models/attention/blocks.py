"""Transformer blocks by name, as users write them: "double:0-3; single:0-7,12"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..config import FramePackConfig

# ("double" | "single", index), and a choice of blocks, in which None stands for every block.
Block = tuple[str, int]
Blocks = frozenset[Block] | None

MAX_BLOCKS = 1000  # more than any model has


def block_set(text: str) -> Blocks:
    """Blocks named like "double:0-3,7; single:0-39"; an empty text means all (None). Raises ValueError for other words."""
    if not text.strip():
        return None
    chosen: set[Block] = set()
    for part in text.split(";"):
        kind, _, ranges = (word.strip() for word in part.partition(":"))
        if kind not in ("double", "single"):
            raise ValueError(
                f"blocks is {text!r}; write for example 'double:0-3; single:0-7,12' or leave it empty for all."
            )
        chosen |= {(kind, index) for index in _indices(ranges)}
    return frozenset(chosen)


def _indices(ranges: str) -> Iterator[int]:
    """The numbers of "0-3,7". Raises ValueError for other words."""
    for piece in (piece.strip() for piece in ranges.split(",")):
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", piece)
        if not numbers:
            raise ValueError(f"blocks has {piece!r}, which is no number or range such as 3 or 0-7.")
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if not first <= last < MAX_BLOCKS:
            raise ValueError(
                f"blocks has {piece!r}; write a range from low to high, below {MAX_BLOCKS}, such as 0-7."
            )
        yield from range(first, last + 1)


def check_blocks(blocks: Blocks, config: FramePackConfig) -> None:
    """Raises ValueError when blocks are named that the model does not have."""
    counts = {"double": config.num_layers, "single": config.num_single_layers}
    beyond = sorted((kind, index) for kind, index in blocks or () if index >= counts[kind])
    if beyond:
        raise ValueError(
            f"blocks names {beyond[0][0]} block {beyond[0][1]}, but this model has {counts['double']} double "
            f"and {counts['single']} single blocks, counted from 0."
        )
