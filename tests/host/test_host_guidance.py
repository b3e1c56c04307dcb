"""Guidance functions, conditionings and MODEL changes of other nodes: as in the core guider, or refused by name."""

from __future__ import annotations

import importlib
from inspect import signature

import pytest
import torch

pytestmark = pytest.mark.host
ONE = {"seconds": 1.2, "timeline": None, "steps": 3}


def core(module: str, name: str):
    """A node class of the host."""
    return getattr(importlib.import_module(module), name)


def run_node(cls, *args, **kwargs):
    """The first output of a node, old or new style."""
    if hasattr(cls, "execute"):
        return cls.execute(*args, **kwargs).args[0]
    node = cls()
    return getattr(node, node.FUNCTION)(*args, **kwargs)[0]


@pytest.mark.parametrize(
    ("module", "name", "inputs"),
    [
        (
            "comfy_extras.nodes_slg",
            "SkipLayerGuidanceDiT",
            {"scale": 3.0, "start_percent": 0.0, "end_percent": 1.0, "double_layers": "99"},
        ),
        ("comfy_extras.nodes_pag", "PerturbedAttentionGuidance", {"scale": 3.0}),
    ],
)
def test_guidance_by_a_layer_that_does_not_exist_is_bit_identical_to_nothing(tiny, module, name, inputs):
    patched = run_node(core(module, name), tiny.model, **inputs)
    assert torch.equal(tiny.sample(patched), tiny.sample(tiny.model))


def test_skipping_a_layer_that_exists_changes_the_video(tiny):
    slg = core("comfy_extras.nodes_slg", "SkipLayerGuidanceDiT")
    patched = run_node(slg, tiny.model, scale=3.0, start_percent=0.0, end_percent=1.0, double_layers="0")
    assert (tiny.sample(patched, **ONE) - tiny.sample(tiny.model, **ONE)).abs().max() > 0.1


def test_the_simple_skip_layer_node_has_no_effect_without_real_guidance_and_one_with_it(tiny):
    slg = core("comfy_extras.nodes_slg", "SkipLayerGuidanceDiTSimple")
    patched = run_node(slg, tiny.model, start_percent=0.0, end_percent=1.0, double_layers="0")
    assert torch.equal(tiny.sample(patched, **ONE), tiny.sample(tiny.model, **ONE))
    guided = dict(**ONE, cfg=3.0)
    assert (tiny.sample(patched, **guided) - tiny.sample(tiny.model, **guided)).abs().max() > 1e-3


def test_guidance_functions_see_two_conditionings_with_the_steps_past_and_guidance(tiny):
    from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
    from framepack_transitions.samplers.techniques.wiring import with_technique

    seen = []

    def look(args):
        seen.append((args["cond"], args["uncond"]))
        (again,) = importlib.import_module("comfy.samplers").calc_cond_batch(
            args["model"], [args["cond"]], args["input"], args["sigma"], args["model_options"]
        )
        assert torch.allclose(again, args["cond_denoised"], atol=1e-5)
        return args["denoised"]

    model = tiny.model.clone()
    model.set_model_sampler_post_cfg_function(look)
    model = with_technique(model, ContrastiveGuidance(history=1.5, t_end=0.0, apply_to="all"))
    tiny.sample(model, **ONE)
    tiny.sample(model, **ONE, cfg=2.0)
    for number, (cond, uncond) in enumerate(seen):
        assert cond[0]["model_conds"]["guidance"].cond.tolist() == [10000]
        assert "clean_latents" in cond[0]["model_conds"]
        assert (uncond is None) == (number < 3)


def test_a_node_may_ask_for_the_negative_prediction_without_real_guidance(tiny):
    differences = []

    def look(args):
        differences.append((args["uncond_denoised"] - args["cond_denoised"]).abs().max())
        return args["denoised"]

    model = tiny.model.clone()
    model.set_model_sampler_post_cfg_function(look, disable_cfg1_optimization=True)
    expected = tiny.sample(tiny.model, **ONE)
    assert torch.allclose(tiny.sample(model, **ONE), expected, atol=1e-4)
    assert len(differences) == 3 and 0 < min(differences) and max(differences) < 10


