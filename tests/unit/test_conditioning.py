"""What other nodes hand over: accepted forms, and one clear sentence for each mistake."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.samplers.conditioning import latent_samples, text_conditioning, vision_tokens

CONFIG = FramePackConfig()


def conditioning(length=5, width=4096, pooled=768, **options):
    return [[torch.randn(1, length, width), {"pooled_output": torch.randn(1, pooled), **options}]]


def test_padding_is_cropped_and_the_mask_dropped():
    value = conditioning(attention_mask=torch.tensor([[1, 1, 1, 0, 0]]))
    text = text_conditioning(value, "positive", CONFIG, 1)
    assert torch.equal(text.states, value[0][0][:, :3]) and text.mask is None


def test_ragged_batches_keep_their_mask():
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    value = [[torch.randn(2, 5, 4096), {"pooled_output": torch.randn(2, 768), "attention_mask": mask}]]
    text = text_conditioning(value, "positive", CONFIG, 2)
    assert text.states.shape == (2, 3, 4096)
    assert text.mask.tolist() == [[True, True, True], [True, True, False]]


def test_options_that_ask_for_nothing_are_no_mistake():
    harmless = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "prompt_type": "negative"}
    options = {**harmless, "area": None, "anything": None}
    assert (
        text_conditioning(conditioning(**options), "positive", CONFIG, 1).options.items() >= harmless.items()
    )


def test_text_is_repeated_over_the_batch_and_keeps_other_options():
    text = text_conditioning(conditioning(hooks="kept"), "positive", CONFIG, 3)
    assert text.states.shape[0] == text.pooled.shape[0] == 3
    assert text.options == {"hooks": "kept"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "positive is empty"),
        (conditioning() * 2, "2 combined conditionings"),
        ([[torch.randn(1, 5, 4096), {}]], "no pooled_output"),
        (conditioning(width=768), "positive text is 768 wide, this model expects 4096"),
        (conditioning(pooled=1280), "pooled_output is 1280 wide"),
        (conditioning(end_percent=0.5), "positive carries end_percent"),
        (conditioning(area=("percentage", 1, 1, 0, 0)), "positive carries area"),
        (conditioning(mask=torch.ones(1, 8, 8)), "positive carries mask"),
        (conditioning(strength=0.5), "positive carries strength"),
        (
            conditioning(attention_mask=torch.tensor([[1, 1, 0]])),
            r"attention mask of \(1, 3\) for text of \(1, 5\).*into one prompt",
        ),
        (conditioning(attention_mask=torch.ones(1, 7)), r"attention mask of \(1, 7\) for text of \(1, 5\)"),
        (
            conditioning(reference_latents=[torch.ones(1, 16, 8, 8)]),
            "positive carries reference_latents .ReferenceLatent",
        ),
        (conditioning(unclip_conditioning=[{}]), "positive carries unclip_conditioning .unCLIPConditioning"),
        (conditioning(guiding_frame_index=0), "positive carries guiding_frame_index .HunyuanImageToVideo"),
        (conditioning(anything=0), "positive carries anything, which FramePack cannot follow"),
        (conditioning(guidance=float("nan")), "positive carries guidance nan"),
        ([[torch.full((1, 5, 4096), float("nan")), {"pooled_output": torch.randn(1, 768)}]], "NaN"),
    ],
)
def test_conditionings_that_do_not_fit_are_refused(value, words):
    with pytest.raises(ValueError, match=words):
        text_conditioning(value, "positive", CONFIG, 1)


def test_vision_tokens_are_optional():
    assert vision_tokens(None, "clip_vision_output", CONFIG, 1) is None


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (SimpleNamespace(last_hidden_state=torch.randn(1, 257, 1024)), "1024 wide, this model expects 1152"),
        (SimpleNamespace(), "without last_hidden_state"),
    ],
)
def test_vision_outputs_that_do_not_fit_are_refused(output, words):
    with pytest.raises(ValueError, match=words):
        vision_tokens(output, "clip_vision_output", CONFIG, 1)


def test_latents_of_an_image_become_one_frame():
    image = torch.randn(1, 16, 8, 8)
    assert torch.equal(latent_samples({"samples": image}, "start_latent", 16), image[:, :, None])


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.randn(1, 4, 8, 8), r"start_latent has shape \(1, 4, 1, 8, 8\), expected \[batch, 16"),
        (torch.randn(1, 16, 0, 8, 8), "has shape"),
        (torch.randn(16), "has shape"),
        (torch.full((1, 16, 1, 8, 8), float("nan")), "start_latent holds NaN"),
    ],
)
def test_latents_that_do_not_fit_are_refused(samples, words):
    with pytest.raises(ValueError, match=words):
        latent_samples({"samples": samples}, "start_latent", 16)


@pytest.mark.parametrize(
    "latent", [None, torch.zeros(1, 16, 8, 8), {}, {"samples": [torch.zeros(1, 16, 8, 8)]}]
)
def test_what_is_no_latent_is_refused(latent):
    with pytest.raises(ValueError, match="connect a VAE Encode node"):
        latent_samples(latent, "start_latent", 16)


def test_a_noise_mask_is_refused_rather_than_dropped():
    with pytest.raises(ValueError, match="start_latent carries a noise mask"):
        latent_samples(
            {"samples": torch.zeros(1, 16, 8, 8), "noise_mask": torch.ones(1, 1, 8, 8)}, "start_latent", 16
        )


def test_latents_of_another_size_than_the_start_are_refused():
    with pytest.raises(ValueError, match="end_latent is 80x64 pixels but start_latent is 64x64"):
        latent_samples(
            {"samples": torch.randn(1, 16, 1, 8, 10)}, "end_latent", 16, torch.randn(1, 16, 1, 8, 8)
        )


def test_text_that_another_node_joined_on_counts_in_full():
    value = conditioning(attention_mask=torch.ones(1, 3))
    joined = text_conditioning(value, "positive", CONFIG, 1)
    assert torch.equal(joined.states, value[0][0]) and joined.mask is None


def test_the_guidance_of_a_prompt_is_taken_from_its_conditioning():
    text = text_conditioning(conditioning(guidance=3.5), "positive", CONFIG, 1)
    assert text.guidance == 3.5 and "guidance" not in text.options
    assert text_conditioning(conditioning(), "positive", CONFIG, 1).guidance is None
