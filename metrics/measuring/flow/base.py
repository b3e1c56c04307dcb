"""How much moves: optical flow between frames, and its degree as VBench counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

RATE = 8.0  # frames per second between which a degree is counted
TOP = 0.05  # the share of pixels that counts
LARGE = 6 / 256  # displacement that counts as 1, in short sides


class Flow(Protocol):
    """An estimator of optical flow.

    name: what reports call it.
    side: short side in px of the pictures that it works on.
    """

    @property
    def name(self) -> str: ...

    @property
    def side(self) -> int: ...

    def displacement(self, first: Tensor, second: Tensor) -> Tensor:
        """Displacement [N,2,h,w] in px, x before y, from first to second, both [N,3,h,w] in 0..1."""


def degree(displacement: Tensor) -> NDArray[np.float64]:
    """Flow degree [N] of displacements [N,2,h,w] in px: mean of the longest 5 % against 6/256 short sides.

    VBench's dynamic degree (Huang et al. 2023, arXiv 2311.17982) calls pairs at 8 frames per second dynamic
    from 1 on.
    """
    height, width = displacement.shape[-2:]
    lengths = displacement.float()[:, 0].hypot(displacement.float()[:, 1]).flatten(1)
    largest = lengths.topk(max(round(TOP * height * width), 1), dim=1).values.mean(1)
    return (largest / (LARGE * min(height, width))).double().cpu().numpy()


def flow_degree(first: Any, second: Any, flow: Flow | None = None) -> NDArray[np.float64]:
    """Flow degree [N] from frames `first` to `second`, both [N,H,W,3], float in 0..1 or uint8.

    flow: LucasKanade() unless given. Raises ValueError when the shapes differ.
    """
    from ...features.frames import as_frames, reduced
    from .lucas_kanade import LucasKanade

    flow = flow or LucasKanade()
    pair = [as_frames(frames) for frames in (first, second)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            f"flow needs two frames of one size, but got {list(pair[0].shape)} and {list(pair[1].shape)}."
        )
    return degree(flow.displacement(*(reduced(frames, flow.side) for frames in pair)))
