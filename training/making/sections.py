"""The sections of an encoded clip, each with what is remembered when it is generated."""

from __future__ import annotations

from torch import Tensor

from ...samplers.context.history import History
from ...samplers.context.plan import direction_of, plan_sections
from ..musubi.latents import LatentCache


def section_caches(video: Tensor, image_embeds: Tensor, layout: str, window: int) -> list[LatentCache]:
    """Every whole section of a clip's latents [1, 16, L, H, W], in time, as the sampler would have come to it.

    The first latent frame is the start image, with tokens [1, N, D]. What is remembered is the clip's own past, or future
    where the layout generates backward. Raises ValueError for an unknown layout, and a clip without a whole section.
    """
    count = (video.shape[2] - 1) // window
    history = History(direction_of(layout), video[:, :, :1])
    found: dict[int, LatentCache] = {}
    for section in plan_sections(layout, count, window):
        first, end = section.latents
        target = video[:, :, first:end]
        found[first] = LatentCache(target=target, context=history.context(section, image_embeds))
        history.append(target)
    return [found[first] for first in sorted(found)]
