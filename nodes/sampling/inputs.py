"""Checks the inputs of the sampling nodes and brings them into the form that the sampler uses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...samplers.conditioning import Prompt, latent_samples, text_conditioning, vision_tokens
from ...samplers.context.one_frame import mask_control
from ...samplers.context.plan import section_count, sections_for_latents
from ...samplers.denoising.drivers import Driver
from ...samplers.settings import SampleInputs
from ...samplers.timeline.timeline import Timeline, TimelineEntry


def sample_inputs(
    driver: Driver,
    *,
    negative: Any,
    start_latent: Any,
    clip_vision_output: Any,
    end_latent: Any,
    end_clip_vision_output: Any,
    initial_latent: Any,
    past_latent: Any,
) -> SampleInputs:
    """The tensors of a run from the inputs of the same names, each latent brought into the model's scale exactly once.

    Raises ValueError for an input that cannot be used.
    """
    config = driver.config
    start = latent_samples(start_latent, "start_latent", config.in_channels)
    has_start = bool(torch.count_nonzero(start))
    past_video = _optional_samples(past_latent, "past_latent", start)
    if past_video is not None:
        _expect_picture(past_video)
    if not has_start:
        start = start[:, :, :1] if past_video is None else past_video[:, :, -1:]
    batch = start.shape[0]
    end = _optional_samples(end_latent, "end_latent", start)
    initial = _optional_samples(initial_latent, "initial_latent", start)
    return SampleInputs(
        start=driver.to_model(one_image(start, "start_latent")),
        has_start=has_start,
        negative=text_conditioning(negative, "negative", config, batch),
        image_embeds=vision_tokens(clip_vision_output, "clip_vision_output", config, batch),
        end=None if end is None else driver.to_model(one_image(end, "end_latent")),
        end_image_embeds=vision_tokens(end_clip_vision_output, "end_clip_vision_output", config, batch),
        initial=None if initial is None else driver.to_model(initial),
        past_video=None if past_video is None else driver.to_model(past_video),
    )


def count_sections(seconds: float, latent_frames: int, window: int) -> int:
    """The number of sections of `window` latent frames: for `latent_frames`, or where these are 0 for `seconds`."""
    return sections_for_latents(latent_frames, window) if latent_frames else section_count(seconds, window)


def sample_prompts(driver: Driver, positive: Any, timeline: Timeline | None, start: Tensor) -> list[Prompt]:
    """The positive prompt, followed by the timeline's entries where there are any; one that starts at 0 replaces it.

    `start` [B, 16, 1, H, W] gives the batch and the size of keyframes. Raises ValueError for an entry that cannot be used.
    """
    entries = () if timeline is None else timeline.entries
    prompts = [_prompt(driver, entry, f"timeline entry at {entry.start:g} s", start) for entry in entries]
    if prompts and prompts[0].start == 0:
        return prompts
    first = TimelineEntry(start=0.0, prompt="", conditioning=positive, change=0.0)
    return [_prompt(driver, first, "positive", start), *prompts]


def one_image(samples: Tensor, name: str) -> Tensor:
    """The samples as they are; raises ValueError unless they hold a single latent frame."""
    if samples.shape[2] != 1:
        raise ValueError(
            f"{name} holds {samples.shape[2]} latent frames, expected one image; encode a single image "
            "(a video to start from goes into initial_latent)."
        )
    return samples


def _optional_samples(latent: Any, name: str, start: Tensor) -> Tensor | None:
    """Samples of a LATENT with the start latent's batch and size; None where nothing is connected."""
    return None if latent is None else latent_samples(latent, name, start.shape[1], start)


def _expect_picture(samples: Tensor) -> None:
    """Raises ValueError where a past video holds only zeros."""
    if not torch.count_nonzero(samples):
        raise ValueError(
            "past_latent is an empty latent, so there is no video to go on from; encode one with VAE Encode, or disconnect it."
        )


def _prompt(driver: Driver, entry: TimelineEntry, name: str, start: Tensor) -> Prompt:
    """A timeline's entry, checked, its keyframe in the model's scale."""
    label, batch = f"start_latent of the {name}", start.shape[0]
    keyframe = _optional_samples(entry.start_latent, label, start)
    tokens = vision_tokens(
        entry.clip_vision_output, f"clip_vision_output of the {name}", driver.config, batch
    )
    return Prompt(
        start=entry.start,
        text=entry.prompt,
        conditioning=text_conditioning(entry.conditioning, name, driver.config, batch),
        change=entry.change,
        state=entry.state,
        cut=entry.cut,
        recall=entry.recall,
        keep=None
        if entry.keep is None
        else text_conditioning(entry.keep, f"keep of the {name}", driver.config, batch),
        blend=entry.blend,
        landing=entry.landing,
        event=entry.event,
        start_latent=None if keyframe is None else driver.to_model(one_image(keyframe, label)),
        image_embeds=tokens,
        vision_strength=entry.vision_strength,
        section_seed=entry.section_seed,
    )


def masked_control(latent: Any, mask: Tensor | None, name: str, like: Tensor) -> Tensor:
    """A control image's latent, with its mask multiplied in."""
    samples = one_image(latent_samples(latent, name, like.shape[1], like), name)
    return samples if mask is None else mask_control(samples, mask)
