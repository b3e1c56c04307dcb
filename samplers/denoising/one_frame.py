"""Samples one-frame inference: one image for every layout, all from the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..conditioning import Prompt
from ..context.one_frame import OneFrameLayout, one_frame_context
from ..context.plan import Section, Shot
from ..noise import section_noises
from ..settings import SampleInputs, SampleSettings
from .drivers import Driver
from .run import SectionInput, begin_run
from .schedules import run_schedule


def sample_one_frame(
    *,
    driver: Driver,
    layouts: Sequence[OneFrameLayout],
    controls: Sequence[Tensor],
    prompt: Prompt,
    inputs: SampleInputs,
    settings: SampleSettings,
    solver: Any = "unipc_bh1",
    sigmas: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """One image for every layout; return latents [N * B, 16, 1, H, W] and the trace.

    `controls` are [B, 16, 1, H, W] in the model's scale, in the order of their indices.
    """
    shape = (*controls[0].shape[:2], 1, *controls[0].shape[3:])
    noise = next(section_noises(shape, settings))
    schedule = run_schedule(shape, settings, sigmas)
    contexts = [one_frame_context(layout, controls, inputs.image_embeds) for layout in layouts]
    sections = [
        Section(
            index=number,
            latents=(0, 1),
            frames=(0, 1),
            padding=0,
            indices=context.indices,
            shot=Shot(0, (0, 1)),
            prompt=prompt,
        )
        for number, context in enumerate(contexts)
    ]
    run = begin_run(
        driver=driver,
        negative=inputs.negative,
        settings=settings,
        solver=solver,
        shape=shape,
        schedule=schedule,
        sections=sections,
        fixed=sigmas is not None,
    )
    images = [
        run.denoise(
            SectionInput(
                section=section,
                context=context,
                noise=noise,
                initial=torch.zeros_like(noise),
                seed=settings.seed,
            )
        )
        for section, context in zip(sections, contexts)
    ]
    return torch.cat(images), {**run.trace, "latent_frames": 1}
