"""The embedded model's transformer: the pack's own, computed with one thread on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...models.dit import FramePackDiT
from ..threads import one_thread


class TinyDiT(FramePackDiT):
    """A FramePackDiT that is too small to be shared among threads (see threads.py); everything else is the same."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As `FramePackDiT.forward`."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x, *args, **kwargs)
        with one_thread():
            return super().forward(x, *args, **kwargs)
