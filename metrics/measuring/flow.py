"""How much moves: optical flow between frames, and its degree as VBench counts it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..features.base import as_frames, reduced

RATE = 8.0  # frames per second between which a degree is counted
TOP = 0.05  # the share of pixels that counts
LARGE = 6 / 256  # displacement that counts as 1, in short sides
GREY = (0.299, 0.587, 0.114)


class Flow(Protocol):
    """Finds where pixels go. name: how reports call it; side: short side in px of the pictures it works on."""

    name: str
    side: int

    def displacement(self, first: Tensor, second: Tensor) -> Tensor:
        """Displacement [N,2,h,w] in px, x before y, from first to second, both [N,3,h,w] in 0..1."""


def degree(displacement: Tensor) -> NDArray[np.float64]:
    """Flow degree [N] of displacements [N,2,h,w] in px: mean of the longest 5 % against 6/256 short sides.

    VBench's dynamic degree (Huang et al. 2023, arXiv 2311.17982) calls pairs at 8 frames per second dynamic
    from 1 on.
    """
    height, width = displacement.shape[-2:]
    lengths = _length(displacement.float()).flatten(1)
    largest = lengths.topk(max(round(TOP * height * width), 1), dim=1).values.mean(1)
    return (largest / (LARGE * min(height, width))).double().cpu().numpy()


def flow_degree(first: Any, second: Any, flow: Flow | None = None) -> NDArray[np.float64]:
    """Flow degree [N] from frames `first` to `second`, both [N,H,W,3], float in 0..1 or uint8.

    flow: LucasKanade() unless given. Raises ValueError when the shapes differ.
    """
    flow = flow or LucasKanade()
    pair = [as_frames(frames) for frames in (first, second)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            f"flow needs two frames of one size, but got {list(pair[0].shape)} and {list(pair[1].shape)}."
        )
    return degree(flow.displacement(*(reduced(frames, flow.side) for frames in pair)))


class LucasKanade:
    """Light dense flow: block matching on small pictures, refined by Lucas-Kanade on larger ones.

    Pictures are compared after removing the local mean and contrast, so that fades are no motion. Sees up to a
    fifth of the short side. A pixel counts as still (0) where nothing has changed, where moving explains the
    change hardly better than not moving, and where the way back does not lead home: noise, flicker and
    what leaves the picture are no motion. Across a cut the result means nothing.
    """

    name = "block matching and Lucas-Kanade"
    side = 64
    coarsest = 16  # px, short side for block matching
    reach = 4  # px there
    window = 7  # px, for matching, refining and judging
    iterations = 2  # at each size
    smooth = 5  # px, over which displacements are averaged at each size
    faint = 0.03  # contrast below which texture is not amplified, in pixel values
    smallest = 0.1  # mean difference in a window that counts as a change, in local contrasts
    gain = 0.7  # share of it that may remain after moving
    astray = 0.4  # px, and a tenth of the way, by which the way back may miss
    ridge = 0.02  # square of a gradient, in local contrasts, that a window needs to be believed

    @torch.inference_mode()
    def displacement(self, first: Tensor, second: Tensor) -> Tensor:
        """Displacement [N,2,h,w] in px, x before y, from first to second, both [N,3,h,w] in 0..1."""
        pyramids = [self._pyramid(images) for images in (first, second)]
        # Both ways at once: [there, back].
        there = [torch.cat(pair) for pair in zip(*pyramids)]
        other = [torch.cat(pair) for pair in zip(*pyramids[::-1])]
        flow = _median(self._match(there[0], other[0]))
        for start, end in zip(there, other):
            flow = self._refine(start, end, _enlarged(flow, start.shape[-2:]))
        believed = self._explains(there[-1], other[-1], flow) & self._returns(flow)
        rim = self.window // 2 + 1
        flow = (flow * believed)[: len(first), :, rim:-rim, rim:-rim]
        return F.pad(flow, (rim,) * 4)

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        """Grey pictures of even contrast, smallest first."""
        grey = [(images * images.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)]
        while min(grey[0].shape[-2:]) >= 2 * self.coarsest:
            grey.insert(0, F.avg_pool2d(grey[0], 2))
        return [self._even(level) for level in grey]

    def _even(self, grey: Tensor) -> Tensor:
        wide = 2 * self.window + 1
        rest = grey - _box(grey, wide)
        return rest / (_box(rest * rest, wide) + self.faint**2).sqrt()

    def _match(self, first: Tensor, second: Tensor) -> Tensor:
        """The whole-pixel displacement of each window that fits best; shorter ones win ties."""
        height, width = first.shape[-2:]
        offsets = torch.arange(-self.reach, self.reach + 1, device=first.device)
        y, x = (axis.flatten() for axis in torch.meshgrid(offsets, offsets, indexing="ij"))
        padded = F.pad(second, (self.reach,) * 4, mode="replicate")
        moved = F.unfold(padded, (height, width)).transpose(1, 2).unflatten(2, (height, width))
        costs = _box((moved - first).abs(), self.window)  # [N, offsets, h, w]
        costs = costs + 2e-3 * torch.hypot(x.float(), y.float())[:, None, None]
        best = costs.argmin(1)
        return torch.stack([x[best], y[best]], dim=1).float()

    def _refine(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        dx, dy = _gradients(first)
        xx, xy, yy = _box(torch.cat([dx * dx, dx * dy, dy * dy], 1), self.window).split(1, 1)
        xx, yy = xx + self.ridge, yy + self.ridge
        determinant = xx * yy - xy * xy
        for _ in range(self.iterations):
            difference = _warp(second, flow) - first
            bx, by = _box(torch.cat([dx * difference, dy * difference], 1), self.window).split(1, 1)
            step = torch.cat([xy * by - yy * bx, xy * bx - xx * by], dim=1) / determinant
            flow = flow + step.clamp(-1, 1)
        return _box(flow, self.smooth)

    def _explains(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """Whether moving makes a window's difference clearly smaller, [N,1,h,w]."""
        still = _box((second - first).abs(), self.window)
        moved = _box((_warp(second, flow) - first).abs(), self.window)
        return (still > self.smallest) & (moved < self.gain * still)

    def _returns(self, flow: Tensor) -> Tensor:
        """Whether the way back leads home, [N,1,h,w], of a flow [there, back]."""
        back = _warp(flow.roll(len(flow) // 2, 0), flow)
        allowed = self.astray + 0.1 * _length(flow)
        return _length(flow + back) < allowed


class Raft:
    """RAFT (Teed and Deng 2020, arXiv 2003.12039) through torchvision, with weights from a local file.

    weights: a .safetensors file with the state dict of torchvision's raft_small or raft_large.
    Raises FileNotFoundError or ValueError for the file.
    """

    side = 256

    def __init__(
        self, weights: str | Path, variant: str = "small", device: str | torch.device = "cpu"
    ) -> None:
        from torchvision.models.optical_flow import raft_large, raft_small

        builders = {"small": raft_small, "large": raft_large}
        if variant not in builders:
            raise ValueError(f"RAFT has no variant {variant!r}: take small or large.")
        model, self.name, self.device = builders[variant](), f"RAFT {variant}", torch.device(device)
        file = Path(weights)
        remedy = f"write the state dict of torchvision's raft_{variant} with safetensors.torch.save_file"
        if file.suffix != ".safetensors" or not file.is_file():
            raise FileNotFoundError(f"RAFT needs a .safetensors file, {file} is none: {remedy}.")
        try:
            model.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            detail = " ".join(str(error).split())[:200]
            raise ValueError(f"{file.name} does not hold RAFT {variant} ({detail}): {remedy}.") from error
        self.model = model.to(device).eval()

    @torch.inference_mode()
    def displacement(self, first: Tensor, second: Tensor) -> Tensor:
        """Displacement [N,2,h,w] in px, x before y, from first to second, both [N,3,h,w] in 0..1."""
        height, width = first.shape[-2:]
        # RAFT takes multiples of 8 from 128 px on.
        size = tuple(max(8 * round(side / 8), 128) for side in (height, width))
        pair = [
            F.interpolate(images.to(self.device), size=size, mode="bilinear", antialias=True) * 2 - 1
            for images in (first, second)
        ]
        flow = F.interpolate(self.model(*pair)[-1], size=(height, width), mode="bilinear", antialias=True)
        return flow * flow.new_tensor([width / size[1], height / size[0]])[:, None, None]


def _box(images: Tensor, size: int) -> Tensor:
    """Mean over windows of an odd size, cut off at the border; as products, which for small pictures is quickest."""
    down, across = (_band(length, size).to(images) for length in images.shape[-2:])
    return down @ images @ across.T


@lru_cache(maxsize=32)
def _band(length: int, size: int) -> Tensor:
    """The matrix [length,length] that takes means over windows."""
    places = torch.arange(length)
    near = ((places[:, None] - places).abs() <= size // 2).float()
    return near / near.sum(1, keepdim=True)


def _length(flow: Tensor) -> Tensor:
    """Length [N,1,h,w] of displacements [N,2,h,w]."""
    return torch.hypot(flow[:, :1], flow[:, 1:])


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y of images [N,1,h,w]."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return across, along


def _warp(images: Tensor, flow: Tensor) -> Tensor:
    """Fetch images [N,C,h,w] from where a flow [N,2,h,w] in px leads, the border going on outside."""
    height, width = images.shape[-2:]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    grid = torch.stack([(flow[:, 0] + x + 0.5) * 2 / width - 1, (flow[:, 1] + y + 0.5) * 2 / height - 1], -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _enlarged(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow in px for a picture of another size."""
    scale = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]])[:, None, None]
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * scale


def _median(flow: Tensor) -> Tensor:
    """Median of 3x3 neighbours, each axis by itself."""
    count, axes, height, width = flow.shape
    neighbours = F.unfold(F.pad(flow.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate"), 3)
    return neighbours.median(1).values.view(count, axes, height, width)
