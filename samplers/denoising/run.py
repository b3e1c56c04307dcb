"""A run: what its sections share, and how one of them is prepared, denoised and recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from typing import Any

from torch import Tensor

from ..conditioning import (
    TextConditioning,
    blend_texts,
    encoded_text,
    joined_texts,
    text_conditioning,
    vision_tokens,
)
from ..context.history import Context, History
from ..context.plan import Section
from ..noise import preparation_noises, section_seed
from ..observer import SectionObserver, section_words
from ..settings import SampleSettings
from ..techniques.base import Schedule
from ..techniques.chain import context_of
from ..techniques.preparation import Preparation
from .caching.run import RunCache, active_step_cache
from .denoiser import SectionDenoiser
from .drivers import Driver, OnProgress, SectionTask
from .faults.finite import expect_finite_section
from .faults.out_of_memory import SmallerAttention
from .faults.words import Place, faults_told_with
from .rehearsal import planned_denoiser, rehearse
from .restarts import restart_steps
from .schedules import section_guidance, section_schedules, warn_of_negative_guidance
from .trace import new_trace, section_record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class SectionInput:
    """What one section is denoised from. Latents are [B, 16, T, H, W] in the model's scale.

    section: the section.
    context: what it sees of the video, before techniques edit it.
    noise: the noise it starts from.
    initial: latents that the first sigma mixes with the noise; zeros for none.
    seed: for stochastic solvers.
    may_be_cached: whether a step cache may act.
    """

    section: Section
    context: Context
    noise: Tensor
    initial: Tensor
    seed: int
    may_be_cached: bool = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """What all sections of a run share.

    driver: runs them on the model.
    negative: the negative prompt.
    settings: the run's scalars.
    solver: a name in SOLVERS or a SAMPLER of the host.
    shape: of the latents of a section with the full window, [B, 16, T, H, W].
    schedules: each section's schedule, by its index.
    steps_before: how many steps the sections before it take, by a section's index.
    report: takes the steps that are done, x0, and words about the section.
    trace: the record of the run, which grows by every section.
    attention: samples with smaller attention chunks where memory runs out.
    kept: the indices of the finished sections that the next run can take over.
    cache: the step cache, which may be none.
    """

    driver: Driver
    negative: TextConditioning
    settings: SampleSettings
    solver: Any
    shape: tuple[int, ...]
    schedules: Mapping[int, Schedule]
    steps_before: Mapping[int, int]
    report: OnProgress
    trace: dict[str, Any]
    attention: SmallerAttention
    cache: RunCache
    kept: set[int] = field(default_factory=set)

    def prepare(
        self, section: Section, history: History, image_embeds: Callable[[], Tensor | None]
    ) -> Preparation:
        """Let techniques act before a section; what they did is in the result."""
        preparation = Preparation(
            section=section,
            history=history,
            image_embeds=image_embeds,
            attachments=self.driver.attachments,
            draw_noise=partial(
                next, preparation_noises(self.shape_of(section), self.settings, section.index)
            ),
            to_vae=self.driver.to_vae,
            to_model=self.driver.to_model,
            vision_tokens=self._vision_tokens,
            solve=partial(self._solve_again, section),
        )
        for technique in self.driver.techniques:
            technique.before_section(section, preparation)
        return preparation

    def denoise(self, given: SectionInput, preparation: Preparation | None = None) -> Tensor:
        """The latents of a section; it is recorded with what techniques did before it."""
        began = time.perf_counter()
        schedule = self.schedules[given.section.index]
        latents, denoiser = self._solve(given, schedule, self._step_reporter(given.section))
        record = section_record(given.section, denoiser, schedule.sigmas, time.perf_counter() - began)
        if preparation is not None:
            record["evaluations"] += preparation.evaluations
            if before := preparation.describe():
                record["before"] = before
        self.trace["sections"].append(record)
        self.cache.learn(given.section, record)
        return latents

    def take_over(self, section: Section, latents: Tensor, measured: Mapping[str, Any]) -> None:
        """Record a section that was finished in an earlier run, with what was measured there; its steps count as done."""
        schedule = self.schedules[section.index]
        guidance = section_guidance(section, self.settings.guidance)
        planned = planned_denoiser(self.driver.techniques, section, schedule, guidance)
        record = section_record(section, planned, schedule.sigmas, 0.0)
        self.trace["sections"].append({**record, **measured, "reused": True})
        self.cache.learn(section, measured)
        self._step_reporter(section)(schedule.steps - 1, latents)

    def _step_reporter(self, section: Section) -> Callable[[int, Tensor], None]:
        """Takes the steps of a section and reports those of the run."""
        before, steps = self.steps_before[section.index], self.schedules[section.index].steps
        # Adaptive samplers of the host take more steps than the schedule has.
        words = section_words(section, self._number(section), len(self.schedules), self.driver.techniques)
        return lambda step, x0: self.report(before + min(step + 1, steps), x0, words)

    def _solve(
        self, given: SectionInput, schedule: Schedule, on_step: Callable[[int, Tensor], None]
    ) -> tuple[Tensor, SectionDenoiser]:
        """Run the solver over a schedule, from noise mixed with the initial latents by its first sigma.

        Raises ValueError, with section, step and cause, where a prediction is not finite, and
        torch.cuda.OutOfMemoryError where the section does not fit in memory with smaller attention chunks either.
        """
        place = Place(
            number=self._number(given.section),
            count=len(self.schedules),
            shape=self.shape_of(given.section),
            sigmas=schedule.sigmas,
            kept=self._number(given.section) - 1 == len(self.kept),
        )
        with faults_told_with(place):
            return self.attention(partial(self._attempt, given, schedule, on_step))

    def _attempt(
        self,
        given: SectionInput,
        schedule: Schedule,
        on_step: Callable[[int, Tensor], None],
        attention_rows: int | None,
    ) -> tuple[Tensor, SectionDenoiser]:
        """Run the solver, attending so many query rows at a time."""
        driver, section = self.driver, given.section
        context = context_of(driver.techniques, section, given.context, driver.attachments)
        denoiser = SectionDenoiser(
            section=section,
            context=context.to(driver.device),
            texts=section_texts(driver, section, self.negative),
            guidance=section_guidance(section, self.settings.guidance),
            shift=schedule.shift,
            techniques=driver.techniques,
            attachments=driver.attachments,
            measure=self.settings.measure_memory,
            attention_rows=attention_rows,
        )
        restarts = restart_steps(denoiser, schedule.sigmas)
        if given.may_be_cached:
            denoiser.cache = self.cache.section(section, schedule.sigmas, restarts)
        task = SectionTask(
            denoiser=denoiser,
            noise=given.noise,
            initial=given.initial,
            sigmas=schedule.sigmas,
            solver=self.solver,
            seed=given.seed,
            on_step=on_step,
            upstream_rounding=self.settings.upstream_rounding,
            restarts=restarts,
        )
        latents = driver.run(task)
        denoiser.finite.read()
        expect_finite_section(latents)
        return latents, denoiser

    def shape_of(self, section: Section) -> tuple[int, ...]:
        """The shape of a section's latents."""
        return (*self.shape[:2], section.window, *self.shape[3:])

    def _number(self, section: Section) -> int:
        """Which section of the run it is, from 1."""
        return list(self.schedules).index(section.index) + 1

    def _solve_again(
        self, section: Section, *, context: Context, noise: Tensor, initial: Tensor, strength: float
    ) -> tuple[Tensor, int]:
        """Denoise latents from sigma `strength`, outside the run's progress and trace; also the evaluations it took."""
        schedule = self.schedules[section.index]
        again = replace(schedule, sigmas=schedule.sigmas / schedule.sigmas[0] * strength)
        given = SectionInput(
            section=section,
            context=context,
            noise=noise,
            initial=initial,
            seed=section_seed(self.settings, section.index),
            may_be_cached=False,
        )
        latents, denoiser = self._solve(given, again, lambda step, x0: None)
        return latents, denoiser.evaluations

    def _vision_tokens(self, output: Any) -> Tensor | None:
        """Image tokens [B, N, D] of a CLIP_VISION_OUTPUT that a technique has made."""
        return vision_tokens(output, "clip_vision", self.driver.config, self.negative.states.shape[0])


