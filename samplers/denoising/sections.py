"""The denoising loop: sections in order, each from the history that the ones before it left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, repeat
from typing import Any

import torch
from torch import Tensor

from ..context.anchors import begin_history, begin_section, image_embeds_of
from ..context.colour_anchor import anchor_colours
from ..context.history import History
from ..context.plan import Section
from ..noise import section_noises, section_seed
from ..observer import SectionObserver
from ..settings import SampleInputs, SampleSettings
from ..store.folder import RecordStore
from ..timeline.recalled_scenes import RecalledScenes
from .drivers import Driver
from .keeping.sections import KeptSections
from .run import Run, SectionInput, begin_run
from .schedules import run_schedule


def sample_sections(
    driver: Driver,
    sections: Sequence[Section],
    inputs: SampleInputs,
    settings: SampleSettings,
    *,
    solver: Any = "unipc_bh1",
    sigmas: Tensor | None = None,
    observer: SectionObserver | None = None,
    store: RecordStore | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """Denoise every section; return the video's latents [B, 16, T, H, W] in the model's scale, and the trace.

    `sections` carry their prompts (timeline.assign_prompts). They may be the later part of a plan: then
    `inputs.earlier_sections` holds what the earlier part left, and the result is the one of a run of the whole plan.
    `solver` is a name in SOLVERS or a SAMPLER of the host; `sigmas` replaces the schedule of steps and shift; `observer`
    watches the run. Finished sections are kept in the `store` and taken from it. The trace is plain data (see README).
    """
    shape = (inputs.start.shape[0], driver.config.in_channels, settings.window, *inputs.start.shape[-2:])
    schedule = run_schedule(shape, settings, sigmas, has_initial=inputs.initial is not None)
    observer = observer or SectionObserver()
    history, scenes = begin_history(sections[0], inputs, settings), RecalledScenes(sections)
    run = begin_run(
        driver=driver,
        negative=inputs.negative,
        settings=settings,
        solver=solver,
        shape=shape,
        schedule=schedule,
        sections=sections,
        fixed=sigmas is not None,
        observer=observer,
    )
    observer = observer or SectionObserver()
    kept = KeptSections(run, inputs, store, observer)
    # Sections of an earlier run, whose noise is passed over, had the full window.
    lengths = chain(repeat(settings.window, sections[0].index), (section.window for section in sections))
    noises = islice(section_noises(shape, settings, lengths), sections[0].index, None)
    for section, before, noise in zip(sections, [sections[0], *sections], noises):
        observer.section_begins(section)
        scenes.keep(history, before, section)
        begin_section(history, section, before, inputs)
        scenes.recall(history, section)
        anchor_colours(history, section, settings.colour_anchor)
        image_embeds = partial(image_embeds_of, section, inputs, settings, history)
        given = SectionInput(
            section=section,
            context=history.context(section, image_embeds()),
            noise=noise,
            initial=_initial_of(section, inputs, noise),
            seed=section_seed(settings, section.index),
        )
        key = kept.key(given, history)
        reused = kept.take_over(key, section, history)
        if not reused:
            _sample(run, given, history, image_embeds)
            kept.keep(key, history)
        observer.section_done(section, history.latest, reused=reused)
    kept.announce()
    video = history.video()
    frames = {"latent_frames": video.shape[2], "given_latent_frames": inputs.past_latent_frames}
    return video, {**run.trace, **frames}


def _sample(
    run: Run, given: SectionInput, history: History, image_embeds: Callable[[], Tensor | None]
) -> None:
    """Let techniques prepare a section, denoise it, and add it to the history."""
    preparation = run.prepare(given.section, history, image_embeds)
    context = history.context(given.section, image_embeds())
    history.append(run.denoise(replace(given, context=context), preparation))


def _initial_of(section: Section, inputs: SampleInputs, noise: Tensor) -> Tensor:
    """The part of the initial video that a section covers; its last frame is held where it is too short."""
    if inputs.initial is None:
        return torch.zeros_like(noise)
    frames = torch.arange(*section.latents).clamp(max=inputs.initial.shape[2] - 1)
    return inputs.initial[:, :, frames]
