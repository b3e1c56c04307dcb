"""Training of the embedded model: its optimizer, and that a run can break off, go on, and end in time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.tiny import world
from framepack_transitions.tiny.bundle import fixed_seed, load_tiny
from framepack_transitions.tiny.config import TEXT, VISION
from framepack_transitions.tiny.networks.codec import TinyCodec
from framepack_transitions.tiny.precision import autocast
from framepack_transitions.tiny.train import state
from framepack_transitions.tiny.train.clip import all_but_one, batch_of, still
from framepack_transitions.tiny.train.clock import Stopwatch, paced
from framepack_transitions.tiny.train.codec import fit_preview, settle
from framepack_transitions.tiny.train.curve import read_log
from framepack_transitions.tiny.train.data.batches import Batches
from framepack_transitions.tiny.train.data.drawing import short_clip
from framepack_transitions.tiny.train.data.specs import specs
from framepack_transitions.tiny.train.data.store import ClipStore, make_store, to_input
from framepack_transitions.tiny.train.learning import trainer as trainer_module
from framepack_transitions.tiny.train.learning.optim import orthogonalize
from framepack_transitions.tiny.train.learning.quick import plain_attention
from framepack_transitions.tiny.train.learning.trainer import Trainer, loss_weight
from framepack_transitions.tiny.train.learning.trio import Trio, compile_blocks
from framepack_transitions.tiny.train.mix import Mix
from framepack_transitions.tiny.train.recipe import CPU, PRESETS, teacher_weight
from framepack_transitions.tiny.train.run import TIMED_STAGES, run_stages
from framepack_transitions.tiny.train.state import Run, metadata_in

CPU_DEVICE = torch.device("cpu")
SMALL_DIT = FramePackConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    rope_axes_dim=(4, 6, 6),
    num_layers=1,
    num_single_layers=1,
    num_refiner_layers=1,
    text_embed_dim=TEXT.width,
    pooled_projection_dim=TEXT.pooled,
    image_proj_dim=VISION.width,
)
SMALL = replace(
    CPU,
    dit=SMALL_DIT,
    clips=16,
    codec_clips=6,
    codec_steps=2,
    decoder_steps=2,
    clip_steps=1,
    steps=3,
    batch=2,
    warm_up=1,
)


@pytest.fixture(scope="module")
def clips() -> ClipStore:
    """A few clips through an untrained codec."""
    with fixed_seed(3):
        codec = TinyCodec().eval()
    return make_store(codec, specs(8, Mix(), 0), CPU_DEVICE, progress=False)


# Optimizer, codec, attention


@pytest.mark.parametrize(("capability", "dtype"), [("AVX512", torch.bfloat16), ("AVX2", torch.float32)])
def test_a_cpu_trains_in_bfloat16_only_where_it_is_quick_at_it(
    capability: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    one = torch.ones(1, 1)
    with autocast(torch.device("cpu")):
        assert (one @ one).dtype == dtype
    with autocast(torch.device("cpu"), False):
        assert (one @ one).dtype == torch.float32


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 24, 40), (3, 40, 24)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=generator)))
        assert values.min() > 0.5 and values.max() < 1.4


def test_settling_changes_the_latents_scale_and_not_the_codec() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(2)
        codec = TinyCodec().eval().requires_grad_(False)
    frames = torch.stack([torch.from_numpy(short_clip((seed, 1, 0.5))) for seed in range(6)])
    video = to_input(frames)
    before = codec.decode(codec.encode(video))
    settle(codec, frames, CPU_DEVICE)
    latents = codec.encode(video) * codec.latent_scale
    torch.testing.assert_close(latents.std((0, 2, 3, 4)), torch.ones(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(codec.decode(codec.encode(video)), before, atol=1e-4, rtol=0)


def test_the_preview_is_fitted_to_the_colours_of_blocks() -> None:
    codec = TinyCodec()
    frames = torch.stack([torch.from_numpy(short_clip((seed, 1, 0.5))) for seed in range(6)])
    colours = torch.nn.functional.avg_pool3d(to_input(frames)[:, :, 1:], (4, 8, 8))
    latents = torch.zeros(6, 16, 3, 8, 8)
    latents[:, 4:7, 1:] = colours
    fit_preview(codec, latents, frames)
    torch.testing.assert_close(codec.rgb_factors[4:7], torch.eye(3), atol=1e-3, rtol=0)


def test_the_attention_of_training_is_attention() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 7, 8, generator=generator)
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, None, None]
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(plain_attention(q, k, v, mask=mask), expected.transpose(1, 2).flatten(2))


def test_a_distilled_scale_of_ten_stands_for_two_and_a_half() -> None:
    assert teacher_weight(10.0) == 2.5 and teacher_weight(0.0) == 1.0


def test_captions_of_a_batch_differ_and_many_by_one_property() -> None:
    frames, captions = batch_of(0, 0, 48)
    assert frames.shape == (48, 64, 64, 3) and len(set(captions)) == 48
    near = (np.abs(np.diff(frames.numpy().astype(int), axis=0)).mean(axis=(1, 2, 3)) < 25).mean()
    assert 0.06 < near < 0.6, "some frames share their place and time with the one before"
    rng = np.random.default_rng(0)
    scene = world.random_scene(rng, empty=False)
    for _ in range(20):
        fixed = all_but_one(rng, scene)
        _, other = still(rng, **fixed)
        mine = (scene.background, scene.night, scene.subject.shape, scene.subject.colour)
        found = (other.background, other.night, other.subject.shape, other.subject.colour)
        assert sum(a != b for a, b in zip(mine, found)) <= 1


def test_loss_weights_average_to_one_and_ignore_subjects_in_pure_noise() -> None:
    subject = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    subject[:, :, 2:4, 2:4] = True
    weight = loss_weight(subject, torch.tensor([0.0, 1.0]), 6.0)
    assert weight.mean().item() == pytest.approx(1)
    assert (weight[0, 0, 0, 2, 2] / weight[0, 0, 0, 0, 0]).item() == pytest.approx(7)
    assert (weight[1, 0, 0, 2, 2] / weight[1, 0, 0, 0, 0]).item() == pytest.approx(1)


def test_presets_have_a_model_for_their_pictures() -> None:
    for recipe in PRESETS.values():
        with torch.device("meta"):
            parameters = sum(p.numel() for p in Trio(recipe, torch.device("meta")).dit.parameters())
        assert parameters == pytest.approx({1: 7.0e6, 2: 12.3e6}[recipe.scale], rel=0.02)


@pytest.mark.slow
def test_compiled_blocks_learn_the_same(clips: ClipStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a backend that needs a C++ compiler.
    monkeypatch.setattr(trainer_module, "compile_blocks", lambda trio: compile_blocks(trio, backend="eager"))
    recipe = replace(SMALL, replicas=1)
    plain, compiled = (
        Trainer(recipe, Batches(clips, Mix(), 2, 0), CPU_DEVICE, compiled=compiled)
        for compiled in (False, True)
    )
    for _ in range(2):
        losses = [trainer.train_step(1e-3)["loss"] for trainer in (plain, compiled)]
        torch.testing.assert_close(*losses)


# Runs


def test_steps_end_with_their_number_or_with_the_time() -> None:
    assert [step for step, _ in paced(4, Stopwatch())] == [0, 1, 2, 3]
    assert [done for _, done in paced(4, Stopwatch())] == [0.0, 0.25, 0.5, 0.75]
    assert not list(paced(4, Stopwatch(limit=0.0)))
    watch = Stopwatch(limit=100.0, before=60.0)
    assert (
        watch.done == pytest.approx(0.6, abs=0.1)
        and watch.left == pytest.approx(40, abs=10)
        and not watch.over
    )


def test_a_run_that_broke_off_goes_on_as_if_it_had_not(clips: ClipStore, tmp_path: Path) -> None:
    def trainer() -> Trainer:
        return Trainer(SMALL, Batches(clips, Mix(), 2, 0), CPU_DEVICE)

    whole, first, second = trainer(), trainer(), trainer()
    for step in range(4):
        if step == 2:
            whole.begin_distillation()
        whole.train_step(1e-3)
    for _ in range(2):
        first.train_step(1e-3)
    first.begin_distillation()
    first.train_step(1e-3)
    first.save(tmp_path / "checkpoint.safetensors", {"seconds": 5.0})
    assert second.load(tmp_path / "checkpoint.safetensors")["seconds"] == 5.0
    second.train_step(1e-3)
    assert second.step == whole.step == 4
    for name in ("model", "average"):
        for a, b in zip(getattr(whole, name).parameters(), getattr(second, name).parameters()):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_run_goes_on_from_weights_that_another_one_exported(tmp_path: Path) -> None:
    first = Run(recipe=SMALL, folder=tmp_path / "first", device=CPU_DEVICE, progress=False)
    run_stages(first, ("codec", "latents", "dit", "export"), tmp_path / "weights")
    second = Run(
        recipe=replace(SMALL, steps=0),
        folder=tmp_path / "second",
        device=CPU_DEVICE,
        progress=False,
        init=tmp_path / "weights",
    )
    run_stages(second, ("codec", "latents", "dit", "export"), tmp_path / "more")
    before, after = load_tiny(weights=tmp_path / "weights"), load_tiny(weights=tmp_path / "more")
    for name, module in before.modules().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, after.modules()[name].state_dict()[key]), f"{name}.{key}"
    assert "continues" in metadata_in(tmp_path / "more")


def test_the_original_layout_learns_its_transformer_beside_the_encoders_of_f1(tmp_path: Path) -> None:
    first = Run(recipe=SMALL, folder=tmp_path / "first", device=CPU_DEVICE, progress=False)
    run_stages(first, ("codec", "latents", "dit", "export"), tmp_path / "weights")
    recipe = replace(SMALL, layout="original", encoders=False)
    second = replace(first, recipe=recipe, folder=tmp_path / "second", init=tmp_path / "weights")
    run_stages(second, ("codec", "latents", "dit", "export"), tmp_path / "weights")
    forward, backward = (load_tiny(weights=tmp_path / "weights", layout=name) for name in ("f1", "original"))
    changed = {
        name
        for name, module in forward.modules().items()
        for key, value in module.state_dict().items()
        if not torch.equal(value, backward.modules()[name].state_dict()[key])
    }
    assert changed == {"dit"}
    assert replace(second, folder=tmp_path / "third").init_layout == "original"


def test_a_transformer_that_learns_alone_needs_weights_to_begin_from(tmp_path: Path) -> None:
    run = Run(recipe=replace(SMALL, encoders=False), folder=tmp_path, device=CPU_DEVICE, progress=False)
    with pytest.raises(ValueError, match="give the weights of an F1 run with --init"):
        run_stages(run, ("codec", "latents", "dit"))


def test_a_folder_is_for_one_run(tmp_path: Path) -> None:
    run = Run(recipe=SMALL, folder=tmp_path, device=CPU_DEVICE, progress=False)
    run_stages(run, ())
    run_stages(replace(run, recipe=replace(SMALL, steps=99)), ())
    with pytest.raises(ValueError, match="another recipe; give an --out of its own"):
        run_stages(replace(run, recipe=replace(SMALL, seed=5)), ("codec",))


def test_training_teaches(clips: ClipStore) -> None:
    trainer = Trainer(replace(SMALL, batch=8), Batches(clips, Mix(), 8, 0), CPU_DEVICE)
    losses = [float(trainer.train_step(3e-3)["loss"]) for _ in range(12)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_time_that_was_spent_before_does_not_shorten_what_is_left(tmp_path: Path) -> None:
    recipe = replace(SMALL, steps=10**6)
    run = Run(recipe=recipe, folder=tmp_path, device=CPU_DEVICE, progress=False)
    run_stages(run, ("codec", "latents"))
    run_stages(run, ("dit",), watch=Stopwatch(limit=1.0))
    first = state.load(tmp_path / "dit_checkpoint.safetensors")[1]["step"]
    (tmp_path / "trio.safetensors").unlink()
    run_stages(run, ("dit",), watch=Stopwatch(limit=1.0))
    _, facts = state.load(tmp_path / "dit_checkpoint.safetensors")
    assert facts["step"] > first and facts["seconds"] > 1.5


def test_within_no_time_there_are_still_weights(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    recipe = replace(SMALL, clips=40, codec_clips=30, codec_steps=10**6, steps=10**6, layout="original")
    run = Run(recipe=recipe, folder=tmp_path, device=CPU_DEVICE, progress=False, evaluate_episodes=1)
    run_stages(run, TIMED_STAGES, watch=Stopwatch(limit=0.0))
    assert load_tiny(weights=tmp_path / "weights", layout="original").config == SMALL_DIT
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert all(row["value"] is None and row["met"] is None for row in report["gates"])
    (entry,) = [entry for entry in read_log(tmp_path / "log.jsonl") if entry["stage"] == "latents"]
    assert entry["clips"] < 40


def test_one_command_makes_weights_that_load(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    run = Run(recipe=SMALL, folder=tmp_path / "run", device=CPU_DEVICE, progress=False)
    stages = ("codec", "latents", "dit", "decoder", "clip", "export")
    run_stages(run, stages, tmp_path / "weights")
    bundle = load_tiny(weights=tmp_path / "weights")
    assert bundle.trained and bundle.config == SMALL_DIT
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert {"codec", "clip"} <= {entry["stage"] for entry in log}
    made = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()}
    run_stages(run, stages[:-1])
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()} == made
