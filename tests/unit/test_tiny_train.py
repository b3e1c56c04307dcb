"""Training of the embedded model: its examples, its optimizer, and that a run can break off and go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.tiny import world
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.config import TEXT, VISION
from framepack_transitions.tiny.networks.codec import TinyCodec
from framepack_transitions.tiny.train.clip import all_but_one, batch_of, still
from framepack_transitions.tiny.train.codec import fit_preview, settle
from framepack_transitions.tiny.train.curve import read_log
from framepack_transitions.tiny.train.data import clips as clip_data
from framepack_transitions.tiny.train.data.batches import Batches, Choice, counted, pack
from framepack_transitions.tiny.train.data.clips import ClipLatents, ClipSpec, Texts
from framepack_transitions.tiny.train.learning.optim import orthogonalize
from framepack_transitions.tiny.train.learning.quick import plain_attention
from framepack_transitions.tiny.train.learning.transformer import Trainer, loss_weight
from framepack_transitions.tiny.train.recipe import CPU, Mix, teacher_weight
from framepack_transitions.tiny.train.run import run_stages
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


def numbered(count: int, seed: int = 0) -> ClipLatents:
    """Clips whose latents say which frame they are: frame i holds i + 1."""
    specs = clip_data.specs(count, 0.25, seed)
    frames = torch.arange(1, 38, dtype=torch.float16).view(1, 1, 37, 1, 1)
    texts = Texts(("an empty sea by day",), ("an empty sea at night",))
    images = torch.zeros(count, 64, 64, 3, dtype=torch.uint8)
    subjects = torch.zeros(count, 37, 8, 8, dtype=torch.bool)
    return ClipLatents(
        specs=specs,
        latents=frames.expand(count, 16, 37, 8, 8),
        subjects=subjects,
        first_frames=images,
        texts=[[texts] * 6 for _ in specs],
    )


def frames_in(x: torch.Tensor) -> list[int]:
    """Which numbered frames a tensor [1,16,T,8,8] or [16,T,8,8] holds; 0 is none."""
    return [int(value) for value in x.reshape(-1, *x.shape[-4:])[0, 0, :, 0, 0]]


@pytest.fixture(scope="module")
def batches() -> Batches:
    return Batches(numbered(200), replace(Mix(), history_noise=0.0), 4, 0)


# Examples


def test_clips_follow_from_the_seed_and_keep_clear_of_evaluations() -> None:
    assert clip_data.specs(50, 0.25, 3) == clip_data.specs(50, 0.25, 3)
    assert clip_data.specs(50, 0.25, 3) != clip_data.specs(50, 0.25, 4)
    assert all(spec.seed < 10**8 for spec in clip_data.specs(50, 0.25, 3))


def test_the_event_falls_on_the_first_frame_of_a_section() -> None:
    for spec in clip_data.specs(100, 0.25, 0):
        section = plan_sections("f1", clip_data.SECTIONS[spec.window], spec.window)[spec.switch]
        assert spec.switch_frame in (None, section.frames[0])
        assert spec.frames == plan_sections("f1", clip_data.SECTIONS[spec.window], spec.window)[-1].frames[1]


def test_cells_of_a_subject_hold_its_position_and_lie_near_it() -> None:
    clip = world.make_clip(3, 37, "disappear", 17)
    cells = clip_data.subject_cells(clip)
    assert cells.shape == (10, 8, 8)
    for frame, (x, y) in enumerate(clip.positions):
        latent = cells[(frame + 3) // 4]
        if not clip.presence[frame]:
            continue
        assert latent[int(y // 8), int(x // 8)]
        rows, columns = np.nonzero(latent)
        assert np.ptp(rows) <= 6 and np.ptp(columns) <= 6
    assert not cells[(np.arange(17, 37) + 3) // 4].any()


def test_loss_weights_average_to_one_and_ignore_subjects_in_pure_noise() -> None:
    subject = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    subject[:, :, 2:4, 2:4] = True
    weight = loss_weight(subject, torch.tensor([0.0, 1.0]), 6.0)
    assert weight.mean().item() == pytest.approx(1)
    assert (weight[0, 0, 0, 2, 2] / weight[0, 0, 0, 0, 0]).item() == pytest.approx(7)
    assert (weight[1, 0, 0, 2, 2] / weight[1, 0, 0, 0, 0]).item() == pytest.approx(1)


def test_the_mix_is_what_the_recipe_says(batches: Batches) -> None:
    found, mix = counted(batches, 4000), batches.mix
    assert found["real"] / 4000 == pytest.approx(mix.real, abs=0.02)
    assert found["caption_noise"] / 4000 == pytest.approx(mix.caption_noise, abs=0.02)
    assert found["after"] / 4000 == pytest.approx(mix.after, abs=0.02)


def test_every_kind_of_example_is_what_its_name_says(batches: Batches) -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        choice = batches.choose(rng, 9)
        spec = batches.data.specs[choice.clip]
        changes_here = spec.event != "none" and choice.section == spec.switch
        assert changes_here == (choice.kind == "real")
        if choice.kind == "after":
            assert choice.section > spec.switch
        text = batches.text_of(choice, rng)
        expected = "an empty sea at night" if choice.kind == "caption_noise" else "an empty sea by day"
        assert text in ("", expected)


@pytest.mark.parametrize(("window", "section"), [(9, 0), (9, 1), (9, 3), (5, 2), (5, 5)])
def test_an_example_shows_what_the_sampler_would_show(batches: Batches, window: int, section: int) -> None:
    clip = batches.by_window[window][0]
    target, past, start = batches.latents_of(Choice(clip, section, "normal"), window, False)
    plan = plan_sections("f1", section + 1, window)
    history = History(Direction.FORWARD, start[None])
    for earlier in plan[:-1]:
        first, last = earlier.latents
        history.append(batches.data.latents[clip, :, first:last].float()[None])
    context, expected = (
        pack(start, past=past, window=window, section=section, text_only=False),
        history.context(plan[-1]),
    )
    assert context.indices == expected.indices
    for name in ("clean", "clean_2x", "clean_4x"):
        assert torch.equal(getattr(context, name), getattr(expected, name))
    assert frames_in(target) == [index + 1 for index in range(*plan[-1].latents)]


def test_text_to_video_sees_neither_image_nor_past(batches: Batches) -> None:
    only_text = Batches(batches.data, replace(batches.mix, text_to_video=1.0), 4, 0)
    batch = only_text.of_step(3)
    assert batch.images is None
    clip = batches.by_window[9][0]
    _, past, start = batches.latents_of(Choice(clip, 2, "normal", begin=2), 9, True)
    context = pack(start, past=past, window=9, section=2, text_only=True)
    assert not any(sum(frames_in(tier)) for tier in (context.clean, context.clean_2x, context.clean_4x))


def test_a_step_has_the_same_batch_every_time(batches: Batches) -> None:
    a, b, *others = (batches.of_step(step) for step in (5, 5, 6, 7, 8, 9))
    assert torch.equal(a.tokens, b.tokens) and torch.equal(a.target, b.target)
    assert any(
        a.target.shape != other.target.shape or not torch.equal(a.target, other.target) for other in others
    )


def test_history_noise_spares_the_start_frame() -> None:
    noisy = Batches(numbered(50), replace(Mix(), history_noise=1.0, text_to_video=0.0), 8, 0)
    batch = noisy.of_step(1)
    starts = batch.context.clean[:, :, 0]
    assert torch.equal(starts, torch.ones_like(starts))
    history = torch.cat([batch.context.clean_2x, batch.context.clean_4x], dim=2)
    assert (history != history.round()).any()


def test_an_altered_scene_is_another_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = world.random_scene(rng)
        assert clip_data.altered(scene, rng) != scene


def test_texts_are_those_of_the_scene_at_the_beginning_of_a_section() -> None:
    spec = ClipSpec(11, 9, "night", 2)
    clip = spec.draw()
    texts = clip_data.texts_of(spec, clip)
    assert len(texts) == 4
    night = [clip.scene_at(1 + 36 * section).night for section in range(4)]
    assert night[0] == night[1] != night[2] == night[3]
    dark = [any(word in texts[section].own[0] for word in ("night", "dark")) for section in range(4)]
    assert dark == night


# Optimizer, codec, attention


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 24, 40), (3, 40, 24)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=generator)))
        assert values.min() > 0.5 and values.max() < 1.4


def test_settling_changes_the_latents_scale_and_not_the_codec() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(2)
        codec = TinyCodec().eval().requires_grad_(False)
    frames = torch.stack([torch.from_numpy(clip_data.short_clip(seed)) for seed in range(6)])
    video = clip_data.to_input(frames)
    before = codec.decode(codec.encode(video))
    settle(codec, frames, CPU_DEVICE)
    latents = codec.encode(video) * codec.latent_scale
    torch.testing.assert_close(latents.std((0, 2, 3, 4)), torch.ones(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(codec.decode(codec.encode(video)), before, atol=1e-4, rtol=0)


def test_the_preview_is_fitted_to_the_colours_of_blocks() -> None:
    codec = TinyCodec()
    frames = torch.stack([torch.from_numpy(clip_data.short_clip(seed)) for seed in range(6)])
    colours = torch.nn.functional.avg_pool3d(clip_data.to_input(frames)[:, :, 1:], (4, 8, 8))
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


# Runs


def test_a_run_that_broke_off_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    def trainer() -> Trainer:
        return Trainer(SMALL, Batches(numbered(30), Mix(), 2, 0), CPU_DEVICE)

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


def test_a_folder_is_for_one_run(tmp_path: Path) -> None:
    run = Run(recipe=SMALL, folder=tmp_path, device=CPU_DEVICE, progress=False)
    run_stages(run, ())
    run_stages(replace(run, recipe=replace(SMALL, steps=99)), ())
    with pytest.raises(ValueError, match="another recipe; give an --out of its own"):
        run_stages(replace(run, recipe=replace(SMALL, seed=5)), ("codec",))


def test_training_teaches(tmp_path: Path) -> None:
    trainer = Trainer(replace(SMALL, batch=8), Batches(numbered(30), Mix(), 8, 0), CPU_DEVICE)
    losses = [trainer.train_step(3e-3)["loss"] for _ in range(12)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


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
