"""Techniques: their formulas, where they act, and that off is off."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from framepack_transitions.models.attention.blocks import block_set, check_blocks
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.sigmas import flow_sigmas, unshift_sigma
from framepack_transitions.samplers.techniques.attention.attention_scaling import (
    PUBLISHED_BLOCKS,
    AttentionScaling,
)
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Step, in_window
from framepack_transitions.samplers.techniques.chain import attention_at, guidance_at
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.techniques.registry import TECHNIQUES
from framepack_transitions.samplers.techniques.schedule.step_cache import StepCache
from framepack_transitions.samplers.techniques.wiring import techniques_of, with_technique
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry
from hypothesis import given, settings
from hypothesis import strategies as st

SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""))
SWITCHED = replace(SECTION, change=1.0, since_switch=0)
OFF = {
    "FramePackAdaptiveCFG": {"target": "both", "shape": "high_early", "base": 0.0, "beta": 0.0},
    "FramePackSemanticKVGate": {"mode": "bias", "gamma": 0.0},
    "FramePackAttentionScaling": {"scale": 1.0},
}


def defaults(node) -> dict:
    """The widget defaults of a technique node."""
    required = node.INPUT_TYPES()["required"]
    return {name: spec[1]["default"] for name, spec in required.items() if name != "model"}


def scale(technique, sigma, guidance=Guidance(), section=SWITCHED):
    return guidance_at([technique], section, Step(sigma, sigma), guidance)


class TestWindows:
    SHIFTS = (1.0, 2.0, 7.0, 12.0, 16.4)

    @pytest.mark.parametrize("steps", [12, 25, 50])
    def test_the_same_steps_are_inside_whatever_the_shift_and_touching_windows_share_them_out(self, steps):
        for shift in self.SHIFTS:
            at = [Step(s, unshift_sigma(s, shift)) for s in flow_sigmas(steps, shift).tolist()[:-1]]
            for edge in range(1, steps):
                t = 1 - edge / steps
                assert [in_window(step, 1.0, t) for step in at] == [i < edge for i in range(steps)]
                assert [in_window(step, t, 0.0) for step in at] == [i >= edge for i in range(steps)]
                if edge < steps - 1:
                    one = [in_window(step, t, t - 1 / steps) for step in at]
                    assert one == [i == edge for i in range(steps)]

    @pytest.mark.parametrize(("steps", "inside"), [(12, 6), (25, 12), (50, 23)])
    def test_the_usual_window_holds_what_lies_above_its_end(self, steps, inside):
        for shift in self.SHIFTS:
            at = [unshift_sigma(s, shift) for s in flow_sigmas(steps, shift).tolist()[:-1]]
            assert sum(in_window(Step(t, t), 1.0, 0.54) for t in at) == inside

    def test_a_window_down_to_zero_holds_everything(self):
        assert all(in_window(Step(t, t), 1.0, 0.0) for t in (1.0, 0.5, 1e-6, 0.0))


class TestAdaptiveCFG:
    founding = dict(target="distilled", shape="low_early", base=10.0, minimum=1.0, beta=0.7, t_end=0.0)

    @pytest.mark.parametrize(("sigma", "expected"), [(1, 3.7), (0.5, 6.85), (0, 10)])
    def test_founding_example(self, sigma, expected):
        assert scale(AdaptiveCFG(**self.founding), sigma).distilled == pytest.approx(expected)

    def test_second_founding_form_gives_three_at_the_same_point(self):
        assert scale(AdaptiveCFG(**{**self.founding, "shape": "low_early_t"}), 1).distilled == pytest.approx(
            3.0
        )

    def test_high_early_mirrors_the_founding_form(self):
        mirrored = AdaptiveCFG(**{**self.founding, "shape": "high_early"})
        assert scale(mirrored, 1).distilled == pytest.approx(10)
        assert scale(mirrored, 0).distilled == pytest.approx(3.7)

    def test_interval_raises_real_guidance_inside_its_window_only(self):
        technique = AdaptiveCFG(base=5.0, t_start=1.0, t_end=0.54)
        assert scale(technique, 0.8).cfg == 5 and scale(technique, 0.8).distilled == 10
        assert scale(technique, 0.5) == Guidance()

    def test_half_a_change_moves_half_way(self):
        half = replace(SWITCHED, change=0.5)
        assert scale(AdaptiveCFG(base=5.0), 0.8, section=half).cfg == pytest.approx(3.0)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"beta": 2.0}, "beta is 2"),
            ({"base": -1.0}, "base is -1"),
            ({"t_start": 0.3, "t_end": 0.6}, "the window runs"),
            ({"base": float("nan")}, "base is nan"),
            ({"target": "x"}, "target is 'x'"),
            ({"sections": 0}, "sections is 0"),
            ({"apply_to": "none"}, "apply_to is 'none'"),
        ],
    )
    def test_bad_values_are_refused(self, values, words):
        with pytest.raises(ValueError, match=words):
            AdaptiveCFG(**values)


class TestSemanticKVGate:
    def policy(self, section=SWITCHED, t=0.9, **values):
        return attention_at([SemanticKVGate(**values)], section, Step(t, t))

    def test_a_bias_scales_with_weight_and_change(self):
        policy = self.policy(replace(SWITCHED, change=0.5), gamma=4.0, last=0.5, history_2x=0.0)
        assert policy.describe()["bias"] == {"4x": -2.0, "start": -2.0, "last": -1.0}
        assert len(policy.biases) == 2, "segments of equal bias attend as one group"

    def test_a_cap_is_relaxed_by_a_small_change(self):
        assert float(self.policy(mode="cap", cap=0.1).cap) == pytest.approx(0.1)
        assert float(self.policy(replace(SWITCHED, change=0.5), mode="cap", cap=0.1).cap) == pytest.approx(
            0.1**0.5
        )

    def test_dropping_and_a_cap_of_zero_leave_the_past_out(self):
        assert (
            self.policy(mode="drop").dropped
            == self.policy(mode="cap", cap=0.0).dropped
            == {"4x", "2x", "start", "last"}
        )

    @pytest.mark.parametrize(("change", "bias"), [(0.31, -2.0), (0.3, None), (1.0, -2.0)])
    @pytest.mark.parametrize("tokens", ["all", "moving"])
    def test_the_founding_mode_is_on_or_off(self, change, bias, tokens):
        section = replace(SWITCHED, change=change)
        policy = self.policy(section, mode="founding", gamma=2.0, threshold=0.3, last=0.5, tokens=tokens)
        if bias is None:
            assert policy is None
        elif tokens == "all":
            assert policy.describe()["bias"] == {"4x": bias, "2x": bias, "start": bias, "last": bias / 2}
        else:
            assert {rule.describe()["bias"] for rule in policy.by_token} == {bias, bias / 2}

    def test_a_threshold_means_nothing_where_a_gate_acts_everywhere(self):
        for mode in ("bias", "founding"):
            policy = self.policy(SECTION, mode=mode, threshold=1.0, apply_to="all")
            assert policy.describe()["bias"]["start"] == -1

    @pytest.mark.parametrize(
        "values",
        [
            {"gamma": 0.0},
            {"mode": "founding", "gamma": 0.0},
            {"mode": "cap", "cap": 1.0},
            {"t_end": 0.95},
            {"threshold": 0.5, "section": replace(SWITCHED, change=0.3)},
            {"section": SECTION},
            {"section": replace(SWITCHED, since_switch=1)},
        ],
    )
    def test_off_is_no_policy_at_all(self, values):
        assert self.policy(**values) is None

    def test_more_sections_hold_it_longer(self):
        later = self.policy(replace(SWITCHED, since_switch=1), sections=2)
        assert later.describe() == self.policy(SWITCHED).describe()

    @pytest.mark.parametrize(
        "values",
        [
            {"gamma": -1.0},
            {"cap": 1.5},
            {"mode": "?"},
            {"start": -0.1},
            {"history_2x": 11.0},
            {"history_4x": -1.0},
            {"blocks": "x"},
            {"threshold": 2.0},
        ],
    )
    def test_bad_values_are_refused(self, values):
        with pytest.raises(ValueError, match=next(iter(values))):
            SemanticKVGate(**values)


FADING = [entry.example for entry in TECHNIQUES if not isinstance(entry.example, StepCache)]


@pytest.mark.parametrize("example", FADING, ids=lambda example: type(example).__name__)
def test_a_technique_fades_from_section_to_section_or_stops_at_once(example):
    """SWIFT's 0.85 for every three latent frames is 0.614 for a section of nine."""

    def amounts(change, **values):
        technique = replace(example, apply_to="transition", **values)
        after = (replace(SECTION, change=change, since_switch=n) for n in range(4))
        return [technique.amount(section) for section in after]

    assert amounts(0.8, sections=3, section_decay=0.85**3) == pytest.approx(
        [0.8, 0.4913, 0.30172, 0], abs=1e-6
    )
    assert amounts(0.3, sections=3) == [0.3, 0.3, 0.3, 0.0]
    assert amounts(0.3, sections=4, section_decay=0.0) == [0.3, 0.0, 0.0, 0.0]
    everywhere = replace(example, apply_to="all", section_decay=0.5)
    assert everywhere.amount(replace(SECTION, change=1.0, since_switch=2)) == 1.0
    with pytest.raises(ValueError, match="section_decay is 1.5; give a value from 0 to 1"):
        replace(example, section_decay=1.5)


