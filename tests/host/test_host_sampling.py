"""The sampler on a real ComfyUI MODEL: the same numbers as without the host, and everything of the host at work."""

from __future__ import annotations

import gc
from functools import partial
from types import SimpleNamespace

import pytest
import torch

pytestmark = pytest.mark.host
SCALE = 0.476986
WINDOW = 3


@pytest.fixture(scope="module")
def dit(upstream):
    from framepack_transitions.models.config import FramePackConfig
    from framepack_transitions.models.dit import FramePackDiT

    return upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))).eval().requires_grad_(False)


@pytest.fixture
def model(comfy, dit):
    from framepack_transitions.models.host import copy_dit, make_model

    return make_model(partial(copy_dit, dit), parameters=1, stored_dtype=torch.float32)


@pytest.fixture
def sample(upstream):
    """Runs the sampler node as the host does: under inference_mode, one short section unless told otherwise."""
    from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler

    inputs = upstream.load("sampler/f1_cfg").inputs
    defaults = dict(
        positive=[[inputs["context"], {"pooled_output": inputs["y"]}]],
        negative=[[inputs["negative_context"], {"pooled_output": inputs["negative_y"]}]],
        start_latent={"samples": inputs["start_latent"] / SCALE},
        layout="f1",
        seconds=0.4,
        latent_frames=0,
        window=WINDOW,
        steps=4,
        distilled_guidance=10.0,
        cfg=1.0,
        guidance_rescale=0.0,
        shift=0.0,
        solver="unipc_bh1",
        denoise=1.0,
        upstream_rounding=False,
        seed=1234,
        clip_vision_output=SimpleNamespace(last_hidden_state=inputs["image_embeds"]),
    )

    def run(model, **overrides):
        with torch.inference_mode():
            latent, trace = FramePackTransitionsSampler().sample(model=model, **{**defaults, **overrides})
        return latent["samples"], trace

    return run


@pytest.mark.usefixtures("recorded_frequencies")
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("f1", {"seconds": 1.2}),
        ("original", {"seconds": 1.2, "layout": "original"}),
        ("f1_cfg", {"seconds": 0.8, "cfg": 2.5, "guidance_rescale": 0.7}),
        ("f1_rounded", {"seconds": 1.2, "upstream_rounding": True}),
    ],
)
def test_latents_equal_upstreams_so_history_is_scaled_exactly_once(upstream, model, sample, name, overrides):
    latents, _ = sample(model, **overrides)
    expected = upstream.load(f"sampler/{name}").expected["history"]
    assert (latents * SCALE - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_video_to_video_equals_the_run_without_the_host(model, dit, sample):
    from framepack_transitions.models.plain import PlainModel

    initial = {"samples": torch.randn(1, 16, 4, 8, 8, generator=torch.Generator().manual_seed(3))}
    in_host, _ = sample(model, initial_latent=initial, denoise=0.6)
    alone, _ = sample(PlainModel(dit, SCALE), initial_latent=initial, denoise=0.6)
    assert torch.allclose(in_host, alone, atol=1e-4)


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_timelines_and_given_videos_equal_the_run_without_the_host(model, dit, sample, layout):
    from framepack_transitions.models.plain import PlainModel
    from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

    def normal(*shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[1]))

    def conditioning(tokens):
        return [[normal(1, tokens, 24), {"pooled_output": normal(1, 20)}]]

    keyframe = {"samples": normal(1, 16, 1, 8, 8)}
    entries = (
        TimelineEntry(
            start=0.4,
            prompt="soft",
            conditioning=conditioning(7),
            blend=1,
            start_latent=keyframe,
            vision_strength=0.5,
        ),
        TimelineEntry(start=0.8, prompt="a shot from nothing", conditioning=conditioning(3), cut=True),
        TimelineEntry(
            start=1.2,
            prompt="a shot from an image",
            conditioning=conditioning(4),
            cut=True,
            start_latent=keyframe,
        ),
    )
    run = {"layout": layout, "seconds": 1.6, "timeline": Timeline(entries), "steps": 2}
    given = {"past_latent": {"samples": normal(1, 16, 5, 8, 8)}}
    in_host, trace = sample(model, **run, **given)
    alone, _ = sample(PlainModel(dit, SCALE), **run, **given)
    assert torch.allclose(in_host, alone, atol=1e-4)
    assert trace["given_latent_frames"] == 5
    assert sorted(section["shot"] for section in trace["sections"]) == [0, 0, 1, 2]


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_what_two_prompts_differ_in_equals_the_run_without_the_host(model, dit, sample, layout):
    """What is predicted to be compared passes by the guidance functions of other nodes."""
    from framepack_transitions.models.plain import PlainModel
    from framepack_transitions.samplers.techniques.attention.dual_memory import DualMemory
    from framepack_transitions.samplers.techniques.wiring import with_technique
    from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

    generator = torch.Generator().manual_seed(5)
    states, pooled = (torch.randn(shape, generator=generator) for shape in ((1, 7, 24), (1, 20)))
    entry = TimelineEntry(start=0.4, prompt="new", conditioning=[[states, {"pooled_output": pooled}]])
    run = {"layout": layout, "seconds": 0.8, "timeline": Timeline((entry,))}
    hooked, calls = model.clone(), []
    hooked.set_model_sampler_pre_cfg_function(lambda args: calls.append(1) or args["conds_out"])
    memory = DualMemory(tokens="differing")
    in_host, trace = sample(with_technique(hooked, memory), **run)
    alone, plain = sample(with_technique(PlainModel(dit, SCALE), memory), **run)
    assert torch.allclose(in_host, alone, atol=1e-4)
    assert [section["evaluations"] for section in trace["sections"]] == [4, 6] and len(calls) == 8
    assert trace["sections"][1]["concepts"] == plain["sections"][1]["concepts"]


