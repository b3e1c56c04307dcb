"""Schedules: upstream's numbers and the properties every schedule must have."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from framepack_transitions.samplers.sigmas import (
    check_sigmas,
    flow_sigmas,
    flux_mu,
    flux_shift,
    shift_sigma,
    unshift_sigma,
)
from hypothesis import given
from hypothesis import strategies as st


def test_mu_runs_through_its_two_anchor_points_and_is_clamped():
    assert flux_mu(256) == pytest.approx(0.5)
    assert flux_mu(4096) == pytest.approx(1.15)
    assert flux_mu(14400) == pytest.approx(log(7))
    assert flux_shift(14400) == pytest.approx(7)


def test_default_schedule_spends_7_steps_above_095_and_11_above_09():
    sigmas = flow_sigmas(25, 7.0)
    assert (sigmas[:-1] > 0.95).sum() == 7
    assert (sigmas[:-1] > 0.9).sum() == 11


def test_shift_7_turns_half_progress_into_0875():
    assert shift_sigma(torch.tensor(0.5), 7.0).item() == pytest.approx(0.875)


@given(steps=st.integers(1, 200), shift=st.floats(0.05, 50))
def test_schedules_fall_strictly_from_one_to_zero(steps, shift):
    sigmas = flow_sigmas(steps, shift)
    assert len(sigmas) == steps + 1 and sigmas[0] == 1 and sigmas[-1] == 0
    assert (sigmas[1:] < sigmas[:-1]).all()


@given(t=st.floats(0, 1), shift=st.floats(0.5, 20))
def test_unshift_undoes_shift(t, shift):
    sigma = shift_sigma(torch.tensor(t, dtype=torch.float64), shift).item()
    assert unshift_sigma(sigma, shift) == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize(
    "sigmas", [[1.0], [1.0, 0.5], [0.5, 0.7, 0.0], [1.0, 1.0, 0.0], [2.0, 0.0], [1.0, float("nan"), 0.0]]
)
def test_schedules_that_cannot_finish_a_section_are_refused(sigmas):
    with pytest.raises(ValueError, match="sigmas"):
        check_sigmas(torch.tensor(sigmas))


@pytest.mark.parametrize(
    ("steps", "shift", "words"), [(0, 7.0, "steps is 0"), (5, 0.0, "shift is 0"), (5, -1.0, "shift is -1")]
)
def test_bad_schedule_settings_are_refused(steps, shift, words):
    with pytest.raises(ValueError, match=words):
        flow_sigmas(steps, shift)


def test_mu_is_upstreams_line():
    slope = 0.65 / 3840
    assert exp(flux_mu(1000)) == pytest.approx(exp(0.5 + slope * 744))