@pytest.mark.parametrize("example", FADING, ids=lambda example: type(example).__name__)
def test_a_technique_of_later_prompts_goes_by_how_far_they_leave_the_start_frame(example):
    """Whether a switch was met does not matter: in layout original these sections are made first."""
    technique = replace(example, apply_to="later_prompts", sections=1)
    sections = [replace(SECTION, change=0.3, since_switch=since, departure=0.7) for since in (None, 0, 5)]
    assert [technique.amount(section) for section in sections] == [0.7, 0.7, 0.7]
    assert technique.amount(replace(SECTION, change=0.3, since_switch=0)) == 0.0


def test_a_gate_that_fades_weighs_less_in_the_second_section():
    gate = SemanticKVGate(gamma=2.0, sections=2, section_decay=0.25)
    policies = [attention_at([gate], replace(SWITCHED, since_switch=n), Step(1.0, 1.0)) for n in range(3)]
    assert [policy and policy.describe()["bias"]["last"] for policy in policies] == [-2.0, -0.5, None]


def test_gates_add_up_and_conflicts_are_said():
    step = Step(0.9, 0.9)
    both = attention_at([SemanticKVGate(gamma=2.0, last=0.0), SemanticKVGate(gamma=1.0)], SWITCHED, step)
    assert both.describe()["bias"] == {"4x": -3, "2x": -3, "start": -3, "last": -1}
    with pytest.raises(ValueError, match="two KV gates of mode cap"):
        attention_at([SemanticKVGate(mode="cap"), SemanticKVGate(mode="cap")], SWITCHED, step)
    with pytest.raises(ValueError, match="different blocks or gate_text_rows"):
        attention_at([SemanticKVGate(), SemanticKVGate(gate_text_rows=True)], SWITCHED, step)
    with pytest.raises(ValueError, match="two attention scalings"):
        attention_at([AttentionScaling(), AttentionScaling()], SWITCHED, step)


