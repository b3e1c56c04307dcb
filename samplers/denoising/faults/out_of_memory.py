"""Sections that do not fit in memory: they are sampled once more with smaller attention chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Query rows that attention takes at a time after a section did not fit; FramePack's usual sequence has about 12,000.
ROWS = 1024
# How torch's back ends say it where they have no error type for it.
WORDS = ("out of memory", "can't allocate memory", "not enough memory")


class SmallerAttention:
    """Samples sections, with smaller attention chunks from the first one on that does not fit in memory.

    free: gives memory that is not in use back to the device.
    rows: how many query rows attention takes at a time; None for all of them.
    """

    def __init__(self, free: Callable[[], None]) -> None:
        self._free = free
        self.rows: int | None = None

    def __call__(self, sample: Callable[[int | None], Result]) -> Result:
        """What `sample` gives for a number of rows; a second error of memory is passed on."""
        if self.rows is None:
            try:
                return sample(None)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                logger.warning(
                    "Out of memory: sampling the section again, from here on with attention in chunks of %d rows.",
                    ROWS,
                )
            # Only here, where the error is gone, are the tensors of the failed attempt free.
            self.rows = ROWS
            self._free()
        return sample(self.rows)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in WORDS)
