"""Dense optical flow by block matching and Lucas-Kanade (Lucas and Kanade 1981), on small pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class LucasKanade:
    """Light dense flow: block matching on small pictures, refined by Lucas-Kanade on larger ones.

    Pictures are compared after removing the local mean and contrast, so that fades are no motion. It sees up to a
    fifth of the short side. A pixel counts as still (0) where nothing has changed, where moving explains the change
    hardly better than not moving, and where the flow back does not return to the pixel: noise, flicker and what
    leaves the picture are no motion. Across a cut the result means nothing.

    name, side: as for every estimator.
    coarsest: short side in px of the pictures for block matching.
    reach: px that block matching tries in each direction.
    window: px along a side of the windows for matching, refining and judging; odd.
    iterations: refinements at each size of picture.
    smooth: px along a side of the windows over which displacements are averaged at each size; odd.
    faint: contrast below which texture is not amplified, in pixel values.
    smallest: mean difference in a window that counts as a change, in local contrasts.
    gain: share of that difference that may remain after moving.
    astray: px, besides a tenth of the way, by which the flow back may miss the pixel.
    ridge: square of a gradient that a window needs to be believed, in local contrasts.
    """

    name: str = "block matching and Lucas-Kanade"
    side: int = 64
    coarsest: int = 16
    reach: int = 4
    window: int = 7
    iterations: int = 2
    smooth: int = 5
    faint: float = 0.03
    smallest: float = 0.1
    gain: float = 0.7
    astray: float = 0.4
    ridge: float = 0.02

    @torch.inference_mode()
    def displacement(self, first: Tensor, second: Tensor) -> Tensor:
        """Displacement [N,2,h,w] in px, x before y, from first to second, both [N,3,h,w] in 0..1."""
        pyramids = [self._pyramid(images) for images in (first, second)]
        # Both directions at once: first to second, then second to first.
        sources = [torch.cat(pair) for pair in zip(*pyramids)]
        targets = [torch.cat(pair) for pair in zip(*pyramids[::-1])]
        flow = _median(self._match(sources[0], targets[0]))
        for source, target in zip(sources, targets):
            flow = self._refine(source, target, _enlarged(flow, source))
        believed = self._explains(sources[-1], targets[-1], flow) & self._returns(flow)
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
        moved = F.unfold(padded, (height, width)).transpose(1, 2).reshape(len(second), -1, height, width)
        costs = _box((moved - first).abs(), self.window)  # [N, offsets, h, w]
        costs = costs + 2e-3 * torch.hypot(x.float(), y.float())[:, None, None]
        best = costs.argmin(1)
        return torch.stack([x[best], y[best]], dim=1).float()

    def _refine(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        dx, dy = _gradients(first)
        xx, xy, yy = torch.split(_box(torch.cat([dx * dx, dx * dy, dy * dy], 1), self.window), 1, 1)
        xx, yy = xx + self.ridge, yy + self.ridge
        determinant = xx * yy - xy * xy
        for _ in range(self.iterations):
            difference = _warp(second, flow) - first
            bx, by = torch.split(_box(torch.cat([dx * difference, dy * difference], 1), self.window), 1, 1)
            step = torch.cat([xy * by - yy * bx, xy * bx - xx * by], dim=1) / determinant
            flow = flow + step.clamp(-1, 1)
        return _box(flow, self.smooth)

    def _explains(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """Whether moving makes a window's difference clearly smaller, [N,1,h,w]."""
        still = _box((second - first).abs(), self.window)
        moved = _box((_warp(second, flow) - first).abs(), self.window)
        return (still > self.smallest) & (moved < self.gain * still)

    def _returns(self, flow: Tensor) -> Tensor:
        """Whether the flow back returns to the pixel, [N,1,h,w], of a flow in both directions."""
        back = _warp(flow.roll(len(flow) // 2, 0), flow)
        allowed = self.astray + 0.1 * _length(flow)
        return _length(flow + back) < allowed


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


def _enlarged(flow: Tensor, images: Tensor) -> Tensor:
    """A flow in px at the size of images [N,C,h,w]."""
    size = images.shape[-2:]
    scale = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]])[:, None, None]
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * scale


def _median(flow: Tensor) -> Tensor:
    """Median of 3x3 neighbours, each axis by itself."""
    count, axes, height, width = flow.shape
    neighbours = F.unfold(F.pad(flow.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate"), 3)
    return neighbours.median(1).values.view(count, axes, height, width)