def test_what_a_cut_keeps_equals_the_run_without_the_host(model, dit, sample):
    from framepack_transitions.models.plain import PlainModel
    from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

    def conditioning(seed, tokens):
        generator = torch.Generator().manual_seed(seed)
        states, pooled = (torch.randn(shape, generator=generator) for shape in ((1, tokens, 24), (1, 20)))
        return [[states, {"pooled_output": pooled}]]

    entry = TimelineEntry(
        start=0.4, prompt="new", conditioning=conditioning(5, 7), cut=True, keep=conditioning(6, 3)
    )
    run = {"seconds": 1.2, "timeline": Timeline((entry,)), "steps": 2, "cfg": 2.0}
    in_host, trace = sample(model, **run)
    alone, plain = sample(PlainModel(dit, SCALE), **run)
    assert torch.allclose(in_host, alone, atol=1e-4)
    assert [section["evaluations"] for section in trace["sections"]] == [4, 5, 4]
    assert trace["sections"][1]["concepts"] == plain["sections"][1]["concepts"]


@pytest.mark.parametrize("solver", ["unipc_bh1", "euler"])
def test_schedules_rests_and_restarts_equal_the_run_without_the_host(model, dit, sample, solver):
    from framepack_transitions.models.plain import PlainModel
    from framepack_transitions.nodes.sampling.preview import FramePackTechniquePreview
    from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
    from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
    from framepack_transitions.samplers.techniques.schedule.transition_sigmas import TransitionSigmas
    from framepack_transitions.samplers.techniques.wiring import with_technique

    plain = PlainModel(dit, SCALE)
    for technique in (
        AdaptiveCFG(zero_init=0.2, base=3.0, apply_to="all"),
        SemanticKVGate(t_end=0.3, apply_to="all"),
        TransitionSigmas(shift=12.0, early=2.0, extra_steps=2, apply_to="all"),
    ):
        model, plain = with_technique(model, technique), with_technique(plain, technique)
    in_host, trace = sample(model, solver=solver)
    alone, same = sample(plain, solver=solver)
    assert torch.allclose(in_host, alone, atol=1e-4)
    section = trace["sections"][0]
    assert len(section["sigmas"]) == 7 and section["predictions"][0] == []
    assert section["evaluations"] == same["sections"][0]["evaluations"]
    (picture,) = FramePackTechniquePreview().draw(model, "f1", 0.4, WINDOW, 4, 10.0, 1.0, 0.0)
    assert picture.shape[0] == 1 and picture.shape[3] == 3


@pytest.mark.parametrize(
    "name",
    [
        "euler",
        "euler_ancestral",
        "heun",
        "dpm_2",
        "lms",
        "dpm_fast",
        "dpm_adaptive",
        "dpmpp_2s_ancestral",
        "dpmpp_sde",
        "dpmpp_2m",
        "dpmpp_2m_sde",
        "dpmpp_3m_sde",
        "ddim",
        "uni_pc",
        "lcm",
        "ipndm",
        "deis",
        "res_multistep",
        "er_sde",
        "seeds_2",
        "sa_solver",
    ],
)
def test_samplers_of_the_host_run(comfy, model, sample, name):
    latents, _ = sample(model, sampler=comfy.samplers.sampler_object(name))
    ours, _ = sample(model)
    assert latents.shape == ours.shape == (1, 16, 1 + WINDOW, 8, 8) and torch.isfinite(latents).all()
    assert torch.equal(latents[:, :, :1], ours[:, :, :1]), "the start frame is no sampler's business"


