"""Low-pass guidance: its filters, when they act and fade, and whose image tokens they replace."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.techniques.context.low_pass import FramePackLowPassGuidance
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices, original_indices
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.base import Step
from framepack_transitions.samplers.techniques.chain import context_at, context_of
from framepack_transitions.samplers.techniques.context.low_pass import FILTERS, LowPassGuidance
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.functional import gaussian_blur

WINDOW = 3
SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""))
SWITCHED = replace(SECTION, change=1.0, since_switch=0)
EARLY = Step(0.99, 0.99)
OFF = {"resize": {"factor": 1.0}, "gaussian": {"sigma": 0.0}, "noise": {"noise": 0.0}}
TENSORS = ("clean", "clean_2x", "clean_4x")
TOKENS = {"clean_tokens": "clean", "filtered_tokens": "filtered"}


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


def passed(context: Context, step: Step = EARLY, section=SWITCHED, attachments=None, **values) -> Context:
    return context_at(
        [LowPassGuidance(**values)], section, step, context=context, attachments=attachments or {}
    )


class ToyVision:
    """A CLIP_VISION whose tokens are the image's rows; it writes down what it was shown."""

    def __init__(self, tokens: int = 4, width: int = 12) -> None:
        self.tokens, self.width, self.calls = tokens, width, []

    def encode_image(self, image, crop=True):
        self.calls.append((image, crop))
        pooled = torch.nn.functional.interpolate(image.movedim(-1, 1), (self.tokens, self.width // 3))
        return SimpleNamespace(last_hidden_state=pooled.movedim(1, -1).flatten(2))


def pillow(frame: torch.Tensor, factor: float) -> torch.Tensor:
    size = frame.shape[::-1]
    small = [max(1, round(side * factor)) for side in size]
    image = Image.fromarray(frame.numpy())
    for target in (small, size):
        image = image.resize(target, Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image))


@pytest.mark.parametrize("factor", [0.25, 0.4, 0.625])
def test_start_and_last_are_resized_as_pillow_does_and_the_history_is_left_alone(factor):
    context = a_context(size=32)
    result = passed(context, factor=factor)
    for frame in (0, 1):
        expected = pillow(context.clean[0, 3, frame], factor)
        torch.testing.assert_close(result.clean[0, 3, frame], expected, atol=1e-5, rtol=1e-5)
    assert result.clean_2x is context.clean_2x and result.clean_4x is context.clean_4x
    assert result.image_embeds is context.image_embeds


def test_the_gaussian_is_that_of_torchvision():
    context = a_context(size=32)
    expected = gaussian_blur(context.clean[0, :, 0], [25, 25], [1.2, 1.2])
    result = passed(context, filter="gaussian", sigma=1.2).clean[0, :, 0]
    torch.testing.assert_close(result[:, 12:-12, 12:-12], expected[:, 12:-12, 12:-12], atol=1e-5, rtol=1e-5)


def test_parts_have_weights_of_their_own():
    context = a_context(size=32)
    result = passed(context, start=0.25, last=0.0, history=0.5)
    expected = 0.75 * context.clean[0, 0, 0] + 0.25 * pillow(context.clean[0, 0, 0], 0.4)
    torch.testing.assert_close(result.clean[0, 0, 0], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(result.clean[:, :, 1], context.clean[:, :, 1])
    expected = 0.5 * context.clean_4x[0, 0, 7] + 0.5 * pillow(context.clean_4x[0, 0, 7], 0.4)
    torch.testing.assert_close(result.clean_4x[0, 0, 7], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FILTERS)
def test_constants_and_missing_history_survive(name):
    tiers = (torch.full((2, 16, frames, 12, 12), -1.3) for frames in (2, 2, 16))
    context = Context(indices=f1_indices(9), **dict(zip(TIERS, tiers)))
    context.clean_4x[:, :, :9] = 0
    result = passed(context, filter=name, history=1.0)
    for tensor in TENSORS:
        torch.testing.assert_close(getattr(result, tensor), getattr(context, tensor))


@pytest.mark.parametrize(("t", "weight"), [
    (1.0, 1.0), (0.8, 1.0), (0.7, 1.0), (0.65, 0.75), (0.55, 0.25), (0.5, 0.0), (0.49, 0.0),
])  # fmt: skip
def test_it_fades_in_the_last_part_of_its_window(t, weight):
    technique = LowPassGuidance(t_end=0.5, fade=0.4)
    assert technique.weight(SWITCHED, Step(t, t)) == pytest.approx(weight)
    half = replace(SWITCHED, change=0.5)
    assert technique.weight(half, Step(t, t)) == pytest.approx(weight / 2)


def test_without_fading_it_switches_at_the_end_as_published():
    """A t_end of 0.8 is the first 20 % of 50 steps: ten of them."""
    technique = LowPassGuidance(t_end=0.8, fade=0.0)
    weights = [technique.weight(SWITCHED, Step(1 - i / 50, 1 - i / 50)) for i in range(50)]
    assert weights == [1] * 10 + [0] * 40


def test_fading_blends_filtered_and_clean():
    context = a_context()
    whole, step = passed(context, t_end=0.5, fade=1.0, step=Step(1.0, 1.0)), Step(0.625, 0.625)
    blended = passed(context, t_end=0.5, fade=1.0, step=step)
    expected = 0.75 * context.clean + 0.25 * whole.clean
    torch.testing.assert_close(blended.clean, expected, atol=1e-5, rtol=1e-5)


def test_noise_is_annealed_repeatable_and_new_at_every_step_and_section():
    context = a_context(size=48, batch=2)
    values = dict(filter="noise", noise=0.8, t_end=0.5, fade=1.0)
    early, late = (passed(context, step=Step(t, t), **values).clean for t in (1.0, 0.6))
    for result, level in ((early, 0.8), (late, 0.8 * 0.2)):
        pair = np.corrcoef(context.clean.flatten().numpy(), result.flatten().numpy())
        assert pair[0, 1] == pytest.approx((1 - level**2) ** 0.5, abs=0.02)
        assert float(result.std() / context.clean.std()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(early, passed(context, step=Step(1.0, 1.0), **values).clean)
    added = early - (1 - 0.8**2) ** 0.5 * context.clean
    other = passed(context, step=Step(1.0, 1.0), section=replace(SWITCHED, index=1), **values).clean
    near = passed(context, step=Step(0.99, 0.99), **values).clean
    for result in (other, near):
        again = result - (1 - 0.8**2) ** 0.5 * context.clean
        assert abs(np.corrcoef(added.flatten().numpy(), again.flatten().numpy())[0, 1]) < 0.05


def test_a_video_of_a_batch_gets_what_it_gets_alone():
    context = a_context(batch=2)
    alone = replace(
        context, clean=context.clean[1:], clean_2x=context.clean_2x[1:], clean_4x=context.clean_4x[1:]
    )
    for name in FILTERS:
        together = passed(context, filter=name, history=0.5).clean_4x[1:]
        torch.testing.assert_close(together, passed(alone, filter=name, history=0.5).clean_4x)


@pytest.mark.parametrize("name", FILTERS)
def test_off_is_the_same_object(name):
    context = a_context()
    assert passed(context, filter=name, **OFF[name]) is context
    assert passed(context, filter=name, start=0.0, last=0.0, history=0.0, vision=0.0) is context
    assert passed(context, filter=name, step=Step(0.5, 0.5)) is context
    assert passed(context, filter=name, section=SECTION) is context
    assert passed(context, filter=name, section=replace(SWITCHED, since_switch=1)) is context
    assert context_of([LowPassGuidance(filter=name)], SWITCHED, context, {}) is context


class TestImageTokens:
    clean, filtered = normal(1, 4, 12, seed=20), normal(1, 4, 12, seed=21)

    def tokens(self, own: torch.Tensor, **values) -> torch.Tensor:
        context = replace(a_context(batch=own.shape[0]), image_embeds=own)
        attachments = {"clean": self.clean, "filtered": self.filtered}
        return passed(context, attachments=attachments, **TOKENS, **values).image_embeds

    def test_the_filtered_images_stand_in_and_fade_with_the_window(self):
        torch.testing.assert_close(self.tokens(self.clean), self.filtered)
        half = self.tokens(self.clean, vision=0.5)
        torch.testing.assert_close(half, (self.clean + self.filtered) / 2)
        late = self.tokens(self.clean, t_end=0.5, fade=1.0, step=Step(0.625, 0.625))
        torch.testing.assert_close(late, 0.75 * self.clean + 0.25 * self.filtered)

    def test_tokens_that_the_sampler_weakened_stay_as_weak(self):
        torch.testing.assert_close(self.tokens(0.3 * self.clean), 0.3 * self.filtered)

    def test_tokens_of_another_image_are_left_alone_video_by_video_and_it_is_said(self, caplog):
        other = normal(1, 4, 12, seed=22)
        both = torch.cat([self.clean, other])
        result = self.tokens(both)
        torch.testing.assert_close(result[:1], self.filtered)
        assert torch.equal(result[1:], other)
        attachments = {"clean": self.clean, "filtered": self.filtered}
        context = replace(a_context(batch=2), image_embeds=both)
        assert context_of([LowPassGuidance(**TOKENS)], SWITCHED, context, attachments) is context
        assert "another image" in caplog.text

    def test_off_leaves_the_tokens_alone(self):
        assert self.tokens(self.clean, vision=0.0) is self.clean
        assert self.tokens(self.clean, factor=1.0) is self.clean

    def test_latents_can_be_spared_while_tokens_are_filtered(self):
        context = replace(a_context(), image_embeds=self.clean)
        attachments = {"clean": self.clean, "filtered": self.filtered}
        result = passed(context, attachments=attachments, **TOKENS, start=0.0, last=0.0)
        assert result.clean is context.clean
        torch.testing.assert_close(result.image_embeds, self.filtered)

    def test_tokens_of_another_vision_model_are_refused(self):
        with pytest.raises(
            ValueError, match=r"made image tokens \[1, 4, 12\], the sampler's are \[1, 9, 12\]"
        ):
            self.tokens(normal(1, 9, 12, seed=1))

    def test_an_image_loses_what_its_latents_lose(self):
        """A latent covers 8 pixels, so the image goes through an eighth of the factor and 8 times the width."""
        image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))
        resized = LowPassGuidance(factor=0.5).filter_images(image)
        expected = pillow(image[0, ..., 1], 0.5 / 8)
        torch.testing.assert_close(resized[0, ..., 1], expected, atol=1e-5, rtol=1e-5)
        wide = torch.rand(1, 160, 160, 3, generator=torch.Generator().manual_seed(2))
        blurred = LowPassGuidance(filter="gaussian", sigma=1.0).filter_images(wide)
        expected = gaussian_blur(wide[0].movedim(-1, 0), [97, 97], [8.0, 8.0]).movedim(0, -1)
        torch.testing.assert_close(blurred[0, 60:-60, 60:-60], expected[60:-60, 60:-60], atol=1e-5, rtol=1e-5)
        noised = LowPassGuidance(filter="noise").filter_images(image)
        assert noised.shape == image.shape and 0 <= noised.min() and noised.max() <= 1
        assert LowPassGuidance(factor=1.0).filter_images(image) is image

    @pytest.mark.parametrize("name", FILTERS)
    def test_black_and_white_images_stay_what_they_are(self, name):
        for value in (0.0, 1.0):
            image = torch.full((1, 32, 32, 3), value)
            torch.testing.assert_close(LowPassGuidance(filter=name).filter_images(image), image)


def defaults() -> dict:
    required = FramePackLowPassGuidance.INPUT_TYPES()["required"]
    return {name: spec[1]["default"] for name, spec in required.items() if name != "model"}


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


class TestTheNode:
    def test_it_attaches_tokens_of_the_image_clean_and_filtered(self, model):
        vision, image = ToyVision(), torch.rand(1, 32, 32, 4)
        (changed,) = FramePackLowPassGuidance().apply(model, image=image, clip_vision=vision, **defaults())
        assert [crop for _, crop in vision.calls] == [False, False], "FramePack wants the whole image"
        assert all(shown.shape[-1] == 3 for shown, _ in vision.calls)
        technique = changed.model_options["transformer_options"]["framepack_techniques"][0]
        attachments = changed.attachments
        expected = ToyVision().encode_image(image[..., :3]).last_hidden_state
        assert torch.equal(attachments[technique.clean_tokens], expected)
        assert not torch.equal(attachments[technique.filtered_tokens], expected)
        assert not model.attachments

    def test_an_identity_needs_no_tokens(self, model):
        vision = ToyVision()
        values = {**defaults(), "factor": 1.0}
        (changed,) = FramePackLowPassGuidance().apply(
            model, image=torch.rand(1, 32, 32, 3), clip_vision=vision, **values
        )
        assert not vision.calls and not changed.attachments

    def test_half_of_the_pair_is_refused(self, model):
        with pytest.raises(ValueError, match="image is connected but clip_vision is not"):
            FramePackLowPassGuidance().apply(model, image=torch.rand(1, 32, 32, 3), **defaults())
        with pytest.raises(ValueError, match="clip_vision is connected but image is not"):
            FramePackLowPassGuidance().apply(model, clip_vision=ToyVision(), **defaults())


@pytest.mark.parametrize(("values", "words"), [
    ({"filter": "median"}, "filter is 'median'"),
    ({"factor": 0.0}, "factor is 0"),
    ({"factor": 1.5}, "factor is 1.5"),
    ({"sigma": float("nan")}, "sigma is nan"),
    ({"noise": 2.0}, "noise is 2"),
    ({"vision": -0.5}, "vision is -0.5"),
    ({"fade": 1.1}, "fade is 1.1"),
    ({"t_start": 0.3, "t_end": 0.6}, "the window runs"),
])  # fmt: skip
def test_bad_values_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        LowPassGuidance(**values)


shares = st.floats(0, 1)


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(FILTERS),
    factor=st.floats(0.01, 1),
    sigma=st.floats(0, 64),
    weights=st.tuples(*[shares] * 6),
    t=shares,
    change=shares,
    empty=st.integers(0, 16),
    padding=st.integers(0, 3) | st.none(),
    size=st.integers(1, 6),
)
def test_any_setting_treats_videos_of_a_batch_alike_and_keeps_shapes_and_finite_numbers(
    name, factor, sigma, weights, t, change, empty, padding, size
):
    indices = f1_indices(9) if padding is None else original_indices(9, padding)
    context = a_context(size, batch=1, indices=indices)
    context.clean_4x[:, :, :empty] = 0
    context = replace(
        context,
        **{tensor: getattr(context, tensor).repeat_interleave(2, 0) for tensor in (*TENSORS, "image_embeds")},
    )
    values = dict(zip(("noise", "start", "last", "history", "vision", "fade"), weights))
    attachments = {"clean": context.image_embeds, "filtered": -context.image_embeds}
    technique = LowPassGuidance(filter=name, factor=factor, sigma=sigma, t_end=0.3, **values, **TOKENS)
    section = replace(SWITCHED, change=change)
    result = context_at([technique], section, Step(t, t), context=context, attachments=attachments)
    for tensor in (*TENSORS, "image_embeds"):
        before, after = getattr(context, tensor), getattr(result, tensor)
        assert after.shape == before.shape and after.dtype == before.dtype and after.isfinite().all()
        if name != "noise":
            torch.testing.assert_close(after[1], after[0])


