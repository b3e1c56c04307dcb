"""Adaptive CFG beyond the founding formulas: the beta curve, zero-init, and what two of them make of each other."""

from __future__ import annotations

from dataclasses import replace
from math import lgamma

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.techniques import FramePackAdaptiveCFG
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.denoising.solvers import SOLVERS
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.sigmas import flow_sigmas
from framepack_transitions.samplers.techniques.base import Step
from framepack_transitions.samplers.techniques.chain import guidance_at
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

SWITCHED = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""), change=1.0, since_switch=0)


def guidance(technique, t, own=Guidance(), section=SWITCHED):
    return guidance_at([technique], section, Step(t, t), own)


class TestBetaCurve:
    def curve(self, **values):
        technique = AdaptiveCFG(shape="beta_curve", base=9.0, minimum=1.0, beta=1.0, t_end=0.0, **values)
        return np.array([guidance(technique, t).cfg for t in np.linspace(0, 1, 101)])

    @pytest.mark.parametrize(("peak", "concentration"), [(0.75, 8.0), (0.3, 20.0), (0.5, 2.0)])
    def test_it_is_a_beta_distribution_scaled_to_base_at_its_peak(self, peak, concentration):
        a, b = 1 + concentration * peak, 1 + concentration * (1 - peak)

        def density(t):
            normaliser = np.exp(lgamma(a + b) - lgamma(a) - lgamma(b))
            return normaliser * t ** (a - 1) * (1 - t) ** (b - 1)

        # By the trapezium rule: it is 0 at both ends.
        assert 1e-5 * density(np.linspace(0, 1, 100_001)).sum() == pytest.approx(1)
        expected = 1 + 8 * density(np.linspace(0, 1, 101)) / density(peak)
        np.testing.assert_allclose(self.curve(peak=peak, concentration=concentration), expected, atol=1e-9)

    def test_no_concentration_is_flat_and_the_ends_can_be_its_peak(self):
        assert np.all(self.curve(concentration=0.0) == 9)
        falling = self.curve(peak=1.0, concentration=2.0)
        np.testing.assert_allclose(falling, 1 + 8 * np.linspace(0, 1, 101) ** 2)
        assert self.curve(peak=0.0)[0] == 9

    @settings(max_examples=300)
    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1000), st.floats(0, 1), st.floats(0, 1))
    def test_it_never_leaves_minimum_and_base(self, t, peak, concentration, beta, change):
        technique = AdaptiveCFG(
            target="both",
            shape="beta_curve",
            base=9.0,
            minimum=2.0,
            beta=beta,
            t_end=0.0,
            peak=peak,
            concentration=concentration,
        )
        scales = guidance(technique, t, Guidance(distilled=2.0, cfg=9.0), replace(SWITCHED, change=change))
        assert 2 - 1e-9 <= scales.cfg <= 9 + 1e-9 and 2 - 1e-9 <= scales.distilled <= 9 + 1e-9


class TestZeroInit:
    @pytest.mark.parametrize("steps", [5, 25, 40, 1000])
    def test_it_holds_for_its_share_of_the_steps_and_no_step_more(self, steps):
        sigmas = flow_sigmas(steps, 7.0)[:-1].double()
        progress = sigmas / (7 - 6 * sigmas)
        technique = AdaptiveCFG(zero_init=0.2)
        zero = [guidance(technique, t).zero_velocity for t in progress.tolist()]
        assert sum(zero) == round(0.2 * steps) and not any(zero[round(0.2 * steps) :])

    def test_it_scales_with_the_change_and_takes_no_notice_of_the_window(self):
        technique = AdaptiveCFG(zero_init=0.4, t_start=0.5, t_end=0.3)
        assert guidance(technique, 0.7) == Guidance(zero_velocity=True)
        assert guidance(technique, 0.7, section=replace(SWITCHED, change=0.5)) == Guidance()
        assert guidance(technique, 0.7, section=replace(SWITCHED, since_switch=1)) == Guidance()


