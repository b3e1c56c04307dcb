"""ComfyUI's hooks, which change weights for one prompt or for some of the steps: as LoRA loaders do, or refused by name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

pytestmark = pytest.mark.host
ONE = {"seconds": 1.2, "timeline": None, "steps": 3}


@pytest.fixture(scope="module")
def folder(comfy: ModuleType, tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The host's folders, with style.safetensors as a LoRA and model.safetensors as a checkpoint."""
    import folder_paths

    folder, generator, lora = tmp_path_factory.mktemp("files"), torch.Generator().manual_seed(0), {}
    dit = tiny.model.model.diffusion_model
    for target in ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_mlp"):
        rows, columns = dit.get_parameter(f"{target}.weight").shape
        lora[f"transformer.{target}.lora_A.weight"] = torch.randn(4, columns, generator=generator)
        lora[f"transformer.{target}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.2
    save_file(lora, folder / "style.safetensors")
    save_file(dict(dit.state_dict()), folder / "model.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("loras", "checkpoints"):
            patch.setitem(folder_paths.folder_names_and_paths, kind, ([str(folder)], {".safetensors"}))
        patch.setattr(folder_paths, "filename_list_cache", {})
        yield folder


def node(name: str) -> Any:
    import comfy_extras.nodes_hooks as hooks

    return getattr(hooks, name)()


@pytest.fixture(scope="module")
def hooks(folder: Path) -> Any:
    """A hook that adds the LoRA."""
    return node("CreateHookLoraModelOnly").create_hook_model_only("style.safetensors", 1.0)[0]


@pytest.fixture(scope="module")
def patched(tiny: Any, folder: Path) -> Any:
    """The MODEL with the LoRA for good."""
    from nodes import LoraLoaderModelOnly

    return LoraLoaderModelOnly().load_lora_model_only(tiny.model, "style.safetensors", 1.0)[0]


def with_hooks(conditioning: Any, hooks: Any, **properties: Any) -> Any:
    given = {"strength": 1.0, "set_cond_area": "default", **properties}
    return node("ConditioningSetProperties").set_properties(conditioning, hooks=hooks, **given)[0]


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_lora_hook_on_both_prompts_is_the_lora(tiny: Any, hooks: Any, patched: Any, cfg: float) -> None:
    given = {"positive": with_hooks(tiny.positive, hooks), "negative": with_hooks(tiny.encode(""), hooks)}
    latents = tiny.sample(tiny.model, **ONE, **given, cfg=cfg)
    assert torch.allclose(latents, tiny.sample(patched, **ONE, cfg=cfg), atol=1e-4)
    assert (latents - tiny.sample(tiny.model, **ONE, cfg=cfg)).abs().max() > 1e-2


def test_a_hook_on_one_prompt_leaves_the_other_and_the_model_alone(tiny: Any, hooks: Any) -> None:
    expected = tiny.sample(tiny.model, **ONE)
    negative = with_hooks(tiny.encode(""), hooks)
    assert torch.equal(tiny.sample(tiny.model, **ONE, negative=negative), expected)
    guided = tiny.sample(tiny.model, **ONE, negative=negative, cfg=3.0)
    assert (guided - tiny.sample(tiny.model, **ONE, cfg=3.0)).abs().max() > 1e-2
    assert torch.equal(tiny.sample(tiny.model, **ONE), expected)


def test_a_hook_on_a_timelines_prompt_acts_from_its_section_on(tiny: Any, hooks: Any) -> None:
    plain, hooked = (
        tiny.call(
            "FramePackTimelineEntry",
            conditioning=conditioning,
            prompt="an empty city at night",
            start=1.2,
            change=1.0,
            state="",
            cut=False,
            blend=0,
            vision_strength=1.0,
        )[0]
        for night in [tiny.encode("an empty city at night")]
        for conditioning in (night, with_hooks(night, hooks))
    )
    before, after = (tiny.sample(tiny.model, timeline=timeline) for timeline in (plain, hooked))
    assert torch.equal(after[:, :, :10], before[:, :, :10])
    assert (after[:, :, 10:] - before[:, :, 10:]).abs().max() > 1e-2


def test_keyframes_of_a_hook_are_followed(tiny: Any, hooks: Any) -> None:
    def scheduled(*strengths: float) -> torch.Tensor:
        frames = None
        for number, strength in enumerate(strengths):
            (frames,) = node("CreateHookKeyframe").create_hook_keyframe(strength, number / 2, frames)
        (hook,) = node("SetHookKeyframes").set_hook_keyframes(hooks, frames)
        return tiny.sample(tiny.model, **ONE, positive=with_hooks(tiny.positive, hook))

    plain, whole = tiny.sample(tiny.model, **ONE), scheduled(1.0)
    assert torch.allclose(scheduled(0.0), plain, atol=1e-4)
    half = scheduled(1.0, 0.0)
    assert min((half - plain).abs().max(), (half - whole).abs().max()) > 1e-2


def test_the_other_ways_to_attach_hooks_are_the_same(tiny: Any, hooks: Any) -> None:
    expected = tiny.sample(tiny.model, **ONE, positive=with_hooks(tiny.positive, hooks))
    (attached,) = node("SetModelHooksOnCond").attach_hook(tiny.positive, hooks)
    (combined,) = node("CombineHooks").combine_hooks(hooks, None)
    for positive in (attached, with_hooks(tiny.positive, combined)):
        assert torch.allclose(tiny.sample(tiny.model, **ONE, positive=positive), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"mask": torch.ones(1, 64, 64)}, "positive carries mask .a regional prompt"),
        ({"timesteps": (0.0, 0.5)}, "positive carries .*_percent .a step range"),
    ],
)
def test_what_a_prompt_cannot_be_limited_to_is_refused(
    tiny: Any, hooks: Any, properties: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        tiny.sample(tiny.model, **ONE, positive=with_hooks(tiny.positive, hooks, **properties))


def test_a_default_prompt_beside_another_is_refused(tiny: Any, hooks: Any) -> None:
    (both,) = node("ConditioningSetDefaultAndCombine").set_default_and_combine(
        tiny.positive, tiny.encode("night"), hooks=hooks
    )
    with pytest.raises(ValueError, match="positive holds 2 combined conditionings"):
        tiny.sample(tiny.model, **ONE, positive=both)


def test_hooks_on_the_tiny_text_encoder_say_what_to_do(tiny: Any, hooks: Any) -> None:
    with pytest.raises(
        AttributeError, match="it takes no LoRA, hooks or layer choice; use Load LoRA .Model Only"
    ):
        node("SetClipHooks").apply_hooks(tiny.clip, False, True, hooks)


def test_a_framepack_file_as_a_lora_is_refused_by_the_host(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="Could not detect model type"):
        node("CreateHookModelAsLoraModelOnly").create_hook_model_only("model.safetensors", 1.0)