def test_perp_neg_encodes_its_empty_prompt_with_the_packed_past(tiny):
    node = core("comfy_extras.nodes_perpneg", "PerpNeg")
    # With the negative prompt as the empty one, the formula is plain guidance.
    patched = run_node(node, tiny.model, tiny.encode(""), 1.0)
    guided = dict(**ONE, cfg=3.0)
    assert torch.allclose(tiny.sample(patched, **guided), tiny.sample(tiny.model, **guided), atol=1e-3)


def test_nodes_find_the_channels_of_the_model(tiny):
    node, guided = core("comfy_extras.nodes_lumina2", "RenormCFG"), dict(**ONE, cfg=3.0)
    plain = tiny.sample(tiny.model, **guided)
    # Without a bound on the norm it guides as usual, in as many channels as the model says that it has.
    free, bounded = (tiny.sample(run_node(node, tiny.model, 100.0, bound), **guided) for bound in (0.0, 1.0))
    assert torch.allclose(free, plain, atol=1e-3) and not torch.allclose(bounded, plain, atol=1e-3)


def test_flux_guidance_is_the_samplers_distilled_guidance(tiny):
    positive = run_node(core("comfy_extras.nodes_flux", "FluxGuidance"), tiny.positive, 4.0)
    used = tiny.sample(tiny.model, **ONE, positive=positive)
    assert torch.equal(used, tiny.sample(tiny.model, **ONE, distilled_guidance=4.0))
    assert not torch.equal(used, tiny.sample(tiny.model, **ONE))


def test_a_joined_text_is_read_whole(tiny):
    node = core("nodes", "ConditioningConcat")
    first, second = tiny.encode("a large red circle"), tiny.encode("in the sky by day")
    by_hand = [[torch.cat([first[0][0], second[0][0]], 1), {"pooled_output": first[0][1]["pooled_output"]}]]
    joined, expected, alone = (
        tiny.sample(tiny.model, **ONE, positive=text)
        for text in (run_node(node, first, second), by_hand, first)
    )
    assert torch.equal(joined, expected) and not torch.allclose(joined, alone, atol=1e-3)


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("ModelSamplingSD3", (3.0,), "its shift is 3.; remove it and set shift in the sampler"),
        (
            "ModelSamplingFlux",
            (1.15, 0.5, 1024, 1024),
            "replaced the model's sampling .ModelSamplingFlux; its shift",
        ),
    ],
)
def test_another_sampling_is_refused_by_name(tiny, node, inputs, words):
    cls = core("comfy_extras.nodes_model_advanced", node)
    with pytest.raises(ValueError, match=words):
        tiny.sample(run_node(cls, tiny.model, *inputs), **ONE)


@pytest.mark.parametrize("length", [5, 9])
def test_context_windows_below_a_section_are_refused_by_name(tiny, length):
    node = core("comfy_extras.nodes_context_windows", "ContextWindowsManualNode")
    newer = {"freenoise": False} if "freenoise" in signature(node.execute).parameters else {}
    patched = run_node(node, tiny.model, length, 1, "standard_static", 1, False, "pyramid", 2, **newer)
    if length < 9:
        with pytest.raises(ValueError, match="Context Windows would cut a section of 9 latent frames"):
            tiny.sample(patched, **ONE)
    else:
        assert torch.equal(tiny.sample(patched, **ONE), tiny.sample(tiny.model, **ONE))


def test_patches_that_no_block_calls_are_refused_by_name(tiny):
    model = tiny.model.clone()
    model.set_model_attn1_output_patch(lambda out, options: out)
    with pytest.raises(ValueError, match="model carries attn1_output_patch patches"):
        tiny.sample(model, **ONE)


def test_a_lora_on_the_tiny_text_encoder_says_what_to_do(tiny):
    sd = importlib.import_module("comfy.sd")
    with pytest.raises(AttributeError, match="use Load LoRA .Model Only"):
        sd.load_lora_for_models(tiny.model, tiny.clip, {}, 1.0, 1.0)


def test_a_model_is_of_the_class_that_the_host_chooses(comfy, monkeypatch):
    from framepack_transitions.nodes.loading.tiny_loader import FramePackTinyLoader

    class Chosen(comfy.model_patcher.ModelPatcher):
        pass

    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", Chosen, raising=False)
    model, *_ = FramePackTinyLoader().load()
    assert isinstance(model, Chosen)
