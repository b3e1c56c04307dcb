"""Context blur: what its modes let pass, where it acts, and that off is off."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import exp, pi

import pytest
import torch
from framepack_transitions.models.attention.blocks import block_set
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices, original_indices
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.attention_scaling import AttentionScaling
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Step
from framepack_transitions.samplers.techniques.chain import attention_at, context_at, context_of
from framepack_transitions.samplers.techniques.context.blur import MODES, ContextBlur
from framepack_transitions.samplers.techniques.context.low_pass import LowPassGuidance
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import gaussian_blur

WINDOW = 3
SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""))
SWITCHED = replace(SECTION, change=1.0, since_switch=0)
EARLY = Step(0.9, 0.9)
NOTHING = dict(start=0.0, last=0.0, history_2x=0.0, history_4x=0.0)
TENSORS = ("clean", "clean_2x", "clean_4x")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TIERS = ("clean", "clean_2x", "clean_4x")


def a_context(size: int = 12, batch: int = 1, indices=None) -> Context:
    shapes = ((batch, 16, frames, size, size) for frames in (2, 2, 16))
    tiers = [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    return Context(
        indices=indices or f1_indices(9),
        **dict(zip(TIERS, tiers)),
        image_embeds=normal(batch, 4, 12, seed=5),
    )


def constant(value: float, indices=None) -> Context:
    tiers = (torch.full((2, 16, frames, 12, 12), value) for frames in (2, 2, 16))
    return Context(indices=indices or f1_indices(9), **dict(zip(TIERS, tiers)))


def blurred(context: Context, section=SWITCHED, **values) -> Context:
    return context_of([ContextBlur(**values)], section, context, {})


@pytest.mark.parametrize("mode", MODES)
def test_constants_survive_every_mode_up_to_the_borders(mode):
    context = constant(1.7)
    context.clean_4x[:, :, :11] = 0
    result = blurred(context, mode=mode, time_last=1.0, time_2x=2.0, time_4x=3.0)
    for name in TENSORS:
        torch.testing.assert_close(getattr(result, name), getattr(context, name))


def test_history_that_does_not_exist_stays_zero_and_darkens_nothing():
    context = a_context()
    context.clean_4x[:, :, :13] = 0
    result = blurred(context, time_2x=1.0, time_4x=2.0)
    assert not result.clean_4x[:, :, :13].any() and result.clean_4x[:, :, 13:].all()
    context = constant(2.0)
    context.clean_4x[:, :, :13] = 0
    torch.testing.assert_close(blurred(context, time_4x=5.0).clean_4x, context.clean_4x)


def test_the_width_grows_with_the_distance_to_the_window():
    context = a_context(size=48)
    result = blurred(context, start=0.25, last=1.0, history_2x=0.8, history_4x=0.5, alpha=0.1)
    widths = {
        ("clean", 0): 0.25 * 3.0,
        ("clean", 1): 1.1,
        ("clean_2x", 0): 0.8 * 1.3,
        ("clean_2x", 1): 0.8 * 1.2,
        ("clean_4x", 0): 0.5 * 2.9,
        ("clean_4x", 15): 0.5 * 1.4,
    }
    for (name, index), sigma in widths.items():
        expected = gaussian_blur(getattr(context, name)[:, :, index], [31, 31], [sigma, sigma])
        torch.testing.assert_close(
            getattr(result, name)[:, :, index, 15:-15, 15:-15],
            expected[..., 15:-15, 15:-15],
            atol=1e-5,
            rtol=1e-5,
        )


def test_backwards_the_nearest_frames_are_the_first_ones():
    forward = a_context()
    flipped = {name: getattr(forward, name).flip(2) for name in ("clean_2x", "clean_4x")}
    backward = replace(forward, indices=original_indices(9, 1), **flipped)
    values = dict(start=0.0, time_last=1.0, time_2x=1.5, time_4x=2.0)
    results = blurred(forward, **values), blurred(backward, **values)
    torch.testing.assert_close(results[0].clean, results[1].clean)
    for name in flipped:
        torch.testing.assert_close(getattr(results[0], name), getattr(results[1], name).flip(2))


def test_smoothing_in_time_follows_the_history_across_tiers_and_never_reaches_the_start():
    context = constant(0.0)
    context.clean[:, :, 0] = 100.0
    context.clean[:, :, 1] = 1.0
    context.clean_2x[:] = 1.0
    context.clean_4x[:] = 4.0
    values = {**NOTHING, "alpha": 0.0}
    result = blurred(context, **values, time_last=1.0, time_2x=1.0)
    weights = [exp(-0.5 * k * k) for k in range(19)]
    expected = sum(weight * (1.0 if k < 3 else 4.0) for k, weight in enumerate(weights)) / sum(weights)
    torch.testing.assert_close(result.clean[:, :, 1], torch.full((2, 16, 12, 12), expected))
    assert torch.equal(result.clean[:, :, 0], context.clean[:, :, 0])
    assert torch.equal(result.clean_4x, context.clean_4x), "time_4x is 0"
    context.clean[:, :, 0] = -7.0
    other = blurred(context, **values, time_last=1.0, time_2x=1.0)
    assert torch.equal(other.clean[:, :, 1], result.clean[:, :, 1])


def response(cycles: float, sigma: float) -> float:
    """What a Gaussian leaves of a wave of so many cycles in 160."""
    return exp(-2 * (pi * sigma * cycles / 160) ** 2)


@pytest.mark.parametrize("cycles", [2, 12, 60])
@pytest.mark.parametrize("mode", MODES)
def test_modes_let_pass_what_their_names_say(mode, cycles):
    wave = torch.cos(2 * pi * cycles / 160 * torch.arange(160))
    context = Context(
        indices=f1_indices(9),
        clean=(3 + wave).expand(1, 16, 2, 160, 160).contiguous(),
        clean_2x=None,
        clean_4x=None,
    )
    result = blurred(context, mode=mode, start=2.0, alpha=0.0, band=4.0).clean[0, 0, 0, 80]
    expected = {
        "low_pass": response(cycles, 2),
        "founding": response(cycles, 2),
        "high_pass": 1 - response(cycles, 2),
        "band": response(cycles, 2) - response(cycles, 8),
    }[mode]
    torch.testing.assert_close(result[64:96], 3 + expected * wave[64:96], atol=1e-4, rtol=0)


def test_low_pass_and_high_pass_share_out_the_frame():
    context = a_context()
    low, high = (blurred(context, mode=mode).clean for mode in ("low_pass", "high_pass"))
    mean = context.clean.mean(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(low + high - mean, context.clean, atol=1e-5, rtol=1e-5)


def test_a_band_takes_away_what_two_low_passes_differ_in():
    context = a_context()
    fine = blurred(context, start=0.8, alpha=0.0).clean[:, :, :1]
    wide = blurred(context, start=2.4, alpha=0.0).clean[:, :, :1]
    mean = context.clean[:, :, :1].mean(dim=(-2, -1), keepdim=True)
    band = blurred(context, mode="band", start=0.8, alpha=0.0, band=3.0).clean[:, :, :1]
    torch.testing.assert_close(band, mean + fine - wide, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_strength_and_change_blend(mode):
    context = a_context()
    whole = blurred(context, mode=mode)
    half = blurred(context, replace(SWITCHED, change=0.5), mode=mode, strength=0.5)
    for name in TENSORS:
        expected = 0.75 * getattr(context, name) + 0.25 * getattr(whole, name)
        torch.testing.assert_close(getattr(half, name), expected, atol=1e-5, rtol=1e-5)


def test_a_part_of_width_zero_is_left_exactly_as_it_was():
    context = a_context()
    for mode in MODES:
        result = blurred(context, mode=mode, last=0.0, history_4x=0.0)
        assert torch.equal(result.clean[:, :, 1], context.clean[:, :, 1])
        assert torch.equal(result.clean_4x, context.clean_4x)
        assert not torch.equal(result.clean[:, :, 0], context.clean[:, :, 0])
        assert not torch.equal(result.clean_2x, context.clean_2x)
        assert result.image_embeds is context.image_embeds


@pytest.mark.parametrize("values", [
    {"strength": 0.0},
    {"time_2x": 0.0, **NOTHING},
    {"section": SECTION},
    {"section": replace(SWITCHED, since_switch=1)},
    {"section": replace(SWITCHED, change=0.0)},
])  # fmt: skip
def test_off_is_the_same_object(values):
    context, section = a_context(), values.get("section", SWITCHED)
    for mode in MODES:
        for end in (0.0, 0.5):
            technique = ContextBlur(
                mode=mode, t_end=end, **{k: v for k, v in values.items() if k != "section"}
            )
            assert context_of([technique], section, context, {}) is context
            assert context_at([technique], section, EARLY, context=context, attachments={}) is context
            assert attention_at([technique], section, EARLY) is None


def test_a_window_of_progress_moves_the_blur_from_the_section_to_its_steps():
    context = a_context()
    whole, early = ContextBlur(), ContextBlur(t_end=0.5)
    expected = context_of([whole], SWITCHED, context, {})
    assert context_at([whole], SWITCHED, EARLY, context=expected, attachments={}) is expected, (
        "once a section is enough"
    )
    assert context_of([early], SWITCHED, context, {}) is context
    assert torch.equal(
        context_at([early], SWITCHED, EARLY, context=context, attachments={}).clean, expected.clean
    )
    assert context_at([early], SWITCHED, Step(0.8, 0.4), context=context, attachments={}) is context


def test_blurs_in_a_row_add_their_variances():
    context = a_context(size=48)
    values = dict(alpha=0.0, last=0.0, history_2x=0.0, history_4x=0.0)
    chain = [ContextBlur(start=1.5, **values), ContextBlur(start=2.0, **values)]
    twice = context_of(chain, SWITCHED, context, {}).clean
    once = blurred(context, start=2.5, **values).clean
    inside = (..., slice(20, 28), slice(20, 28))
    torch.testing.assert_close(twice[inside], once[inside], atol=1e-4, rtol=1e-3)


def test_it_combines_with_low_pass_guidance():
    context = a_context()
    chain = [ContextBlur(t_end=0.5), LowPassGuidance(fade=0.0)]
    both = context_at(chain, SWITCHED, EARLY, context=context, attachments={})
    one_by_one = context_at(chain[1:], SWITCHED, EARLY, context=blurred(context), attachments={})
    assert torch.equal(both.clean, one_by_one.clean)


def test_founding_decay_is_the_exponential_of_the_frames_between():
    context = a_context()
    result = blurred(context, **NOTHING, mode="founding", decay=0.2)
    for index in range(16):
        expected = exp(-0.2 * (18 - index)) * context.clean_4x[:, :, index]
        torch.testing.assert_close(result.clean_4x[:, :, index], expected)
    assert torch.equal(result.clean[:, :, 1], context.clean[:, :, 1]), "the frame that touches the window"
    torch.testing.assert_close(result.clean[:, :, 0], exp(-0.2 * 19) * context.clean[:, :, 0])
    spared = blurred(context, **NOTHING, mode="founding", decay=0.2, decay_start=False)
    assert torch.equal(spared.clean, context.clean)


def test_decay_lowers_attention_by_the_mean_distance_of_each_part():
    technique = ContextBlur(decay=0.1)
    bias = attention_at([technique], SWITCHED, EARLY).describe()["bias"]
    assert bias == pytest.approx({"4x": -1.15, "2x": -0.25, "last": -0.1, "start": -2.0})
    half = attention_at([technique], replace(SWITCHED, change=0.5), EARLY).describe()["bias"]
    assert half == pytest.approx({name: value / 2 for name, value in bias.items()})
    spared = attention_at([ContextBlur(decay=0.1, decay_start=False)], SWITCHED, EARLY)
    assert "start" not in spared.describe()["bias"]
    backward = replace(SWITCHED, indices=original_indices(9, 0))
    bias = attention_at([technique], backward, EARLY).describe()["bias"]
    assert bias == pytest.approx({"4x": -1.15, "2x": -0.25, "last": -0.1, "start": -0.1})
    assert attention_at([ContextBlur(decay=0.1, t_end=0.5)], SWITCHED, Step(0.8, 0.4)) is None
    assert attention_at([ContextBlur(mode="founding", decay=0.1)], SWITCHED, EARLY) is None


def test_decay_adds_to_a_gate_and_follows_its_rows_and_blocks():
    gate = SemanticKVGate(gamma=2.0, image=1.0, blocks="single:0-3", gate_text_rows=True)
    policy = attention_at([gate, ContextBlur(decay=0.1), AttentionScaling()], SWITCHED, EARLY)
    expected = {"4x": -3.15, "2x": -2.25, "last": -2.1, "start": -4.0, "image": -2.0}
    assert policy.describe()["bias"] == pytest.approx(expected)
    assert policy.rows == {"noisy", "text", "image"} and len(policy.blocks) == 4
    for values in ({}, {"mode": "cap"}, {"mode": "drop"}, {"tokens": "still"}):
        pair = [replace(gate, **values), ContextBlur(decay=0.1)]
        after, before = (attention_at(order, SWITCHED, EARLY) for order in (pair, pair[::-1]))
        assert after.describe() == before.describe(), "the order does not matter"
        assert after.blocks == before.blocks == block_set("single:0-3")
    twice = attention_at([ContextBlur(decay=0.1), ContextBlur(decay=0.2)], SWITCHED, EARLY)
    assert twice.describe()["bias"]["start"] == pytest.approx(-6.0)


@pytest.mark.parametrize(("values", "words"), [
    ({"mode": "sharp"}, "mode is 'sharp'"),
    ({"strength": 1.5}, "strength is 1.5"),
    ({"start": -1.0}, "start is -1"),
    ({"time_4x": float("nan")}, "time_4x is nan"),
    ({"alpha": float("inf")}, "alpha is inf"),
    ({"band": 0.5}, "band is 0.5"),
    ({"decay": -0.1}, "decay is -0.1"),
    ({"t_start": 0.3, "t_end": 0.6}, "the window runs"),
])  # fmt: skip
def test_bad_values_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ContextBlur(**values)


widths = st.sampled_from([0.0, 0.05, 1.0, 64.0]) | st.floats(0, 64)


@settings(max_examples=80, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    strength=st.floats(0, 1),
    sigmas=st.tuples(*[widths] * 7),
    alpha=st.floats(0, 10),
    band=st.floats(1, 100),
    decay=st.floats(0, 10),
    change=st.floats(0, 1),
    empty=st.integers(0, 16),
    padding=st.integers(0, 3) | st.none(),
)
def test_any_setting_is_linear_and_keeps_shapes_and_finite_numbers(
    mode, strength, sigmas, alpha, band, decay, change, empty, padding
):
    names = ("start", "last", "history_2x", "history_4x", "time_last", "time_2x", "time_4x")
    context = a_context(
        size=5, batch=2, indices=f1_indices(9) if padding is None else original_indices(9, padding)
    )
    context.clean_4x[:, :, :empty] = 0
    values = dict(zip(names, sigmas))
    filtered = partial(
        blurred,
        section=replace(SWITCHED, change=change),
        mode=mode,
        strength=strength,
        alpha=alpha,
        band=band,
        decay=decay,
        **values,
    )
    result, of_twice = filtered(context), filtered(times(context, 2.0))
    for name in TENSORS:
        before, after = getattr(context, name), getattr(result, name)
        assert after.shape == before.shape and after.dtype == before.dtype and after.isfinite().all()
        # Twice of everything rounds alike, down to the smallest numbers.
        torch.testing.assert_close(getattr(of_twice, name), 2 * after, rtol=0, atol=1e-37)


def times(context: Context, factor: float) -> Context:
    return replace(context, **{name: factor * getattr(context, name) for name in TENSORS})


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


class TestInTheSampler:
    def sample(self, model, *techniques, switch=True, batch=1):
        for technique in techniques:
            model = with_technique(model, technique)
        text = lambda seed: TextConditioning(  # noqa: E731
            normal(1, 5, 24, seed=seed).repeat(batch, 1, 1), normal(1, 20, seed=seed + 1).repeat(batch, 1)
        )
        prompts = [
            Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
            Prompt(start=0.4, text="new", conditioning=text(3)),
        ]
        start = normal(1, 16, 1, 8, 8, seed=5).repeat(batch, 1, 1, 1, 1)
        inputs = SampleInputs(
            start=start,
            has_start=True,
            negative=text(7),
            image_embeds=normal(1, 4, 12, seed=9).repeat(batch, 1, 1),
        )
        with torch.inference_mode():
            latents, _ = sample_sections(
                PlainDriver(model),
                assign_prompts(plan_sections("f1", 2, WINDOW), prompts if switch else prompts[:1]),
                inputs,
                SampleSettings(window=WINDOW, steps=3, seeds=(7,) * batch),
            )
        return latents

    def test_off_and_no_switch_are_bit_identical(self, model):
        off = ContextBlur(strength=0.0, apply_to="all")
        assert torch.equal(self.sample(model, off), self.sample(model))
        on = ContextBlur(decay=0.5), ContextBlur(mode="founding", decay=0.5, t_end=0.5)
        assert torch.equal(self.sample(model, *on, switch=False), self.sample(model, switch=False))

    @pytest.mark.parametrize(
        "values", [{}, {"t_end": 0.5}, {"decay": 0.3, "strength": 0.0}, {"mode": "band"}]
    )
    def test_it_acts_after_the_switch_alone_and_on_each_video_of_a_batch_by_itself(self, model, values):
        plain, treated = self.sample(model), self.sample(model, ContextBlur(**values))
        assert torch.equal(treated[:, :, : 1 + WINDOW], plain[:, :, : 1 + WINDOW])
        assert (treated[:, :, 1 + WINDOW :] - plain[:, :, 1 + WINDOW :]).abs().max() > 1e-3
        both = self.sample(model, ContextBlur(**values), batch=2)
        torch.testing.assert_close(both[:1], treated, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(both[1:], treated, atol=1e-4, rtol=1e-4)