def test_the_hosts_euler_equals_ours(comfy, model, sample):
    ours, _ = sample(model, solver="euler")
    theirs, _ = sample(model, sampler=comfy.samplers.sampler_object("euler"))
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_cfg_pp_samplers_are_refused_by_name(comfy, model, sample):
    with pytest.raises(ValueError, match="euler_cfg_pp is a CFG"):
        sample(model, sampler=comfy.samplers.sampler_object("euler_cfg_pp"))


def test_another_sampler_node_is_refused_in_one_sentence(comfy, model, upstream):
    inputs = upstream.load("sampler/f1").inputs
    text = [[inputs["context"], {"pooled_output": inputs["y"]}]]
    noise = torch.randn(1, 16, WINDOW, 8, 8)
    with pytest.raises(RuntimeError, match="use the FramePack Sampler node"):
        comfy.samplers.sample(
            model,
            noise,
            text,
            text,
            1.0,
            model.load_device,
            comfy.samplers.sampler_object("euler"),
            torch.tensor([1.0, 0.0]),
            latent_image=torch.zeros_like(noise),
        )


def test_another_model_is_refused_in_one_sentence(comfy, sample):
    other = SimpleNamespace(model=comfy.model_base.HunyuanVideo.__new__(comfy.model_base.HunyuanVideo))
    with pytest.raises(
        ValueError, match="model is a HunyuanVideo, not a FramePack model; load the file with FramePack"
    ):
        sample(other)


def test_cores_lora_loader_changes_the_output_and_comes_off_again(
    comfy, model, sample, tmp_path, monkeypatch
):
    import folder_paths
    from safetensors.torch import save_file

    from nodes import LoraLoaderModelOnly

    before, _ = sample(model)
    lora = {}
    for target in ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_mlp"):
        rows, columns = model.model.diffusion_model.get_parameter(f"{target}.weight").shape
        lora[f"transformer.{target}.lora_A.weight"] = torch.randn(4, columns)
        lora[f"transformer.{target}.lora_B.weight"] = torch.randn(rows, 4)
    save_file(lora, tmp_path / "tiny.safetensors")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    (patched,) = LoraLoaderModelOnly().load_lora_model_only(model, "tiny.safetensors", 0.2)
    changed, _ = sample(patched)
    assert (changed - before).abs().max() > 1e-3
    again, _ = sample(model)
    assert torch.equal(again, before)


def test_torch_compile_really_compiles(comfy, model, sample, monkeypatch):
    from comfy.ldm.modules.attention import attention_pytorch
    from comfy_extras.nodes_torch_compile import TorchCompileModel
    from framepack_transitions.models import host

    # On a GPU this is the host's default; its default on a CPU reads the free memory at every call, a graph break.
    monkeypatch.setattr(host, "optimized_attention", attention_pytorch)
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    before, _ = sample(model)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, fullgraph=True))
    (compiled,) = TorchCompileModel.execute(model, counting).args
    after, _ = sample(compiled, seconds=0.8)
    assert len(graphs) == 1, "one graph for the whole model, compiled once for all steps and sections"
    assert torch.allclose(after[:, :, : 1 + WINDOW], before, atol=1e-4)


def test_weights_stream_from_the_offload_device_when_memory_is_short(comfy, model, sample, monkeypatch):
    before, _ = sample(model)
    management = comfy.model_management
    monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
    monkeypatch.setattr(management, "lowvram_available", True)
    management.unload_all_models()
    after, _ = sample(model)
    assert model.model.model_lowvram, "the host was expected to keep weights on the offload device"
    assert torch.allclose(after, before, atol=1e-5)
    management.unload_all_models()


def test_guidance_functions_of_other_nodes_are_called(model, sample):
    seen = []

    def post_cfg(args):
        seen.append((args["cond_denoised"].shape, args["uncond_denoised"].shape))
        return args["denoised"] * 0

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(post_cfg)
    latents, _ = sample(patched, cfg=2.0)
    assert len(seen) == 4 and latents[:, :, 1:].abs().max() == 0


