"""Solvers begin anew where settings jump, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.restarts import restart_steps
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.denoising.solvers import SOLVERS
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.sigmas import flow_sigmas
from framepack_transitions.samplers.techniques.attention.attention_scaling import AttentionScaling
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.attention.rope_jitter import RopeJitter
from framepack_transitions.samplers.techniques.base import Prediction, Technique
from framepack_transitions.samplers.techniques.context.purge import ContextPurge
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.techniques.schedule.transition_sigmas import TransitionSigmas
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""))
SWITCHED = replace(SECTION, change=1.0, since_switch=0)
SHIFT = 7.0


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def context() -> Context:
    clean, clean_2x, clean_4x = (normal(1, 16, frames, 4, 4, seed=frames) for frames in (2, 2, 16))
    return Context(
        indices=SECTION.indices,
        clean=clean,
        clean_2x=clean_2x,
        clean_4x=clean_4x,
        image_embeds=normal(1, 4, 12, seed=9),
    )


def restarts(
    *techniques: Technique, steps: int = 20, section=SWITCHED, guidance=Guidance()
) -> tuple[int, ...]:
    denoiser = SectionDenoiser(
        section=section, context=context(), texts={}, guidance=guidance, shift=SHIFT, techniques=techniques
    )
    return restart_steps(denoiser, flow_sigmas(steps, SHIFT))


@dataclass(frozen=True)
class Asking(Technique):
    """Asks for a prediction in the first half."""

    def predictions(self, section, step):
        return (Prediction("previous"),) if step.t > 0.49 else ()


@dataclass(frozen=True)
class Emptied(Technique):
    """Scales the past: by `early` in the first half, or from step to step down to `early`."""

    early: float = 0.0
    fades: bool = False

    def context_at(self, section, step, context, attachments):
        if not self.fades and step.t < 0.49:
            return context
        factor = 1 - step.t * (1 - self.early) if self.fades else self.early
        return replace(
            context,
            clean=context.clean * factor,
            clean_2x=context.clean_2x * factor,
            clean_4x=context.clean_4x * factor,
            image_embeds=context.image_embeds * factor,
        )


@pytest.mark.parametrize(
    "technique",
    [
        AdaptiveCFG(t_end=0.49),
        AdaptiveCFG(target="distilled", base=20.0, t_end=0.49),
        SemanticKVGate(gamma=1.0, t_end=0.49),
        SemanticKVGate(mode="drop", t_end=0.49),
        SemanticKVGate(mode="cap", t_end=0.49),
        AttentionScaling(t_end=0.49),
        RopeJitter(sigma=0.1, t_end=0.49),
        Asking(),
        Emptied(),
    ],
)
def test_the_edge_of_a_window_is_a_jump(technique):
    """20 steps lie at t 1, 0.95, ...: number 11, at 0.45, is the first one outside."""
    assert restarts(technique) == (11,)


def test_a_window_in_the_middle_has_two_edges_and_several_techniques_share_one():
    middle = AdaptiveCFG(t_start=0.81, t_end=0.49)
    assert restarts(middle) == (4, 11)
    assert restarts(middle, SemanticKVGate(t_end=0.49), AttentionScaling(t_end=0.29)) == (4, 11, 15)


@pytest.mark.parametrize("steps", [10, 25, 50])
@pytest.mark.parametrize(
    "technique",
    [
        *(
            AdaptiveCFG(target=target, shape=shape, base=10.0, beta=1.0, t_end=0.0)
            for target in ("distilled", "real")
            for shape in ("low_early", "low_early_t", "high_early")
        ),
        TransitionSigmas(shift=16.0, early=2.0),
        Emptied(fades=True),
    ],
)
def test_curves_over_the_steps_are_none(technique, steps):
    assert restarts(technique, steps=steps) == ()


@pytest.mark.parametrize(
    "technique",
    [
        AdaptiveCFG(base=1.2, t_end=0.49),
        AdaptiveCFG(target="distilled", base=12.0, t_end=0.49),
        SemanticKVGate(gamma=0.2, t_end=0.49),
        AttentionScaling(scale=1.1, t_end=0.49),
        RopeJitter(sigma=0.05, t_end=0.49),
        AdaptiveCFG(target="distilled", base=10.0, rescale=0.9, cfg_zero=True, t_end=0.49),
        Emptied(early=0.9),
    ],
)
def test_small_changes_are_none(technique):
    assert restarts(technique) == ()


@pytest.mark.parametrize("values", [{"cfg_zero": True}, {"rescale": 0.7}])
def test_what_is_done_to_the_negative_prediction_jumps_where_there_is_one(values):
    """base 0 keeps the sampler's own scale, so that nothing else changes at the window's edge."""
    technique = AdaptiveCFG(base=0.0, t_end=0.49, **values)
    assert restarts(technique, guidance=Guidance(cfg=3.0)) == (11,)
    assert restarts(technique) == ()
    assert restarts(AdaptiveCFG(base=0.0, rescale=0.2, t_end=0.49), guidance=Guidance(cfg=3.0)) == ()


def test_nothing_jumps_where_techniques_do_not_act():
    techniques = (AdaptiveCFG(), SemanticKVGate(), AttentionScaling())
    assert restarts() == () and restarts(*techniques, section=SECTION) == ()


def test_the_edges_of_a_purge_by_attention_are_jumps_once_it_has_measured():
    purge = ContextPurge(select="most_attended", t_start=0.81, t_end=0.49)
    assert restarts(purge) == restarts(replace(purge, select="all")) == (4, 11)
    assert restarts(replace(purge, t_start=1.0)) == (1, 11)


def test_rest_ends_with_a_jump():
    assert restarts(AdaptiveCFG(base=1.0, zero_init=0.1)) == (2,)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_a_restart_follows_predictions_that_change_at_once_exactly(name, at):
    """x0 = a before step `at` and b from there on: x - x0 shrinks with sigma under each of them."""
    sigmas = flow_sigmas(10, SHIFT).double()
    a, b, x = (normal(1, 4, seed=seed).double() for seed in range(3))
    expected = [x]
    for i in range(1, 10):
        target = a if i <= at else b
        expected.append(target + (expected[-1] - target) * sigmas[i] / sigmas[i - 1])
    calls, seen = [], []

    def model(x, sigma, **_):
        calls.append(sigma)
        return a if len(calls) <= at else b

    result = SOLVERS[name](model, x, sigmas, callback=lambda state: seen.append(state["x"]), restarts=(at,))
    torch.testing.assert_close(torch.stack(seen), torch.stack(expected))
    torch.testing.assert_close(result, b)
    assert len(calls) == 10


def test_the_sampler_restarts_ours_and_only_where_something_jumps(upstream, monkeypatch):
    given = []

    def recorded(model, x, sigmas, callback, restarts):
        given.append(restarts)
        return SOLVERS["euler"](model, x, sigmas, callback=callback)

    monkeypatch.setitem(SOLVERS, "unipc_bh1", recorded)
    model = PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)
    model = with_technique(model, SemanticKVGate(t_end=0.6))
    texts = [TextConditioning(normal(1, 5, 24, seed=i), normal(1, 20, seed=i + 1)) for i in (1, 3)]
    prompts = [
        Prompt(start=0.0, text="old", conditioning=texts[0], change=0.0),
        Prompt(start=0.4, text="new", conditioning=texts[1]),
    ]
    with torch.inference_mode():
        sample_sections(
            PlainDriver(model),
            assign_prompts(plan_sections("f1", 2, 3), prompts),
            SampleInputs(
                start=normal(1, 16, 1, 8, 8, seed=5),
                has_start=True,
                negative=texts[0],
                image_embeds=normal(1, 4, 12, seed=9),
            ),
            SampleSettings(window=3, steps=4, seed=7),
        )
    assert given == [(), (2,)]