def test_the_rescale_is_in_proportion_to_the_change_and_the_projection_is_not():
    half = replace(SWITCHED, change=0.5)
    changed = guidance(AdaptiveCFG(rescale=0.8, cfg_zero=True), 0.8, section=half)
    assert changed.rescale == pytest.approx(0.4) and changed.zero_star
    assert guidance(AdaptiveCFG(rescale=0.8), 0.8, Guidance(rescale=0.6), half).rescale == 0.6
    assert guidance(AdaptiveCFG(rescale=0.8), 0.8).rescale == 0.8


def test_off_leaves_the_very_guidance():
    own = Guidance(distilled=7.0, cfg=2.0, rescale=0.3, zero_star=True)
    off = AdaptiveCFG(target="both", shape="high_early", base=0.0, beta=0.0)
    assert guidance(off, 0.8, own) is own
    assert guidance(AdaptiveCFG(t_end=0.5), 0.4, own) is own


def test_a_second_one_does_not_take_back_the_projection():
    first = guidance(AdaptiveCFG(cfg_zero=True), 0.8)
    assert guidance(AdaptiveCFG(base=0.0), 0.8, first).zero_star


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"zero_init": 0.6}, "zero_init is 0.6"),
        ({"peak": -0.1}, "peak is -0.1"),
        ({"concentration": float("inf")}, "concentration is inf"),
    ],
)
def test_bad_values_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        AdaptiveCFG(**values)


def test_the_node_shows_later_widgets_behind_all_others():
    inputs = FramePackAdaptiveCFG.INPUT_TYPES()
    assert list(inputs["required"])[-1] == "sections"
    assert list(inputs["optional"]) == ["zero_init", "peak", "concentration", "section_decay"]


class TestInTheSampler:
    @pytest.fixture
    def model(self, upstream):
        return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)

    def run(self, model, technique, solver, steps=10, sigmas=None, noise=None):
        def normal(*shape, seed):
            return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

        text = TextConditioning(normal(2, 5, 24, seed=1), normal(2, 20, seed=2))
        with torch.inference_mode():
            return sample_sections(
                PlainDriver(model if technique is None else with_technique(model, technique)),
                assign_prompts(
                    plan_sections("f1", 1, 3), [Prompt(start=0.0, text="", conditioning=text, change=0.0)]
                ),
                SampleInputs(
                    start=normal(2, 16, 1, 8, 8, seed=5),
                    has_start=True,
                    negative=text,
                    image_embeds=normal(2, 4, 12, seed=9),
                ),
                SampleSettings(window=3, steps=steps, seed=7),
                solver=solver,
                sigmas=sigmas,
            )

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_zero_init_is_a_start_of_the_same_noise_at_a_later_sigma(self, model, solver, monkeypatch):
        """Steps of zero velocity leave x where it is, so what follows is a run over the rest of the schedule from there."""
        technique = AdaptiveCFG(zero_init=0.2, base=1.0, apply_to="all")
        latents, trace = self.run(model, technique, solver)
        section = trace["sections"][0]
        assert section["evaluations"] == 8 and section["predictions"][:3] == [[], [], ["positive"]]

        rest = torch.tensor(section["sigmas"][2:])
        captured = []
        for name, solve in SOLVERS.items():

            def later(model, x, sigmas, solve=solve, **options):
                captured.append(x)
                return solve(model, x, rest, callback=options["callback"])

            monkeypatch.setitem(SOLVERS, name, later)
        expected, _ = self.run(model, None, solver)
        torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
        assert captured[0].std() == pytest.approx(1, abs=0.05), "the noise itself"

    def test_zero_init_of_all_steps_is_refused(self, model):
        with pytest.raises(ValueError, match="zero_init leaves no step"):
            self.run(model, AdaptiveCFG(zero_init=0.5, apply_to="all"), "euler", steps=1)
