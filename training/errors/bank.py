"""Measures the errors that a model makes on the examples of a dataset, for `recycle`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...samplers.conditioning import Prompt, TextConditioning
from ...samplers.context.plan import Section, plan_sections
from ...samplers.denoising.denoiser import SectionDenoiser
from ...samplers.denoising.drivers import Driver, SectionTask
from ...samplers.guidance import Guidance
from ..caches import latent_file
from ..checking.findings import reading_direction
from ..dataset import Dataset, Example, kind_cache
from ..musubi.latents import LatentCache, read_latents
from ..musubi.names import text_file
from ..musubi.texts import read_text
from .recycling import ErrorBank

# From near nothing up to where a prediction is no longer a picture with errors, but another picture.
SIGMAS = (0.02, 0.9)


def measure_errors(
    driver: Driver, dataset: Dataset, root: Path, count: int, *, seed: int, guidance: Guidance
) -> ErrorBank:
    """The errors of `count` predictions, each of an example at a random sigma: the predicted picture less the true one.

    One evaluation of the model each, without techniques. Every frame of a section counts as an error of its own. Examples of
    another size than the first that is drawn are left out. Raises ValueError for a dataset that has nothing to recycle, and
    examples that are not cached or not for this model.
    """
    originals = [example for example in dataset.examples if not example.copy_of]
    if dataset.one_frame or not originals:
        raise ValueError("the dataset has no sections of clips; add some with FramePack Training Example.")
    report = driver.progress(count, pictures=False)
    errors: list[Tensor] = []
    sigmas: list[float] = []
    for done, (example, sigma, noise_seed) in enumerate(_drawn(originals, count, seed), 1):
        cache = read_latents(latent_file(example, root), reading_direction(dataset))
        if errors and errors[0].shape[-2:] != cache.target.shape[-2:]:
            continue
        section = _section(example, dataset, root)
        x0 = _predict(driver, cache, section, sigma=sigma, seed=noise_seed, guidance=guidance)
        frames = (x0.cpu() - cache.target)[0].movedim(1, 0)
        errors.append(frames)
        sigmas += [sigma] * len(frames)
        report(done, x0, {})
    return ErrorBank(torch.cat(errors), torch.tensor(sigmas))


def _drawn(examples: list[Example], count: int, seed: int) -> Iterator[tuple[Example, float, int]]:
    """Examples in random order, all of them before any comes again, each with a sigma and a seed for its noise."""
    draw = random.Random(seed)
    waiting: list[Example] = []
    for _ in range(count):
        if not waiting:
            waiting = draw.sample(examples, len(examples))
        yield waiting.pop(), draw.uniform(*SIGMAS), draw.randrange(2**63)


def _section(example: Example, dataset: Dataset, root: Path) -> Section:
    """The section of an example under its encoded caption."""
    text = read_text(text_file(kind_cache(root, example.kind), example.name))
    conditioning = TextConditioning(states=text.states, pooled=text.pooled)
    planned = plan_sections(dataset.layout, example.sections, dataset.window)
    section = sorted(planned, key=lambda section: section.latents)[example.section]
    return section.with_prompt(Prompt(start=0.0, text=example.caption, conditioning=conditioning))


def _predict(
    driver: Driver, cache: LatentCache, section: Section, *, sigma: float, seed: int, guidance: Guidance
) -> Tensor:
    """x0 from the true latents with noise of one sigma."""
    noise = torch.randn(cache.target.shape, generator=torch.Generator().manual_seed(seed))
    text = section.prompt.conditioning
    denoiser = SectionDenoiser(
        section=section,
        context=cache.context.to(driver.device),
        texts={} if text is None else {"positive": text, "negative": text},
        guidance=guidance,
    )
    return driver.run(
        SectionTask(
            denoiser=denoiser,
            noise=noise,
            initial=cache.target,
            sigmas=torch.tensor([sigma, 0.0]),
            solver="euler",
            seed=seed % 2**32,
            on_step=lambda step, x0: None,
        )
    )
