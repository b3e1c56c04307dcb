"""What the sampler takes beside the model's forwards, and how long whole videos take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...models.plain import PlainModel
from ...samplers.conditioning import Prompt, TextConditioning
from ...samplers.context.plan import plan_sections, section_count
from ...samplers.denoising.drivers import PlainDriver
from ...samplers.denoising.sections import sample_sections
from ...samplers.settings import SampleInputs, SampleSettings
from ...samplers.timeline.assignment import assign_prompts
from ...tiny.bundle import load_tiny
from .sizes import WINDOW
from .timing import clock_for

STEPS = 12
VIDEO_SECONDS = (5.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class SectionTime:
    """The seconds of one section: all of it, and inside the model's forwards."""

    whole: float
    inside: float

    @property
    def overhead(self) -> float:
        """Seconds outside the model, as a share of those inside."""
        return (self.whole - self.inside) / self.inside


class ForwardClock:
    """Adds up the seconds of forwards that run through it, as a model's `around`."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device
        self._now = clock_for(device)

    def __call__(self, module: Any, forward: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        began = self._now()
        output = forward(*args, **kwargs)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds += self._now() - began
        return output


def section_time(device: torch.device, rounds: int) -> SectionTime:
    """The embedded model's section of STEPS steps: that of `rounds` with the least beside the model."""
    times = [_sampled(device) for _ in range(rounds + 1)]
    return min(times[1:], key=lambda taken: taken.whole - taken.inside)


def _sampled(device: torch.device) -> SectionTime:
    bundle, clock = load_tiny(), ForwardClock(device)
    bundle.dit.to(device).around = clock
    driver = PlainDriver(PlainModel(bundle.dit, bundle.latent_scale))
    config = bundle.config
    text = TextConditioning(
        torch.zeros(1, 8, config.text_embed_dim), torch.zeros(1, config.pooled_projection_dim)
    )
    sections = assign_prompts(plan_sections("f1", 1, WINDOW), [Prompt(start=0.0, text="", conditioning=text)])
    inputs = SampleInputs(start=torch.zeros(1, 16, 1, 8, 8), has_start=True, negative=text)
    settings = SampleSettings(window=WINDOW, steps=STEPS)
    now = clock_for(device)
    began = now()
    sample_sections(driver, sections, inputs, settings)
    return SectionTime(whole=now() - began, inside=clock.seconds)


def video_seconds(step: float, steps: int) -> dict[str, float]:
    """Seconds for videos of VIDEO_SECONDS, from the seconds of a step and the steps of a section."""
    return {f"{length:g} s": section_count(length, WINDOW) * steps * step for length in VIDEO_SECONDS}
