"""Recycled errors: batches whose remembered frames hold errors that the model itself makes.

Source: Stable Video Infinity (Li et al. 2025, arXiv 2510.09212). Of its three places for errors this is the one that stock
musubi-tuner can train; the target stays clean. FramePack Error Bank and `dataset recycle` do the same with files.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...precision import autocast
from ..data.batches import Batch, BatchSource
from .trio import Trio

ERRORS = ("none", "recycled")
PREDICTIONS = 64
# From near nothing up to where a prediction is no longer a picture with errors, but another picture.
SIGMAS = (0.02, 0.9)
GUIDANCE = 10.0  # distilled, as in sampling: at another value the model makes other errors
RECYCLED = 0.5  # of the examples: the others stay clean
SHARE = 0.5  # of what a recycled example remembers


@torch.no_grad()
def measure_errors(trio: Trio, batches: BatchSource, seed: int, predictions: int = PREDICTIONS) -> Tensor:
    """Errors [N,16,h,w] of single latent frames: pictures that a Trio predicts less the true ones.

    One prediction an example, each at a sigma of its own. Every frame of a window counts as an error; as many batches
    are taken as hold the predictions that are asked for.
    """
    errors: list[Tensor] = []
    while sum(len(error) for error in errors) < predictions:
        step = len(errors)
        errors.append(_errors(trio, batches.of_step(step), seed * 10**8 + step))
    return torch.cat([error.movedim(2, 1).flatten(0, 1) for error in errors])


def _errors(trio: Trio, batch: Batch, seed: int) -> Tensor:
    """The errors [B,16,w,h,w'] of a batch."""
    device, count = batch.target.device, len(batch.target)
    generator = torch.Generator(device).manual_seed(seed)
    low, high = SIGMAS
    sigma = low + (high - low) * torch.rand(count, generator=generator, device=device)
    noise = torch.randn(batch.target.shape, generator=generator, device=device)
    amount = sigma.view(-1, 1, 1, 1, 1)
    x = (1 - amount) * batch.target + amount * noise
    with autocast(device):
        velocity: Tensor = trio(batch, x, sigma, torch.full_like(sigma, GUIDANCE))
    return x - amount * velocity.float() - batch.target


class RecycledBatches:
    """The batches of another source, with errors [N,16,h,w] in what some of their examples remember."""

    def __init__(self, batches: BatchSource, errors: Tensor, seed: int) -> None:
        self.batches, self.errors, self.seed = batches, errors, seed

    def of_step(self, step: int) -> Batch:
        """The batch of a step, the same one every time."""
        batch = self.batches.of_step(step)
        generator = torch.Generator(self.errors.device).manual_seed(self.seed * 10**8 + step)
        return with_errors(batch, self.errors, generator)


def with_errors(batch: Batch, errors: Tensor, generator: torch.Generator) -> Batch:
    """A batch in which every generated frame that a recycled example remembers has an error with a probability of SHARE.

    Start frames, copies of them, given pictures and zeros stay: at sampling these have no errors either.
    """
    device = errors.device
    recycled = torch.rand(len(batch.target), generator=generator, device=device) < RECYCLED
    past = dict(batch.past)
    for tier, generated in batch.generated.items():
        hit = torch.rand(generated.shape, generator=generator, device=device) < SHARE
        drawn = torch.randint(len(errors), generated.shape, generator=generator, device=device)
        spoiled = (hit & generated & recycled[:, None])[:, None, :, None, None]
        past[tier] = torch.where(spoiled, past[tier] + errors[drawn].movedim(2, 1), past[tier])
    return replace(batch, past=past)
