"""Transition sigmas: schedules against their formulas, and that every setting gives a usable one."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.sigmas import flow_sigmas
from framepack_transitions.samplers.techniques.base import Schedule
from framepack_transitions.samplers.techniques.chain import schedule_at
from framepack_transitions.samplers.techniques.schedule.transition_sigmas import TransitionSigmas
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""))
SWITCHED = replace(SECTION, change=1.0, since_switch=0)
HALF = replace(SWITCHED, change=0.5)


def schedule_of(steps: int = 25, shift: float = 7.0, strength: float = 1.0) -> Schedule:
    return Schedule(flow_sigmas(steps, shift) * strength, shift)


def changed(section=SWITCHED, schedule=None, **values) -> Schedule:
    return schedule_at([TransitionSigmas(**values)], section, schedule or schedule_of())


def progress(schedule: Schedule) -> np.ndarray:
    """t of every sigma, by the formula solved for t."""
    sigma = schedule.sigmas.double().numpy()
    return sigma / (schedule.shift - (schedule.shift - 1) * sigma)


class TestFormulas:
    def test_a_shift_of_its_own_is_the_schedule_of_that_shift(self):
        schedule = changed(shift=16.0)
        assert torch.equal(schedule.sigmas, flow_sigmas(25, 16.0)) and schedule.shift == 16

    def test_the_founding_delta_is_added_to_mu_after_its_clamp(self):
        """At the 13B model's sizes mu is ln 7; 0.85 more is a shift of 16.4, while a mu of 2.0 would be 7.4."""
        schedule = changed(mode="founding", delta=0.85)
        assert schedule.shift == pytest.approx(exp(log(7) + 0.85)) == pytest.approx(16.38, abs=0.01)
        assert schedule.sigmas.tolist() == pytest.approx(
            [schedule.shift * t / (1 + (schedule.shift - 1) * t) for t in np.linspace(1, 0, 26)], abs=1e-6
        )
        assert changed(mode="founding", delta=2.0 - log(7)).shift == pytest.approx(exp(2.0))

    def test_half_a_change_moves_mu_half_way(self):
        assert log(changed(HALF, shift=28.0).shift) == pytest.approx((log(7) + log(28)) / 2)
        assert log(changed(HALF, mode="founding", delta=0.5).shift) == pytest.approx(log(7) + 0.25)

    def test_a_shift_below_one_gives_the_steps_to_the_end(self):
        t = torch.linspace(1, 0, 26, dtype=torch.float64)
        expected = (0.5 * t / (1 - 0.5 * t)).float()
        torch.testing.assert_close(changed(shift=0.5).sigmas, expected)

    def test_strength_scales_the_schedule(self):
        schedule = changed(shift=12.0, schedule=schedule_of(strength=0.6))
        torch.testing.assert_close(schedule.sigmas, flow_sigmas(25, 12.0) * 0.6)

    def test_early_steps_follow_a_density_that_falls_in_a_straight_line(self):
        """Density 1 + (r - 1) t: the share of steps above t is that of its integral, the solution of a quadratic."""
        ratio, steps = 3.0, 40
        t = progress(changed(shift=0.0, early=ratio, schedule=schedule_of(steps)))
        left = np.linspace(1, 0, steps + 1) * (1 + ratio) / 2
        exact = (-1 + np.sqrt(1 + 2 * (ratio - 1) * left)) / (ratio - 1)
        np.testing.assert_allclose(t, exact, atol=2e-4)
        assert (exact[0] - exact[1]) / (exact[-2] - exact[-1]) == pytest.approx(1 / ratio, rel=0.1)

    @pytest.mark.parametrize("boost", [1.0, 4.0])
    def test_a_boost_makes_steps_denser_around_its_points_alone(self, boost):
        t = progress(
            changed(mode="boost", boost=boost, points="0.7; 0.2", width=0.03, schedule=schedule_of(400))
        )
        gaps, middles = t[:-1] - t[1:], (t[:-1] + t[1:]) / 2
        far = gaps[np.abs(middles - 0.45).argmin()]
        for point in (0.7, 0.2):
            assert far / gaps[np.abs(middles - point).argmin()] == pytest.approx(1 + boost, rel=0.05)

    def test_a_boost_keeps_the_shift_and_no_two_sigmas_are_one(self):
        schedule = changed(mode="boost", points="1.0", boost=10.0, width=0.05)
        assert schedule.shift == 7 and (schedule.sigmas == 1).sum() == 1

    def test_extra_steps_are_added(self):
        assert torch.equal(changed(shift=0.0, extra_steps=10).sigmas, flow_sigmas(35, 7.0))
        assert len(changed(HALF, shift=0.0, extra_steps=10).sigmas) == 31


OFF = [
    {"shift": 0.0},
    {"shift": 7.0},
    {"mode": "founding", "delta": 0.0},
    {"mode": "boost", "boost": 0.0},
    {"mode": "boost", "points": ""},
]


@pytest.mark.parametrize("values", OFF)
def test_off_leaves_the_very_schedule(values):
    own = schedule_of()
    assert changed(schedule=own, **values) is own


def test_it_acts_after_switches_only_and_as_long_as_asked():
    own = schedule_of()
    assert changed(SECTION, own) is own
    later = replace(SWITCHED, since_switch=1)
    assert changed(later, own) is own and changed(later, own, sections=2) is not own
    assert changed(SECTION, own, apply_to="all") is not own


