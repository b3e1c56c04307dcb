"""The denoising loop: sections in order, each from the history that the ones before it left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from .cuts.carried import (
    SUBJECT,
    SubjectSearch,
    carry_over,
    expect_carriers,
    look_for_subject,
    subject_search,
)
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
    expect_carriers(sections)
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
        search = subject_search(section, before, history, inputs=inputs, settings=settings)
        if search is None:
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
        key = kept.key(given, history, search)
        reused = kept.take_over(key, section, history)
        if not reused:
            found = {}
            if search is not None:
                found[SUBJECT.name] = _carry_over(run, given, search, history=history, observer=observer)
            _sample(run, given, history, image_embeds, found=found)
            kept.keep(key, history)
        observer.section_done(section, history.latest, reused=reused)
    kept.announce()
    video = history.video()
    frames = {"latent_frames": video.shape[2], "given_latent_frames": inputs.past_latent_frames}
    return video, {**run.trace, **frames}


def _carry_over(
    run: Run, given: SectionInput, search: SubjectSearch, *, history: History, observer: SectionObserver
) -> Mapping[str, Tensor]:
    """Look for what a new shot keeps of the one before it, cut to the new one with that, and return where it lies."""
    found = look_for_subject(run, given, search)
    seen = carry_over(history, search.context, found)
    if not seen.all():
        where = "nowhere" if not seen.any() else f"in {int(seen.sum())} of {len(seen)} videos alone"
        observer.notice(
            f"What the prompt at {given.section.prompt.start:g} s keeps of the shot before it was found {where}; the others "
            "are cut without it. Name what is seen there in other words."
        )
    return found


def _sample(
    run: Run,
    given: SectionInput,
    history: History,
    image_embeds: Callable[[], Tensor | None],
    *,
    found: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Let techniques prepare a section, denoise it, and add it to the history.

    `found` are maps by concept of what was looked for before, an evaluation each.
    """
    preparation = run.prepare(given.section, history, image_embeds)
    preparation.evaluations += len(found)
    context = replace(history.context(given.section, image_embeds()), concepts=found)
    history.append(run.denoise(replace(given, context=context), preparation))


def _initial_of(section: Section, inputs: SampleInputs, noise: Tensor) -> Tensor:
    """The part of the initial video that a section covers; its last frame is held where it is too short."""
    if inputs.initial is None:
        return torch.zeros_like(noise)
    frames = torch.arange(*section.latents).clamp(max=inputs.initial.shape[2] - 1)
    return inputs.initial[:, :, frames]
