"""Solvers in k-diffusion's form: (model, x, sigmas, extra_args, callback) -> x0, with model(x, sigma) -> x0.

The same functions run alone and as a KSAMPLER inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from math import factorial
from typing import Any

import torch
from torch import Tensor

Denoise = Callable[..., Tensor]
StepCallback = Callable[[dict[str, Any]], None]


def sample_euler(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    extra_args: dict[str, Any] | None = None,
    callback: StepCallback | None = None,
    disable: bool | None = None,
    restarts: Collection[int] = (),
) -> Tensor:
    """Euler's method on dx/dsigma = (x - x0) / sigma; it reuses no prediction, so it has nothing to restart."""
    extra_args = extra_args or {}
    batch = x.new_ones(x.shape[0])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * batch, **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        x = denoised + (x - denoised) * (sigmas[i + 1] / sigmas[i])
    return x


def sample_unipc(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    extra_args: dict[str, Any] | None = None,
    callback: StepCallback | None = None,
    disable: bool | None = None,
    restarts: Collection[int] = (),
    variant: str = "bh1",
) -> Tensor:
    """UniPC-p of data prediction (Zhao et al. 2023, arXiv 2302.04867, algorithms 5 to 8), p = min(3, steps - 1).

    Follows FramePack in what the paper leaves open: alpha = 1 and lambda = -log sigma, the order grows by one a step,
    the corrector reuses the evaluation of the next step, and the last x0 prediction is returned, so that a schedule of
    n steps costs n evaluations.

    The steps in `restarts` use no earlier prediction after theirs: x is left as it was predicted, since a correction would
    mix what was before with what is now, and the order grows from one again.
    """
    extra_args = extra_args or {}
    batch = x.new_ones(x.shape[0])
    order = min(3, len(sigmas) - 2)
    past: list[tuple[Tensor, Tensor]] = []
    denoised = x
    for i in range(len(sigmas) - 1):
        if past:
            step = UniPCStep([sigma for sigma, _ in past], [x0 for _, x0 in past], sigmas[i], variant)
            predicted = step.predict(x)
            denoised = model(predicted, sigmas[i] * batch, **extra_args)
            x = predicted if i in restarts else step.correct(x, denoised)
        else:
            denoised = model(x, sigmas[i] * batch, **extra_args)
        kept = [] if i in restarts else past
        past = [*kept, (sigmas[i], denoised)][-max(order, 1) :]
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
    return denoised


class UniPCStep:
    """One step of UniPC from the newest of `sigmas` to `sigma_next`, of order len(sigmas).

    With h the step in lambda, r_m the positions of earlier points in units of h and D_m = x0_m - x0_newest, the paper's
    B(h) is h (bh1) or e^h - 1 (bh2); for data prediction every h enters as -h.
    """

    def __init__(
        self, sigmas: list[Tensor], predictions: list[Tensor], sigma_next: Tensor, variant: str
    ) -> None:
        self.ratio = sigma_next / sigmas[-1]
        self.newest = predictions[-1]
        h = -torch.log(self.ratio)
        positions = [torch.log(sigmas[-1] / sigma) / h for sigma in reversed(sigmas[:-1])]
        self.differences = [(p - self.newest) / r for p, r in zip(reversed(predictions[:-1]), positions)]
        self.scale = -h if variant == "bh1" else torch.expm1(-h)
        self._solve_weights(torch.stack([*positions, torch.ones_like(h)]), -h)

    def _solve_weights(self, positions: Tensor, h: Tensor) -> None:
        """Weights rho of the corrector and the predictor, from sum_m rho_m r_m^(k-1) = b_k (equation 9)."""
        order = len(positions)
        matrix = torch.stack([positions**k for k in range(order)])
        target = torch.stack([_phi_term(k, h) / self.scale for k in range(1, order + 1)])
        half = torch.full_like(positions[:1], 0.5)
        self.corrector = half if order == 1 else torch.linalg.solve(matrix, target)
        if order <= 2:
            self.predictor = half[: order - 1]
        else:
            self.predictor = torch.linalg.solve(matrix[:-1, :-1], target[:-1])

    def predict(self, x: Tensor) -> Tensor:
        """x at sigma_next from earlier predictions alone (UniP)."""
        return self._base(x) - self.scale * self._weighted(self.predictor)

    def correct(self, x: Tensor, denoised: Tensor) -> Tensor:
        """x at sigma_next with the prediction made there (UniC)."""
        change = self._weighted(self.corrector[:-1]) + self.corrector[-1] * (denoised - self.newest)
        return self._base(x) - self.scale * change

    def _base(self, x: Tensor) -> Tensor:
        return self.ratio * x - (self.ratio - 1) * self.newest

    def _weighted(self, weights: Tensor) -> Tensor | float:
        total: Tensor | float = sum(w * d for w, d in zip(weights, self.differences))
        return total


def _phi_term(k: int, h: Tensor) -> Tensor:
    """k! h phi_{k+1}(h), with phi_1 = (e^h - 1) / h and phi_{j+1} = (phi_j - 1/j!) / h."""
    term = torch.expm1(h) / h - 1
    for j in range(2, k + 1):
        term = term / h - 1 / factorial(j)
    return factorial(k) * term


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "unipc_bh1": partial(sample_unipc, variant="bh1"),
    "unipc_bh2": partial(sample_unipc, variant="bh2"),
    "euler": sample_euler,
}
