"""Solvers against flows whose end point is known."""

from __future__ import annotations

from math import perm

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


def path_of(name: str, model, sigmas: torch.Tensor) -> torch.Tensor:
    """Where the solver stands at each sigma but the last, from 1.0 at the first."""
    path = []
    start = torch.ones(1, 1, dtype=torch.float64)
    SOLVERS[name](model, start, sigmas, callback=lambda state: path.append(state["x"].item()))
    return torch.tensor(path, dtype=torch.float64)


@pytest.mark.parametrize("name", SOLVERS)
def test_towards_a_constant_prediction_the_path_is_a_straight_line(name):
    sigmas = flow_sigmas(8, 5.0).double()
    path = path_of(name, lambda x, sigma, **_: torch.full_like(x, -0.7), sigmas)
    torch.testing.assert_close(path, -0.7 + 1.7 * sigmas[:-1])


def test_euler_takes_every_prediction_for_constant_over_its_step():
    sigmas = torch.tensor([1.0, 0.5, 0.2, 0.0], dtype=torch.float64)
    path = path_of("euler", lambda x, sigma, **_: x * sigma, sigmas)
    # x0 = 1 at sigma 1; then x0 = x / 2 at sigma 0.5.
    torch.testing.assert_close(path, torch.tensor([1.0, 1.0, 0.5 + 0.5 * 0.4], dtype=torch.float64))


@pytest.mark.parametrize("name", ["unipc_bh1", "unipc_bh2"])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_at_its_third_order_a_prediction_that_is_a_cubic_of_lambda_is_integrated_exactly(name, degree):
    """d(x / sigma) / d lambda = x0 e^lambda with lambda = -log sigma, whose integral is known by parts."""
    sigmas = flow_sigmas(9, 5.0).double()
    places = -sigmas[:-1].log()
    path = path_of(name, lambda x, sigma, **_: x * 0 + 0.3 * (-sigma.log()) ** degree, sigmas)

    def antiderivative(place: torch.Tensor) -> torch.Tensor:
        terms = [(-1) ** k * perm(degree, k) * place ** (degree - k) for k in range(degree + 1)]
        return 0.3 * place.exp() * sum(terms)

    change = antiderivative(places[1:]) - antiderivative(places[:-1])
    expected = sigmas[1:-1] * (path[:-1] / sigmas[:-2] + change)
    # The corrector knows four points from the third step on.
    torch.testing.assert_close(path[3:], expected[2:], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(path[1:2], expected[:1], rtol=1e-9, atol=1e-9)


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