def test_predictions_can_be_changed_before_guidance_and_their_evaluation_replaced(comfy, model, sample):
    calls = []

    def pre_cfg(args):
        calls.append("pre")
        return [args["conds_out"][0] * 0, args["conds_out"][1] * 0]

    def evaluate(args):
        calls.append("evaluate")
        return comfy.samplers.calc_cond_batch(
            args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
        )

    patched = model.clone()
    patched.set_model_sampler_pre_cfg_function(pre_cfg)
    patched.set_model_sampler_calc_cond_batch_function(evaluate)
    latents, _ = sample(patched, cfg=2.0)
    assert calls == ["evaluate", "pre"] * 4 and latents[:, :, 1:].abs().max() == 0


def test_weights_stored_in_float16_are_not_computed_with_in_float16(comfy, dit):
    from framepack_transitions.models.host import copy_dit, make_model

    model = make_model(partial(copy_dit, dit), parameters=1, stored_dtype=torch.float32, dtype=torch.float16)
    assert model.model.get_dtype() == torch.float16 and model.model.manual_cast_dtype in (
        torch.bfloat16,
        torch.float32,
    )


@pytest.mark.usefixtures("every_step")
def test_progress_counts_over_all_sections_and_previews_come_with_it(comfy, model, sample, monkeypatch):
    seen = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: seen.append((value, total))
    )
    sample(model, seconds=0.8)
    assert seen == [(step, 8) for step in range(1, 9)]


def test_the_model_is_loaded_once_for_all_sections(comfy, model, sample, monkeypatch):
    comfy.model_management.unload_all_models()
    loads = []
    original = type(model).load
    monkeypatch.setattr(
        type(model),
        "load",
        lambda self, *args, **kwargs: (loads.append(1), original(self, *args, **kwargs))[1],
    )
    sample(model, seconds=1.2)
    assert len(loads) == 1


@pytest.mark.usefixtures("every_step")
def test_an_interrupt_in_mid_section_leaves_no_tensor_behind(comfy, model, sample, monkeypatch):
    management = comfy.model_management
    sample(model)
    gc.collect()
    alive = section_tensors()

    def interrupt(value, total, preview, **_):
        if value == 6:
            management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", interrupt)
    for _ in range(3):
        with pytest.raises(management.InterruptProcessingException):
            sample(model, seconds=1.2)
        management.interrupt_current_processing(False)
    gc.collect()
    assert section_tensors() <= alive
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", None)
    assert torch.isfinite(sample(model)[0]).all()


def section_tensors() -> int:
    """Tensors of the size of a section's latents that are still referenced."""
    return sum(
        1
        for thing in gc.get_objects()
        if type(thing) is torch.Tensor
        and thing.ndim == 5
        and thing.shape[-2:] == (8, 8)
        and thing.shape[1] == 16
    )


def test_memory_estimates_count_the_packed_context(model):
    window = [1, 16, 9, 80, 80]
    bare = model.model.memory_required(window)
    context = {
        "clean_latents": [[1, 16, 2, 80, 80]],
        "clean_latents_2x": [[1, 16, 2, 80, 80]],
        "clean_latents_4x": [[1, 16, 16, 80, 80]],
        "image_embeds": [[1, 729, 1152]],
        "c_crossattn": [[1, 256, 4096]],
    }
    tokens = {"window": 14400, "context": 3200 + 400 + 400 + 729 + 256}
    assert model.model.memory_required(window, context) / bare == pytest.approx(
        1 + tokens["context"] / tokens["window"], rel=1e-3
    )


def failing_at(model, *calls):
    """A clone whose forwards of these numbers, counted from 1, run out of memory; and the rows that attention was given."""
    clone, rows = model.clone(), []

    def forward(apply, arguments):
        rows.append(arguments["c"]["transformer_options"].get("framepack_attention_rows"))
        if len(rows) in calls:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    clone.set_model_unet_function_wrapper(forward)
    return clone, rows


def test_a_section_that_does_not_fit_is_sampled_again_with_smaller_attention_chunks(model, sample):
    expected, _ = sample(model)
    clone, rows = failing_at(model, 2)
    found, trace = sample(clone)
    assert rows == [None, None, 1024, 1024, 1024, 1024]
    assert [section["retried"] for section in trace["sections"]] == [True]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_host_knows_that_a_section_ran_out_of_memory_twice(comfy, model, sample):
    import comfy.model_management

    with pytest.raises(comfy.model_management.OOM_EXCEPTION, match="section 1 of 1 does not fit in memory"):
        sample(failing_at(model, 1, 2)[0])