def test_technique_nodes_refuse_another_model_in_one_sentence():
    node = NODE_CLASS_MAPPINGS["FramePackAdaptiveCFG"]
    with pytest.raises(ValueError, match="model is a SimpleNamespace, not a FramePack model"):
        node().apply(SimpleNamespace(model=SimpleNamespace()), **defaults(node))


def test_published_blocks_exist_in_the_13b_model():
    for blocks in PUBLISHED_BLOCKS.values():
        check_blocks(block_set(blocks), FramePackConfig())


def test_gate_and_scaling_combine():
    policy = attention_at([SemanticKVGate(), AttentionScaling()], SWITCHED, Step(0.9, 0.9))
    assert policy.biases and float(policy.key_scale) == pytest.approx(1.35)


class TestInTheSampler:
    @pytest.fixture
    def run(self, upstream):
        inputs = upstream.load("sampler/f1_cfg").inputs
        model = PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)
        positive = [[inputs["context"], {"pooled_output": inputs["y"]}]]
        negative = [[inputs["negative_context"], {"pooled_output": inputs["negative_y"]}]]
        new = [[inputs["context"].flip(1), {"pooled_output": -inputs["y"]}]]
        switch = Timeline((TimelineEntry(start=0.4, prompt="new", conditioning=new),))

        def run(*techniques, timeline=switch):
            chained = model
            for name, values in techniques:
                (chained,) = NODE_CLASS_MAPPINGS[name]().apply(
                    chained, **{**defaults(NODE_CLASS_MAPPINGS[name]), **values}
                )
            with torch.inference_mode():
                latent, trace = FramePackTransitionsSampler().sample(
                    model=chained,
                    positive=positive,
                    negative=negative,
                    start_latent={"samples": inputs["start_latent"]},
                    layout="f1",
                    seconds=0.8,
                    latent_frames=0,
                    window=3,
                    steps=3,
                    distilled_guidance=10.0,
                    cfg=1.0,
                    guidance_rescale=0.0,
                    shift=0.0,
                    solver="unipc_bh1",
                    denoise=1.0,
                    upstream_rounding=False,
                    seed=5,
                    clip_vision_output=SimpleNamespace(last_hidden_state=inputs["image_embeds"]),
                    timeline=timeline,
                )
            return latent["samples"], trace

        return run

    @pytest.mark.parametrize("name", OFF)
    def test_off_is_bit_identical_to_the_plain_sampler(self, run, name):
        assert torch.equal(run((name, {**OFF[name], "apply_to": "all"}))[0], run()[0])

    def test_all_of_them_off_are_bit_identical_to_the_plain_sampler(self, run):
        assert torch.equal(
            run(*((name, {**off, "apply_to": "all"}) for name, off in OFF.items()))[0], run()[0]
        )

    def test_without_a_switch_transition_techniques_do_nothing(self, run):
        techniques = [(name, {}) for name in OFF]
        assert torch.equal(run(*techniques, timeline=None)[0], run(timeline=None)[0])

    @pytest.mark.parametrize("name", OFF)
    def test_on_changes_the_section_of_the_switch_and_leaves_earlier_ones_alone(self, run, name):
        treated, trace = run((name, {}))
        plain, _ = run()
        assert torch.equal(treated[:, :, :4], plain[:, :, :4])
        assert (treated[:, :, 4:] - plain[:, :, 4:]).abs().max() > 1e-3
        assert trace["techniques"][0]["name"] == name.removeprefix("FramePack")

    @pytest.mark.parametrize("image", [0.0, 1.0])
    def test_dropping_for_all_rows_and_steps_is_purging(self, run, image):
        """What nobody reads need not be there: gamma to infinity equals tokens that were never packed."""
        everywhere = {"apply_to": "all", "t_end": 0.0}
        gate = {"mode": "drop", "gate_text_rows": True, "image": image}
        removed = dict.fromkeys(("start", "last", "history_2x", "history_4x"), "remove")
        purge = {**removed, "image": "remove" if image else "keep"}
        dropped, _ = run(("FramePackSemanticKVGate", {**gate, **everywhere}))
        purged, _ = run(("FramePackContextPurge", {**purge, **everywhere}))
        torch.testing.assert_close(dropped, purged, atol=1e-5, rtol=1e-5)
        assert (dropped - run()[0]).abs().max() > 1e-2
        relayed, _ = run(("FramePackSemanticKVGate", {**gate, **everywhere, "gate_text_rows": False}))
        assert (relayed - purged).abs().max() > 1e-3

    def test_the_order_of_independent_techniques_does_not_matter(self, run):
        pair = [("FramePackAdaptiveCFG", {}), ("FramePackSemanticKVGate", {})]
        assert torch.equal(run(*pair)[0], run(*reversed(pair))[0])

    def test_the_trace_shows_guidance_gate_and_evaluations(self, run):
        _, trace = run(("FramePackAdaptiveCFG", {}), ("FramePackSemanticKVGate", {}))
        before, after = trace["sections"]
        assert [step["cfg"] for step in before["guidance"]] == [1, 1, 1] and before["attention"] == [None] * 3
        assert after["guidance"][0]["cfg"] == 5 and after["attention"][0]["bias"]["start"] == -1
        assert before["evaluations"] == 3 and after["evaluations"] == 5

    def test_blocks_that_the_model_lacks_are_refused_at_the_node(self, run):
        with pytest.raises(ValueError, match="single block 7"):
            run(("FramePackSemanticKVGate", {"blocks": "single:7"}))

    def test_technique_nodes_leave_the_model_they_were_given_alone(self, upstream):
        model = PlainModel(FramePackDiT(FramePackConfig(**upstream.CONFIG)), 1.0)
        node = NODE_CLASS_MAPPINGS["FramePackSemanticKVGate"]
        (changed,) = node().apply(model, **defaults(node))
        assert len(techniques_of(changed.model_options)) == 1 and techniques_of(model.model_options) == ()


