"""Noise levels of rectified flow. sigma = 1 is pure noise, 0 is clean; t is the unshifted progress, also 1 to 0.

Source: lllyasviel/FramePack, `pipelines/k_diffusion_hunyuan.py` (flux time shift with a clamped mu).
"""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor

MAX_SHIFT = 7.0


def flux_mu(tokens: int) -> float:
    """mu for a window of `tokens` latent tokens: a line from (256, 0.5) to (4096, 1.15), clamped to ln 7."""
    slope = (1.15 - 0.5) / (4096 - 256)
    return min(0.5 + slope * (tokens - 256), log(MAX_SHIFT))


def flux_shift(tokens: int) -> float:
    """The shift e^mu that FramePack uses for a window of `tokens` latent tokens."""
    return exp(flux_mu(tokens))


def shift_sigma(t: Tensor, shift: float) -> Tensor:
    """sigma = s / (s + 1/t - 1), written so that t = 0 gives 0."""
    return shift / (shift + (1 / t - 1))


def unshift_sigma(sigma: float, shift: float) -> float:
    """Progress t of a sigma: the inverse of `shift_sigma`."""
    return sigma / (sigma + shift * (1 - sigma))


def flow_sigmas(steps: int, shift: float) -> Tensor:
    """Schedule [steps + 1] in float32 from 1 down to 0, uniform in t."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1 (usual: 25).")
    if not shift > 0:
        raise ValueError(f"shift is {shift}; give a value above 0, or 0 in the node for the automatic one.")
    return shift_sigma(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).float()


def check_sigmas(sigmas: Tensor) -> Tensor:
    """A schedule from outside, as float32 on the CPU. Raises ValueError when it cannot drive a section."""
    sigmas = sigmas.detach().to("cpu", torch.float32)
    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise ValueError(
            f"sigmas has {tuple(sigmas.shape)} values; a schedule needs at least two, from noise to 0."
        )
    if not (
        torch.isfinite(sigmas).all()
        and (sigmas[1:] < sigmas[:-1]).all()
        and sigmas[0] <= 1
        and sigmas[-1] == 0
    ):
        shown = ", ".join(f"{s:.3g}" for s in sigmas[:4].tolist())
        raise ValueError(
            f"sigmas ({shown}, ...) must fall strictly from at most 1 to exactly 0; every section is "
            "denoised completely, so split schedules do not apply here."
        )
    return sigmas
