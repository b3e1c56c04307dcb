"""Finished sections in a real ComfyUI: where they lie, and which MODELs they are told apart by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.host

SECTIONS = 2


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """Runs the sampler with sections kept; gives the latents, and which of them were there."""
    import folder_paths

    monkeypatch.delenv("FRAMEPACK_SECTIONS")
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path))
    widgets = dict(
        layout="f1", seconds=2.4, latent_frames=0, window=9, steps=2, distilled_guidance=10.0, cfg=1.0
    )
    rest = dict(
        guidance_rescale=0.0, shift=0.0, solver="unipc_bh1", denoise=1.0, upstream_rounding=False, seed=2
    )

    def sample(model: Any, **inputs: Any) -> tuple[torch.Tensor, list[bool], list[str]]:
        given = dict(
            positive=tiny.positive,
            negative=tiny.encode(""),
            start_latent={"samples": tiny.vae.encode(tiny.image)},
            timeline=tiny.timeline,
        )
        latent, trace = tiny.call(
            "FramePackTransitionsSampler", model=model, **{**widgets, **rest, **given, **inputs}
        )
        reused = [section["reused"] for section in trace["sections"]]
        return latent["samples"], reused, trace["notices"]

    return sample


def test_sections_lie_in_the_user_folder_and_are_taken_again(run, tiny, tmp_path: Path):
    video, reused, notices = run(tiny.model)
    assert reused == [False] * SECTIONS and notices == []
    kept = list((tmp_path / "framepack_transitions" / "sections").glob("*.safetensors"))
    assert len(kept) == SECTIONS
    again, reused, notices = run(tiny.call("FramePackTinyLoader")[0])
    assert reused == [True] * SECTIONS and torch.equal(again, video)
    assert notices == ["2 of 2 sections are there from an earlier run and are reused; none is sampled."]


def test_a_lora_counts_by_its_tensors_and_its_strength(run, tiny):
    key = next(
        name for name, weight in tiny.model.model.diffusion_model.named_parameters() if weight.ndim == 2
    )
    weight = tiny.model.model.diffusion_model.get_parameter(key)

    def patched(value: float, strength: float) -> Any:
        model = tiny.model.clone()
        model.add_patches({f"diffusion_model.{key}": (torch.full_like(weight, value),)}, strength)
        return model

    run(tiny.model)
    video, reused, _ = run(patched(0.01, 1.0))
    assert reused == [False] * SECTIONS
    again, reused, _ = run(patched(0.01, 1.0))  # a patch of another id
    assert reused == [True] * SECTIONS and torch.equal(again, video)
    assert run(patched(0.01, 0.5))[1] == [False] * SECTIONS
    assert run(patched(0.02, 1.0))[1] == [False] * SECTIONS


def test_a_sampler_of_the_host_is_known_by_its_name_and_options(run, tiny, comfy):
    euler, heun = comfy.samplers.ksampler("euler"), comfy.samplers.ksampler("heun")
    assert run(tiny.model, sampler=euler)[1] == [False] * SECTIONS
    assert run(tiny.model, sampler=comfy.samplers.ksampler("euler"))[1] == [True] * SECTIONS
    assert run(tiny.model, sampler=heun)[1] == [False] * SECTIONS


def test_a_wrapper_of_another_pack_is_said_and_nothing_is_kept(run, tiny, comfy, tmp_path: Path):
    import comfy.patcher_extension as extension

    model = tiny.model.clone()
    model.add_wrapper_with_key(
        extension.WrappersMP.DIFFUSION_MODEL,
        "other",
        lambda executor, *args, **kwargs: executor(*args, **kwargs),
    )
    _, reused, [notice] = run(model)
    assert reused == [False] * SECTIONS
    assert notice.startswith("Finished sections are not kept and not reused: the run uses the function")
    assert "<lambda> of" in notice
    assert not (tmp_path / "framepack_transitions").exists()


def test_context_refresh_with_the_hosts_vae_and_vision_is_kept(run, tiny):
    model = tiny.call("FramePackContextRefresh", **_refresh(tiny))[0]
    run(model)
    assert run(tiny.call("FramePackContextRefresh", **_refresh(tiny))[0])[1] == [True] * SECTIONS


def _refresh(tiny: Any) -> dict[str, Any]:
    node = tiny.nodes["FramePackContextRefresh"].INPUT_TYPES()
    widgets = {name: spec[1]["default"] for name, spec in node["required"].items() if "default" in spec[1]}
    return {
        **widgets,
        "model": tiny.model,
        "anchor": "replaced",
        "vae": tiny.vae,
        "clip_vision": tiny.clip_vision,
    }
