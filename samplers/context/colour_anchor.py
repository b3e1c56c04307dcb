"""Colour anchor: what is remembered keeps the colours of a settled section, so that they do not drift from section to section.

Every section is drawn from the ones before it, and so carries on what they have got wrong: over minutes colours grow more
saturated or darker. Here the frames that are remembered, not those that are shown, are brought back to the mean and spread of
each latent channel in a section of the same scene. That section stays the reference until a switch or a cut: a reference
that followed the video would drift along, and one from before a switch would undo it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .history import History
from .indices import Direction
from .plan import Section

# The section, counted from a switch, a cut or the beginning, whose colours the later ones keep: the change is done in it.
SETTLED = 2
LARGEST_GAIN = 1.25


def anchor_colours(history: History, section: Section, strength: float) -> None:
    """Bring the section that was generated last back to its scene's colours, as the coming section and later ones see it.

    `strength` is from 0 (off) to 1. Nothing happens before the scene has a section behind its reference. Each section is
    brought back once, right after it was generated; the start frame, image tokens and the video itself stay.
    """
    settled = SETTLED + section.prompt.blend
    scene = sections_of_scene(history.sections, section) if strength else []
    if len(scene) > settled:
        remembered = history.recent(scene[-1].shape[2])
        history.replace_recent(with_colours(remembered, scene[settled - 1], strength))


def sections_of_scene(generated: Sequence[Tensor], section: Section) -> Sequence[Tensor]:
    """Those of the generated sections [B, 16, window, H, W] that came since the latest switch or cut, in their order."""
    if section.since_switch is not None:
        return generated[len(generated) - section.since_switch :]
    if section.shot.loop_from is not None:
        return generated
    (begin, end), (first, last) = section.shot.latents, section.latents
    frames = first - begin if section.direction is Direction.FORWARD else end - last
    number = 0
    while frames > 0 and number < len(generated):
        number += 1
        frames -= generated[-number].shape[2]
    return generated[len(generated) - number :]


def with_colours(latents: Tensor, reference: Tensor, strength: float) -> Tensor:
    """Latents [B, 16, T, H, W] with mean and standard deviation of each channel moved to those of a reference, video by video.

    z' = (1 - strength) z + strength (gain (z - mean) + mean of the reference), with the gain, the ratio of the standard
    deviations, held between 1 / LARGEST_GAIN and LARGEST_GAIN.
    """
    axes = (2, 3, 4)
    spread, mean = torch.std_mean(latents, dim=axes, correction=0, keepdim=True)
    wanted_spread, wanted_mean = torch.std_mean(reference, dim=axes, correction=0, keepdim=True)
    gain = torch.where(spread > 0, wanted_spread / spread, torch.ones_like(spread))
    moved = (latents - mean) * gain.clamp(1 / LARGEST_GAIN, LARGEST_GAIN) + wanted_mean
    return torch.lerp(latents, moved, strength)
