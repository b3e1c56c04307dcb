"""The denoising loop: sections in order, each from the history that the ones before it left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..conditioning import TextConditioning, blend_texts, encoded_text, text_conditioning, vision_tokens
from ..context.anchors import begin_history, enter, image_embeds_of
from ..context.history import Context, History
from ..context.plan import Section
from ..settings import SampleInputs, SampleSettings
from ..sigmas import check_sigmas, flow_sigmas, flux_shift
from ..techniques.base import Schedule, Technique
from ..techniques.chain import context_of, schedule_at
from ..techniques.preparation import Preparation
from .denoiser import SectionDenoiser
from .drivers import Driver, SectionTask
from .rehearsal import rehearse
from .restarts import restart_steps
from .trace import new_trace, section_record

logger = logging.getLogger(__name__)

# Far from the seeds of sections, which follow each other.
BEFORE_SECTION = 1_000_003


def sample_sections(
    driver: Driver,
    sections: Sequence[Section],
    inputs: SampleInputs,
    settings: SampleSettings,
    *,
    solver: Any = "unipc_bh1",
    sigmas: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """Denoise every section; return the video's latents [B, 16, T, H, W] in the model's scale, and the trace.

    `sections` carry their prompts (timeline.assign_prompts). They may be the later part of a plan: then `inputs.earlier_sections`
    holds what the earlier part left, and the result is the one of a run of the whole plan. `solver` is a name in SOLVERS
    or a SAMPLER of the host; `sigmas` replaces the schedule of steps and shift. The trace is plain data (see docs/REPORT.md).
    """
    shape = (inputs.start.shape[0], driver.config.in_channels, settings.window, *inputs.start.shape[-2:])
    schedule, shift = run_schedule(shape, settings, sigmas, has_initial=inputs.initial is not None)
    noises = islice(section_noises(shape, settings), sections[0].index, None)
    history = begin_history(sections[0], inputs, settings)
    fixed = sigmas is not None
    run = begin_run(
        driver, inputs.negative, settings, solver, Schedule(schedule, shift), sections, fixed=fixed
    )

    for section, before, noise in zip(sections, [sections[0], *sections], noises):
        enter(history, section, before, inputs)
        image_embeds = partial(image_embeds_of, section, inputs, settings, history)
        extra = run.prepare(section, history, image_embeds, shape)
        context = history.context(section, image_embeds())
        initial = _initial_of(section, inputs, noise)
        history.append(run.denoise(section, context, noise, initial, section_seed(settings, section), extra))
    video = history.video()
    frames = {"latent_frames": video.shape[2], "given_latent_frames": inputs.past_latent_frames}
    return video, {**run.trace, **frames}


@dataclass(frozen=True, eq=False)
class Run:
    """What all sections of a run share; `report` takes the steps done and x0, `trace` grows by every section.

    `schedules` holds a section's schedule by its index.
    """

    driver: Driver
    negative: TextConditioning
    settings: SampleSettings
    solver: Any
    schedules: dict[int, Schedule]
    report: Callable[[int, Tensor], None]
    trace: dict[str, Any]

    def prepare(
        self,
        section: Section,
        history: History,
        image_embeds: Callable[[], Tensor | None],
        shape: tuple[int, ...],
    ) -> dict[str, Any]:
        """Let techniques act before a section, and give what they have to record; `shape` is a section's."""
        preparation = Preparation(
            section=section,
            history=history,
            image_embeds=image_embeds,
            attachments=self.driver.attachments,
            draw_noise=partial(next, _preparation_noises(shape, self.settings, section)),
            to_vae=self.driver.to_vae,
            to_model=self.driver.to_model,
            vision_tokens=self._vision_tokens,
            solve=self._solve_again,
        )
        for technique in self.driver.techniques:
            technique.before_section(section, preparation)
        return preparation.record

    def denoise(
        self,
        section: Section,
        context: Context,
        noise: Tensor,
        initial: Tensor,
        seed: int,
        extra: dict[str, Any] | None = None,
    ) -> Tensor:
        """Denoise one section and record it, with what techniques did before it.

        The latents are in the model's scale, `seed` is for stochastic solvers.
        """
        began = time.perf_counter()
        done = sum(len(record["sigmas"]) - 1 for record in self.trace["sections"])
        schedule = self.schedules[section.index]
        steps = len(schedule.sigmas) - 1
        context = context_of(self.driver.techniques, section, context, self.driver.attachments)
        # Adaptive samplers of the host take more steps than the schedule has.
        on_step = lambda step, x0: self.report(done + min(step + 1, steps), x0)  # noqa: E731
        latents, denoiser = self._solve(section, context, noise, initial, seed, schedule, on_step)
        record = section_record(section, denoiser, schedule.sigmas, time.perf_counter() - began)
        if extra:
            record["evaluations"] += extra.get("evaluations", 0)
            record["before"] = extra
        self.trace["sections"].append(record)
        return latents

    def _solve(
        self,
        section: Section,
        context: Context,
        noise: Tensor,
        initial: Tensor,
        seed: int,
        schedule: Schedule,
        on_step: Callable[[int, Tensor], None],
    ) -> tuple[Tensor, SectionDenoiser]:
        """Run the solver over a schedule, from noise mixed with `initial` by its first sigma."""
        techniques, driver = self.driver.techniques, self.driver
        denoiser = SectionDenoiser(
            section,
            context.to(driver.device),
            section_texts(driver, section, self.negative),
            self.settings.guidance,
            schedule.shift,
            techniques,
            driver.attachments,
            self.settings.measure_memory,
        )
        task = SectionTask(
            denoiser,
            noise,
            initial,
            schedule.sigmas,
            self.solver,
            seed,
            on_step,
            self.settings.upstream_rounding,
            restart_steps(denoiser, schedule.sigmas),
        )
        return driver.run(task), denoiser

    def _vision_tokens(self, output: Any) -> Tensor | None:
        """Image tokens [B, N, D] of a CLIP_VISION_OUTPUT that a technique has made."""
        return vision_tokens(output, "clip_vision", self.driver.config, self.negative.states.shape[0])

    def _solve_again(
        self, section: Section, context: Context, noise: Tensor, initial: Tensor, strength: float
    ) -> tuple[Tensor, int]:
        """Denoise what is there already from sigma `strength`, outside the run's progress and trace."""
        context = context_of(self.driver.techniques, section, context, self.driver.attachments)
        schedule = self.schedules[section.index]
        again = replace(schedule, sigmas=schedule.sigmas / schedule.sigmas[0] * strength)
        seed = section_seed(self.settings, section)
        latents, denoiser = self._solve(section, context, noise, initial, seed, again, lambda step, x0: None)
        return latents, denoiser.evaluations


