"""musubi-tuner itself, on the CPU, reads what the pack writes for it and writes what the pack writes.

It needs a checkout of kohya-ss/musubi-tuner and what its reading of datasets imports (toml, voluptuous, opencv, accelerate).
"""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import nullcontext
from multiprocessing import Value
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files.lora import convert, parameter_shapes
from framepack_transitions.models.files.lora_file import read_lora_file
from framepack_transitions.training.checking.check import check
from framepack_transitions.training.dataset import load_dataset
from framepack_transitions.training.making.sections import section_caches
from framepack_transitions.training.musubi.latents import write_latents
from framepack_transitions.training.musubi.names import LatentName
from framepack_transitions.training.one_frame import CONTROLS, layout_named
from PIL import Image
from safetensors.torch import load_file

MUSUBI = os.environ.get("MUSUBI_PATH")
pytestmark = pytest.mark.skipif(not MUSUBI, reason="MUSUBI_PATH names no checkout of kohya-ss/musubi-tuner")


@pytest.fixture(scope="module")
def musubi() -> Iterator[Any]:
    """Imports modules of musubi-tuner by their names inside it."""
    sys.path.insert(0, str(Path(MUSUBI, "src")))

    def load(name: str) -> ModuleType:
        try:
            return importlib.import_module(f"musubi_tuner.{name}")
        except ModuleNotFoundError as error:
            pytest.skip(f"musubi-tuner needs {error.name}, which is not installed")

    yield load
    sys.path.remove(str(Path(MUSUBI, "src")))


def group(musubi: Any, config: Path, *, training: bool) -> Any:
    """A configuration read as musubi-tuner's commands read it."""
    reader = musubi("dataset.config_utils")
    generator = reader.BlueprintGenerator(reader.ConfigSanitizer())
    blueprint = generator.generate(reader.load_user_config(str(config)), Namespace(), architecture="fp")
    return reader.generate_dataset_group_by_blueprint(
        blueprint.dataset_group, training=training, shared_epoch=Value("i", 0) if training else None
    )


