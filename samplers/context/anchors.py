"""The history, start frame and image tokens that each section sees, across cuts and changes of the start image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..conditioning import Anchor
from ..settings import SampleInputs, SampleSettings
from .history import History
from .indices import Direction
from .plan import Section

_RUN_ANCHOR = Anchor()


def begin_history(first: Section, inputs: SampleInputs, settings: SampleSettings) -> History:
    """The history before the first section that is sampled. Raises ValueError for earlier sections of another length."""
    if first.shot.loop_from is not None and (inputs.end is not None or first.index > 0):
        raise ValueError(
            "loop is on, but end_latent is connected; a loop ends where it begins, so disconnect one of them."
            if inputs.end is not None
            else "a loop is sampled from its first section on; it cannot go on from earlier sections."
        )
    history = History(
        first.direction,
        inputs.start,
        keeps_start=inputs.has_start,
        end=inputs.end,
        past_video=inputs.past_video,
        recent_frames=settings.recent_frames,
    )
    earlier = _earlier_sections(first, inputs, settings)
    same_shot = min(_frames_of_shot(first), earlier.shape[2])
    if first.direction is Direction.FORWARD:
        other_shots, this_shot = torch.split(earlier, [earlier.shape[2] - same_shot, same_shot], dim=2)
    else:
        this_shot, other_shots = torch.split(earlier, [same_shot, earlier.shape[2] - same_shot], dim=2)
    history.append(other_shots)
    if first.shot.number > 0 or other_shots.shape[2]:
        history.cut(start_frame(first, inputs))
    elif first.anchor is not None:
        history.take_anchor(start_frame(first, inputs))
    history.append(this_shot)
    return history


def _earlier_sections(first: Section, inputs: SampleInputs, settings: SampleSettings) -> Tensor:
    """The latents of the sections before the first one that is sampled, in the video's order, checked."""
    earlier = inputs.start[:, :, :0] if inputs.earlier_sections is None else inputs.earlier_sections
    front = inputs.past_latent_frames or int(inputs.has_start)
    forward = first.direction is Direction.FORWARD
    expected = first.latents[0] - front if forward else first.index * settings.window
    if earlier.shape[2] != expected:
        raise ValueError(
            f"the past holds {earlier.shape[2]} latent frames, but section {first.index + 1} follows after {expected}; give "
            "the latents of all sections before it, without the start frame."
        )
    return earlier


def _frames_of_shot(section: Section) -> int:
    """How many latent frames of its shot were generated before a section."""
    (begin, end), (first, last) = section.shot.latents, section.latents
    return first - begin if section.direction is Direction.FORWARD else end - last


def begin_section(history: History, section: Section, before: Section, inputs: SampleInputs) -> None:
    """Prepare the history for a section after the one that was generated before it.

    It is emptied where that one belongs to another shot, turned round where a loop begins to close, and follows a change of
    the anchor. Raises ValueError for a keyframe in a loop.
    """
    if section.shot.loop_from is not None and section.anchor is not None:
        raise ValueError(
            f"loop is on, but the timeline's entry at {section.prompt.start:g} s brings an image of its own; a loop comes back "
            "to the start image, so disconnect that image or turn loop off."
        )
    if section.closes_loop and not before.closes_loop:
        history.close_loop()
    elif section.shot != before.shot:
        history.cut(start_frame(section, inputs))
    elif section.anchor is not before.anchor:
        history.take_anchor(start_frame(section, inputs))


def start_frame(section: Section, inputs: SampleInputs) -> Tensor:
    """The start frame [B, 16, 1, H, W] of a section, zeros for no image."""
    anchor = section.anchor or _RUN_ANCHOR
    if anchor.start_from is None:
        return inputs.start
    return torch.zeros_like(inputs.start) if anchor.start is None else anchor.start


def image_embeds_of(
    section: Section, inputs: SampleInputs, settings: SampleSettings, history: History | None = None
) -> Tensor | None:
    """Image tokens [B, N, D] of a section, in the last shot mixed with those of the end image.

    They are its anchor's, or those that the history has in their place.
    linear moves from the one to the other along the shot, weighted_average gives the start image a fixed share. The
    share scales the tokens where only one image is there. Source: kijai/ComfyUI-FramePackWrapper, `nodes.py`, whose
    linear runs the wrong way.
    """
    anchor = section.anchor or _RUN_ANCHOR
    tokens = inputs.image_embeds if anchor.vision_from is None else anchor.image_embeds
    if history is not None and history.replaced_tokens is not None:
        tokens = history.replaced_tokens
    end = inputs.end_image_embeds if section.shot.last else None
    strength = section.prompt.vision_strength
    if tokens is None or end is None:
        tokens = end if tokens is None else tokens
        strength *= settings.start_embed_strength
    elif settings.embed_interpolation == "linear":
        tokens = torch.lerp(tokens, end, _progress(section))
    else:
        tokens = torch.lerp(end, tokens, settings.start_embed_strength)
    return tokens if tokens is None or strength == 1 else tokens * strength


def token_mixture(section: Section, inputs: SampleInputs, settings: SampleSettings) -> tuple[Any, ...]:
    """What `image_embeds_of` makes of tokens, whichever they are: the end image's, and how much of both."""
    end = inputs.end_image_embeds if section.shot.last else None
    shares = (section.prompt.vision_strength, settings.start_embed_strength, settings.embed_interpolation)
    return (end, None if end is None else _progress(section), *shares)


def _progress(section: Section) -> float:
    """Where the middle of a section lies in its shot, from 0 to 1."""
    (first, last), (begin, end) = section.latents, section.shot.latents
    return ((first + last) / 2 - begin) / (end - begin)
