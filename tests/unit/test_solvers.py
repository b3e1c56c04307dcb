"""Solvers against flows whose end point is known."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.samplers.denoising.solvers import SOLVERS
from framepack_transitions.samplers.sigmas import flow_sigmas


def gaussian_flow(spread: float):
    """x0 prediction for data N(0, spread^2), and the exact end point of a path that starts in x at sigma 1.

    With x = (1 - s) a + s n the posterior mean is x (1 - s) spread^2 / var, var = (1 - s)^2 spread^2 + s^2, and the
    flow keeps x / sqrt(var) constant.
    """

    def model(x, sigma, **_):
        s = sigma.view(-1, 1)
        variance = (1 - s) ** 2 * spread**2 + s**2
        return x * (1 - s) * spread**2 / variance

    return model, lambda x: x * spread


def end_error(name: str, steps: int) -> float:
    model, exact = gaussian_flow(0.5)
    x = torch.linspace(-2, 2, 7, dtype=torch.float64).view(1, -1)
    result = SOLVERS[name](model, x, flow_sigmas(steps, 3.0).double())
    return (result - exact(x)).abs().max().item()


@pytest.mark.parametrize(("name", "bound"), [("euler", 0.05), ("unipc_bh1", 0.02), ("unipc_bh2", 0.02)])
def test_solvers_approach_the_exact_end_point(name, bound):
    errors = [end_error(name, steps) for steps in (10, 20, 40, 80)]
    assert errors[-1] < bound and errors[-1] < errors[0]


@pytest.mark.parametrize("name", SOLVERS)
def test_a_constant_prediction_is_returned_exactly(name):
    target = torch.tensor([[0.3, -1.7]])
    result = SOLVERS[name](lambda x, sigma, **_: target, torch.randn(1, 2), flow_sigmas(6, 7.0))
    assert torch.allclose(result, target, atol=1e-6)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 25])
def test_one_evaluation_a_step_and_one_callback_a_step(name, steps):
    calls, seen = [], []

    def model(x, sigma, **_):
        calls.append(sigma)
        return x * 0.5

    SOLVERS[name](
        model, torch.ones(2, 3), flow_sigmas(steps, 7.0), callback=lambda state: seen.append(state["i"])
    )
    assert len(calls) == steps
    assert seen == list(range(steps))
    assert all(sigma.shape == (2,) for sigma in calls)