def test_two_on_a_section_are_refused_and_an_idle_one_does_no_harm():
    own = schedule_of()
    with pytest.raises(ValueError, match="two Transition Sigmas act on the same section"):
        schedule_at([TransitionSigmas(), TransitionSigmas(mode="founding")], SWITCHED, own)
    idle = TransitionSigmas(shift=0.0)
    assert torch.equal(schedule_at([idle, TransitionSigmas(), idle], SWITCHED, own).sigmas, changed().sigmas)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "up"}, "mode is 'up'"),
        ({"shift": -1.0}, "shift is -1"),
        ({"shift": float("nan")}, "shift is nan"),
        ({"shift": 1e-9}, "shift is 1e-09; give 0 .keeps the sampler's. or a value from 0.01 to 100"),
        ({"delta": 4.0}, "delta is 4"),
        ({"boost": 11.0}, "boost is 11"),
        ({"width": 0.0}, "width is 0"),
        ({"early": 0.0}, "early is 0"),
        ({"extra_steps": -1}, "extra_steps is -1"),
        ({"points": "0.9, late"}, "points is '0.9, late'"),
        ({"points": "1.5"}, "points is '1.5'"),
        ({"points": "nan"}, "points is 'nan'"),
        ({"sections": 0}, "sections is 0"),
    ],
)
def test_bad_values_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        TransitionSigmas(**values)


def test_a_shift_beyond_all_use_is_refused():
    with pytest.raises(ValueError, match="makes the shift 50 into 117; lower it"):
        changed(mode="founding", schedule=schedule_of(shift=50.0))
    with pytest.raises(ValueError, match="the sampler's shift is 200; lower it to at most 100"):
        changed(mode="boost", schedule=schedule_of(shift=200.0))


@settings(max_examples=3000)
@given(
    mode=st.sampled_from(["shift", "founding", "boost"]),
    steps=st.integers(1, 1000),
    own=st.floats(0.1, 30),
    strength=st.floats(0.01, 1),
    shift=st.floats(0, 100),
    delta=st.floats(-3, 1.2),
    boost=st.floats(0, 10),
    points=st.lists(st.floats(0, 1), max_size=4),
    width=st.floats(0.01, 1),
    early=st.floats(0.1, 10),
    extra=st.integers(0, 100),
    change=st.floats(0, 1),
)
def test_any_schedule_falls_strictly_in_float32_from_its_start_to_zero(
    mode, steps, own, strength, shift, delta, boost, points, width, early, extra, change
):
    given_schedule = Schedule(flow_sigmas(steps, own) * strength, own)
    technique = TransitionSigmas(
        mode=mode,
        shift=0.0 if shift < 0.01 else shift,
        delta=delta,
        boost=boost,
        points=", ".join(map(repr, points)),
        width=width,
        early=early,
        extra_steps=extra,
    )
    schedule = schedule_at([technique], replace(SWITCHED, change=change), given_schedule)
    sigmas = schedule.sigmas
    assert sigmas.dtype == torch.float32 and len(sigmas) == steps + round(change * extra) + 1
    assert sigmas[0] == given_schedule.sigmas[0] and sigmas[-1] == 0
    assert (sigmas[1:] < sigmas[:-1]).all()
    assert 0 < schedule.shift <= 100


class TestInTheSampler:
    @pytest.fixture
    def model(self, upstream):
        return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)

    def run(self, model, *techniques, switch=True, batch=1, sigmas=None):
        for technique in techniques:
            model = with_technique(model, technique)

        def normal(*shape, seed):
            return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

        def text(seed):
            return TextConditioning(normal(batch, 5, 24, seed=seed), normal(batch, 20, seed=seed + 1))

        prompts = [
            Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
            Prompt(start=0.4, text="new", conditioning=text(3)),
        ]
        with torch.inference_mode():
            return sample_sections(
                PlainDriver(model),
                assign_prompts(plan_sections("f1", 2, 3), prompts if switch else prompts[:1]),
                SampleInputs(
                    start=normal(batch, 16, 1, 8, 8, seed=5),
                    has_start=True,
                    negative=text(7),
                    image_embeds=normal(batch, 4, 12, seed=9),
                ),
                SampleSettings(window=3, steps=4, seed=7),
                sigmas=sigmas,
            )

    @pytest.mark.parametrize("values", OFF[:1] + OFF[2:])
    def test_off_is_bit_identical_to_the_plain_sampler(self, model, values):
        off = TransitionSigmas(**values, apply_to="all")
        assert torch.equal(self.run(model, off)[0], self.run(model)[0])

    def test_without_a_switch_it_does_nothing(self, model):
        on = TransitionSigmas()
        assert torch.equal(self.run(model, on, switch=False)[0], self.run(model, switch=False)[0])

    def test_its_sections_follow_it_and_progress_is_told_by_their_shift(self, model):
        latents, trace = self.run(model, TransitionSigmas(shift=16.0, extra_steps=2), batch=2)
        plain, _ = self.run(model, batch=2)
        assert latents.shape == plain.shape and torch.isfinite(latents).all()
        assert torch.equal(latents[:, :, :4], plain[:, :, :4]) and not torch.equal(latents, plain)
        first, second = trace["sections"]
        assert (first["evaluations"], second["evaluations"]) == (4, 6)
        assert second["sigmas"] == flow_sigmas(6, 16.0).tolist()
        assert second["t"] == pytest.approx(np.linspace(1, 0, 7), abs=1e-6)

    def test_connected_sigmas_win_and_a_warning_says_so(self, model, caplog):
        given_sigmas = torch.tensor([1.0, 0.7, 0.0])
        treated, _ = self.run(model, TransitionSigmas(), sigmas=given_sigmas)
        assert torch.equal(treated, self.run(model, sigmas=given_sigmas)[0])
        assert "SIGMAS input is connected" in caplog.text