numbers = st.floats(-2, 12) | st.just(float("nan"))


@settings(max_examples=300)
@given(
    target=st.sampled_from(["distilled", "real", "both"]),
    shape=st.sampled_from(["interval", "high_early", "low_early", "low_early_t"]),
    base=numbers,
    minimum=numbers,
    beta=numbers,
    t_start=numbers,
    t_end=numbers,
    sigma=st.floats(0, 1),
    change=st.floats(0, 1),
)
def test_any_setting_is_either_refused_or_gives_usable_scales(
    target, shape, base, minimum, beta, t_start, t_end, sigma, change
):
    try:
        technique = AdaptiveCFG(
            target=target, shape=shape, base=base, minimum=minimum, beta=beta, t_start=t_start, t_end=t_end
        )
    except ValueError:
        return
    guidance = scale(technique, sigma, section=replace(SWITCHED, change=change))
    assert guidance.cfg >= 0 and guidance.distilled >= 0


def test_only_what_a_technique_has_a_field_for_can_be_attached():
    gate = SemanticKVGate(mode="bias")
    assert (
        gate.attachment_names() == {"mask", "concept", "keep"}
        and AdaptiveCFG.attachment_names() == frozenset()
    )
    with pytest.raises(TypeError, match="SemanticKVGate has no field for an attached tokens"):
        with_technique(object(), gate, tokens=object())
