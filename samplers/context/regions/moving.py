"""What moves along with a part of the picture over the remembered frames, such as the shadow or the reflection of a thing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LEAST_CORRELATION = 0.6
LEAST_CHANGE = 0.1  # of the picture's own contrast: what changes less moves with nothing
COVERED = 0.5  # from here on a cell lies under a mask
AT_ONCE = 256  # cells of the mask that all others are compared with at a time
ROUNDS = 16  # of the power iteration


def changes(segments: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Remembered frames less the mean of those that are not empty, [B, 16, T, H, W], and which these are, bool [B, T].

    1 is the standard deviation over the picture of a video's mean frame. Empty frames are 0.
    """
    frames = torch.cat(list(segments.values()), dim=2).float()
    filled = frames.abs().amax(dim=(1, 3, 4), keepdim=True) > 0
    mean = (frames * filled).sum(dim=2, keepdim=True) / filled.sum(dim=2, keepdim=True).clamp(min=1)
    scale = (mean - mean.mean(dim=(3, 4), keepdim=True)).square().mean(dim=(1, 2, 3, 4)).sqrt()
    return (frames - mean) * filled / scale.clamp(min=1e-6).view(-1, 1, 1, 1, 1), filled[:, 0, :, 0, 0]


def with_what_moves_along(segments: Mapping[str, Tensor], mask: Tensor) -> Tensor:
    """A map of cells [H, W] in [0, 1], and 1 wherever a cell changes as one under it does, [B, H, W].

    segments: remembered latents [B, 16, T, H, W] by segment. How a cell changes is the course over the frames that explains most
    of its latents (their first principal component). A cell moves along where its course correlates by 0.6 or more, or by
    -0.6 or less, with that of a cell that the mask covers by half or more. Cells that hardly change count for nothing. Where
    nothing under the mask moves the map stays as it is.
    """
    courses = _courses(*changes(segments))
    own = courses[:, (mask >= COVERED).flatten()]
    highest = torch.zeros_like(courses[..., 0])
    for part in torch.split(own, AT_ONCE, dim=1):
        if part.shape[1]:
            highest = torch.maximum(highest, torch.einsum("bmt,bnt->bmn", part, courses).abs().amax(1))
    along = (highest >= LEAST_CORRELATION).view(-1, *mask.shape)
    return torch.where(along, torch.ones_like(mask), mask)


def _courses(moved: Tensor, filled: Tensor) -> Tensor:
    """The course of every cell over the frames, [B, H * W, T], of length 1; 0 where it hardly changes."""
    series = moved.flatten(3).permute(0, 3, 2, 1)  # [B, N, T, 16]
    largest = series.square().sum(-1).argmax(2)[..., None, None].expand(-1, -1, 1, series.shape[3])
    look = series.gather(2, largest).squeeze(2)
    for _ in range(ROUNDS):
        course = torch.einsum("bntc,bnc->bnt", series, look)
        look = torch.nn.functional.normalize(torch.einsum("bntc,bnt->bnc", series, course), dim=-1)
    course = torch.einsum("bntc,bnc->bnt", series, look)
    size = course.norm(dim=-1, keepdim=True)
    values = (filled.sum(1).clamp(min=1) * series.shape[3]).view(-1, 1, 1)
    return torch.where(size > LEAST_CHANGE * values.sqrt(), course / size.clamp(min=1e-12), 0)