def some_latents(frames: int, size: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(1, 16, frames, size, size, generator=generator).half().float()


TOKENS = torch.arange(8.0).view(1, 2, 4)


@pytest.fixture
def fake_encoders(musubi: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, Any]:
    """musubi-tuner's own caching with encoders that give known tensors: of any clip the same latents for its length."""
    caching = musubi("fpack_cache_latents")

    def encode(contents: torch.Tensor, vae: Any) -> torch.Tensor:
        return some_latents((contents.shape[2] - 1) // 4 + 1).half()

    def see(image: Any, extractor: Any, encoder: Any) -> Any:
        return SimpleNamespace(last_hidden_state=TOKENS)

    monkeypatch.setattr(caching.hunyuan, "vae_encode", encode)
    monkeypatch.setattr(caching, "hf_clip_vision_encode", see)
    return caching, SimpleNamespace(device="cpu", dtype=torch.float32)


def cache_all(musubi: Any, fakes: tuple[ModuleType, Any], config: Path, **options: Any) -> None:
    caching, vae = fakes
    for dataset in group(musubi, config, training=False).datasets:
        for _, batch in dataset.retrieve_latent_cache_batches(1):
            caching.encode_and_save_batch(vae, None, None, batch, **options)


@pytest.fixture
def built(tmp_path: Path, training_cases: ModuleType) -> Any:
    def build(layout: str) -> Path:
        clips = tmp_path / "clips"
        clips.mkdir()
        training_cases.write_clip(clips / "a_walk.mp4", 260, cut=108)
        (clips / "a_walk.txt").write_text("a red field [3.6s: a blue field]", encoding="utf-8")
        arguments = ["--layout", layout, "--out", str(tmp_path / "data"), "--resolution", "32x32"]
        assert main(["dataset", "build", str(clips), *arguments]) == 0
        return tmp_path / "data"

    return build


def encode_captions(musubi: Any, root: Path) -> None:
    """musubi-tuner's own loop over captions, and its own writing of what an encoder gives."""
    loop, io = musubi("cache_text_encoder_outputs"), musubi("dataset.cache_io")
    pad = musubi("frame_pack.utils").crop_or_pad_yield_mask

    def encode(batch: list[Any]) -> None:
        for item in batch:
            states, mask = pad(torch.ones(1, 5, 8).half(), length=512)
            io.save_text_encoder_output_cache_framepack(item, states[0], mask[0], torch.ones(3).half())

    datasets = group(musubi, root / "train.toml", training=False).datasets
    files, paths = loop.prepare_cache_files_and_paths(datasets)
    loop.process_text_encoder_batches(1, False, None, datasets, files, paths, encode)
    loop.post_process_cache_files(datasets, files, paths, False)


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_clips_become_examples_through_musubi_tuners_own_commands(
    layout: str, built: Any, musubi: Any, fake_encoders: Any
) -> None:
    root = built(layout)
    cache_all(musubi, fake_encoders, root / "clips.toml", vanilla_sampling=layout == "f1")
    assert main(["dataset", "prune", str(root)]) == 0
    encode_captions(musubi, root)
    dataset = load_dataset(root)
    assert [finding for finding in check(dataset, root) if finding.level == "error"] == []
    trained = group(musubi, root / "train.toml", training=True)
    counts = [len(part) for part in trained.datasets]
    kinds = [part.cache_directory.split("/")[-1] for part in trained.datasets]
    repeats = [part.num_repeats for part in trained.datasets]
    assert counts == [times * len(dataset.of_kind(kind)) for kind, times in zip(kinds, repeats)]
    captions = {example.name: example.caption for example in dataset.examples}
    for part in trained.datasets:
        for bucket in part.batch_manager.buckets.values():
            for item in bucket:
                assert item.item_key in captions
        assert part[0]["llama_vec"].shape == (1, 512, 8)


@pytest.mark.parametrize(("layout", "sections"), [("f1", 1), ("f1", 4), ("original", 2), ("original", 6)])
def test_the_packs_caches_are_those_of_musubi_tuner_bit_for_bit(
    layout: str, sections: int, musubi: Any, fake_encoders: Any, tmp_path: Path
) -> None:
    caching, vae = fake_encoders
    frames = 36 * sections + 1
    item = musubi("dataset.image_video_dataset").ItemInfo(
        f"walk_00000-{frames:03d}.mp4", "", (32, 32), (32, 32), frame_count=frames
    )
    item.content = torch.zeros(frames, 32, 32, 3).numpy()
    item.fp_latent_window_size = 9
    item.latent_cache_path = str(tmp_path / f"walk_00000-{frames:03d}_0032x0032_fp.safetensors")
    caching.encode_and_save_batch(vae, None, None, [item], vanilla_sampling=layout == "f1")
    caches = section_caches(some_latents(9 * sections + 1), TOKENS, layout, 9)
    for section, cache in enumerate(caches):
        name = LatentName(item="walk", size=(32, 32), frames=frames, section=section)
        own = tmp_path / "own" / name.file()
        write_latents(own, cache, name)
        theirs, ours = load_file(tmp_path / own.name), load_file(own)
        half = {key.replace("float32", "float16"): tensor for key, tensor in theirs.items()}
        assert half.keys() == ours.keys()
        assert all(torch.equal(half[key].to(ours[key].dtype), ours[key]) for key in ours)


@pytest.mark.parametrize("layout", ["one_frame", "kisekaeichi", "1f_mc"])
def test_one_frame_examples_go_through_musubi_tuners_own_commands(
    layout: str, musubi: Any, fake_encoders: Any, tmp_path: Path
) -> None:
    pictures, controls, root = tmp_path / "pictures", tmp_path / "controls", tmp_path / "data"
    count = CONTROLS[layout]
    for path in (pictures / "hat.png", *(controls / f"hat_{number}.png" for number in range(count))):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(path)
    (pictures / "hat.txt").write_text("a hat", encoding="utf-8")
    arguments = ["--layout", layout, "--controls", str(controls), "--out", str(root), "--resolution", "32x32"]
    assert main(["dataset", "build", str(pictures), *arguments]) == 0
    places = layout_named(layout, 9)
    options = {
        "one_frame": True,
        "one_frame_no_2x": not places.history_2x,
        "one_frame_no_4x": not places.history_4x,
    }
    cache_all(musubi, fake_encoders, root / "train.toml", **options)
    encode_captions(musubi, root)
    assert [finding.line() for finding in check(load_dataset(root), root)] == []
    (part,) = group(musubi, root / "train.toml", training=True).datasets
    batch = part[0]
    assert batch["latent_indices"].tolist() == [list(places.indices(count).target)]
    assert batch["clean_latent_indices"].tolist() == [list(places.indices(count).clean)]


def test_a_training_step_takes_the_packs_caches_and_its_lora_loads(
    training_cases: ModuleType,
    dit_cases: ModuleType,
    musubi: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)  # asked for when the trainer is imported
    training_cases.make_dataset(tmp_path)
    batch = group(musubi, tmp_path / "train.toml", training=True).datasets[0][0]
    whole = {
        key: value.float() if value.is_floating_point() else value
        for key, value in batch.items()
        if value is not None
    }
    sizes = {**dit_cases.SMALL, "text_embed_dim": 8, "pooled_projection_dim": 3, "image_proj_dim": 6}
    packed = musubi("frame_pack.hunyuan_video_packed").HunyuanVideoTransformer3DModelPacked(
        **sizes, attn_mode="torch"
    )
    network = musubi("networks.lora_framepack").create_arch_network(1.0, 4, 4.0, None, [], packed)
    network.apply_to([], packed, False, True)
    latents, noise = whole["latents"], torch.randn_like(whole["latents"])
    answer = (
        musubi("fpack_train_network")
        .FramePackNetworkTrainer()
        .call_dit(
            Namespace(guidance_scale=1.0),
            SimpleNamespace(device=torch.device("cpu"), autocast=nullcontext),
            packed,
            latents,
            whole,
            noise,
            0.5 * latents + 0.5 * noise,
            torch.tensor([500.0]),
            torch.float32,
        )
    )
    loss = (answer.pred - answer.target).square().mean()
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.any() for p in network.parameters())

    network.save_weights(str(tmp_path / "lora.safetensors"), torch.float32, {})
    tensors, _ = read_lora_file(tmp_path / "lora.safetensors")
    lora = convert(tensors, parameter_shapes(FramePackDiT(FramePackConfig(**sizes))))
    assert not lora.unmatched and lora.matched == len(tensors)