def begin_run(
    *,
    driver: Driver,
    negative: TextConditioning,
    settings: SampleSettings,
    solver: Any,
    shape: tuple[int, ...],
    schedule: Schedule,
    sections: Sequence[Section],
    fixed: bool = False,
    observer: SectionObserver | None = None,
) -> Run:
    """A run over sections with its progress and an empty trace; `fixed` as in section_schedules.

    Raises ValueError where techniques cannot work together.
    """
    warn_of_negative_guidance(negative, sections, settings.guidance)
    schedules = section_schedules(driver.techniques, sections, schedule, fixed=fixed)
    rehearse(driver.techniques, sections, schedules, settings.guidance)
    *before, total = accumulate((own.steps for own in schedules.values()), initial=0)
    return Run(
        driver=driver,
        negative=negative,
        settings=settings,
        solver=solver,
        shape=shape,
        schedules=schedules,
        steps_before=dict(zip(schedules, before)),
        report=_reporter(driver, total, observer or SectionObserver()),
        trace=new_trace(settings, schedule, driver.techniques, solver),
        attention=SmallerAttention(driver.free_memory),
        cache=RunCache(active_step_cache(driver.techniques)),
    )


def _reporter(driver: Driver, total: int, observer: SectionObserver) -> OnProgress:
    """Takes the steps of a run for the driver's progress and for the observer."""
    report = driver.progress(total, pictures=observer.step_pictures)

    def report_both(done: int, x0: Tensor, words: Mapping[str, str]) -> None:
        report(done, x0, words)
        observer.step_done(done, total)

    return report_both


def section_texts(
    driver: Driver, section: Section, negative: TextConditioning
) -> dict[str, TextConditioning]:
    """The conditionings that a section's predictions may name."""
    positive = encoded_text(section.prompt)
    if section.blend_from is not None:
        positive = blend_texts(encoded_text(section.blend_from), positive, section.blend)
    texts = {"positive": positive, "negative": negative}
    if section.previous is not None:
        texts["previous"] = encoded_text(section.previous)
    for technique in driver.techniques:
        for key in technique.texts():
            texts[key] = text_conditioning(
                driver.attachments[key], type(technique).__name__, driver.config, positive.states.shape[0]
            )
        for concept in technique.concepts(section):
            if named := [texts[key] for key in concept.keys]:
                texts[concept.name] = joined_texts(*named, positive)
    return texts