class TestInTheSampler:
    def sample(self, model, technique=None, switch=True, batch=1, **objects):
        if technique is not None:
            model = with_technique(model, technique, **objects)
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

    @pytest.mark.parametrize("name", FILTERS)
    def test_off_and_no_switch_are_bit_identical(self, model, name):
        off = LowPassGuidance(filter=name, apply_to="all", **OFF[name])
        pair = {"clean_tokens": normal(1, 4, 12, seed=9), "filtered_tokens": normal(1, 4, 12, seed=2)}
        assert torch.equal(self.sample(model, off, **pair), self.sample(model))
        on = LowPassGuidance(filter=name)
        assert torch.equal(self.sample(model, on, False, **pair), self.sample(model, switch=False))

    @pytest.mark.parametrize("name", FILTERS)
    def test_it_acts_after_the_switch_alone_and_on_each_video_of_a_batch_by_itself(self, model, name):
        technique = LowPassGuidance(filter=name)
        plain, treated = self.sample(model), self.sample(model, technique)
        assert torch.equal(treated[:, :, : 1 + WINDOW], plain[:, :, : 1 + WINDOW])
        assert (treated[:, :, 1 + WINDOW :] - plain[:, :, 1 + WINDOW :]).abs().max() > 1e-3
        both = self.sample(model, technique, batch=2)
        torch.testing.assert_close(both[:1], treated, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(both[1:], treated, atol=1e-4, rtol=1e-4)

    def test_tokens_reach_the_model(self, model):
        spared = LowPassGuidance(start=0.0, last=0.0)
        pair = {"clean_tokens": normal(1, 4, 12, seed=9), "filtered_tokens": normal(1, 4, 12, seed=2)}
        assert not torch.equal(self.sample(model, spared, **pair), self.sample(model))
        assert torch.equal(self.sample(model, spared), self.sample(model))