def begin_run(
    driver: Driver,
    negative: TextConditioning,
    settings: SampleSettings,
    solver: Any,
    schedule: Schedule,
    sections: Sequence[Section],
    *,
    fixed: bool = False,
) -> Run:
    """A run over sections with its progress and an empty trace; `fixed` as in section_schedules."""
    wanted = section_schedules(driver.techniques, sections, schedule, fixed=fixed)
    rehearse(driver.techniques, sections, wanted, settings.guidance)
    total = sum(len(changed.sigmas) - 1 for changed in wanted.values())
    trace = new_trace(settings, schedule.shift, driver.techniques, solver, len(schedule.sigmas) - 1)
    return Run(driver, negative, settings, solver, wanted, driver.progress(total), trace)


def section_schedules(
    techniques: Sequence[Technique], sections: Sequence[Section], schedule: Schedule, *, fixed: bool
) -> dict[int, Schedule]:
    """The schedule of every section by its index; with `fixed` no technique changes it."""
    wanted = {section.index: schedule_at(techniques, section, schedule) for section in sections}
    if fixed and any(changed is not schedule for changed in wanted.values()):
        logger.warning("A SIGMAS input is connected: Transition Sigmas leaves the schedule as it is.")
        return dict.fromkeys(wanted, schedule)
    return wanted


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
    return texts


def section_seed(settings: SampleSettings, section: Section) -> int:
    """The seed of a section's stochastic solver."""
    return (settings.seed + section.index) % 2**64


def _preparation_noises(
    shape: tuple[int, ...], settings: SampleSettings, section: Section
) -> Iterator[Tensor]:
    """Noise for techniques before a section, of seeds of its own: the sections' noise stays what it is without them."""
    seeds = settings.seeds or (settings.seed,)
    own = tuple((seed + BEFORE_SECTION * (section.index + 1)) % 2**63 for seed in seeds)
    return section_noises(shape, replace(settings, seed=own[0], seeds=own if settings.seeds else ()))


def run_schedule(
    shape: tuple[int, ...], settings: SampleSettings, sigmas: Tensor | None, *, has_initial: bool = False
) -> tuple[Tensor, float]:
    """The schedule of every section, and the shift by which progress t is told.

    `sigmas` replaces steps, shift and denoise: its first value is the strength. Raises ValueError when strength and
    initial latent contradict each other.
    """
    frames, height, width = shape[-3:]
    shift = settings.shift or flux_shift(frames * height * width // 4)
    if sigmas is None:
        schedule = flow_sigmas(settings.steps, shift) * settings.denoise
    elif settings.denoise == 1:
        schedule = check_sigmas(sigmas)
    else:
        raise ValueError(
            f"denoise is {settings.denoise:g} beside a SIGMAS input, whose first value already is the strength; "
            "set denoise to 1 or disconnect sigmas."
        )
    strength = float(schedule[0])
    if has_initial and strength > 0.999:
        raise ValueError(
            "initial_latent is connected but the schedule starts from pure noise, which ignores it; lower "
            "denoise (for example to 0.6) or disconnect it."
        )
    if not has_initial and strength < 0.999:
        raise ValueError(
            f"the schedule starts at {strength:.3g} instead of 1 without an initial_latent to start from; connect "
            "one, or set denoise to 1 and give a schedule that starts at 1."
        )
    return schedule, shift


def section_noises(shape: tuple[int, ...], settings: SampleSettings) -> Iterator[Tensor]:
    """Noise float32 of `shape` for section after section, drawn on the CPU; see SampleSettings for `seeds`.

    Raises ValueError when the seeds are not as many as the videos.
    """
    seeds = settings.seeds or (settings.seed,)
    if settings.seeds and len(seeds) != shape[0]:
        raise ValueError(
            f"{len(seeds)} seeds were given for a batch of {shape[0]} videos; give one for each, or none."
        )
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    part = (shape[0] // len(seeds), *shape[1:])
    while True:
        yield torch.cat(
            [torch.randn(part, generator=generator, dtype=torch.float32) for generator in generators]
        )


def _initial_of(section: Section, inputs: SampleInputs, noise: Tensor) -> Tensor:
    """The part of the initial video that a section covers; its last frame is held where it is too short."""
    if inputs.initial is None:
        return torch.zeros_like(noise)
    frames = torch.arange(*section.latents).clamp(max=inputs.initial.shape[2] - 1)
    return inputs.initial[:, :, frames]
