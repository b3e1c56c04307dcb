"""`dataset build`, `prune` and `recycle`: from clips to the files that musubi-tuner reads, with their exact names."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.dataset.clips import frames_shown
from framepack_transitions.headless.files.media import probe_video, read_video
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.training.dataset import clip_cache, kind_cache, load_dataset
from framepack_transitions.training.errors.recycling import ErrorBank, load_bank, save_bank
from framepack_transitions.training.making.cuts import find_cuts
from framepack_transitions.training.musubi.latents import read_latents
from framepack_transitions.training.musubi.names import LatentName, read_name
from PIL import Image
from safetensors import safe_open

FRAMES = 130


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, training_cases: ModuleType) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    training_cases.write_clip(folder / "walk.mp4", FRAMES, cut=72)
    (folder / "walk.txt").write_text(training_cases.CAPTION, encoding="utf-8")
    return folder


def config(path: Path) -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML by itself")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_build_cuts_a_clip_at_its_change(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert main(["dataset", "build", str(clips), "--out", str(out), "--resolution", "32x32"]) == 0
    said = capsys.readouterr().out
    assert "2 examples of 1 clips" in said and "README.md" in said
    # The change is frame 72, so that the head of 35 frames goes: then one section ends before it and one begins with it.
    images, fps = read_video(out / "clips" / "walk.mp4")
    assert fps == 30 and len(images) == 73
    assert images[36, ..., 0].mean() > 0.9 and images[37, ..., 2].mean() > 0.9
    dataset = load_dataset(out)
    assert [(e.name, e.kind, e.caption, e.section, e.sections) for e in dataset.examples] == [
        ("walk__s0", "same", "a red field", 0, 2),
        ("walk__s1", "real", "a blue field", 1, 2),
    ]


def test_build_writes_what_musubi_tuner_reads(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert main(["dataset", "build", str(clips), "--out", str(out), "--shares", "real=.5,same=.5"]) == 0
    whole, trained = config(out / "clips.toml"), config(out / "train.toml")
    general = {"resolution": [640, 640], "batch_size": 1, "enable_bucket": True, "bucket_no_upscale": False}
    assert whole["general"] == trained["general"] == general
    shared = {"frame_extraction": "full", "max_frames": 73, "fp_latent_window_size": 9}
    (block,) = whole["datasets"]
    assert block == {
        "video_jsonl_file": (out / "clips.jsonl").as_posix(),
        "cache_directory": (out / "cache" / "clips").as_posix(),
        **shared,
    }
    assert [block.pop("num_repeats") for block in trained["datasets"]] == [1, 1]
    assert trained["datasets"] == [
        {
            "video_jsonl_file": (out / f"{kind}.jsonl").as_posix(),
            "cache_directory": (out / "cache" / kind).as_posix(),
            **shared,
        }
        for kind in ("real", "same")
    ]
    assert lines(out / "clips.jsonl") == [
        {"video_path": (out / "clips" / "walk.mp4").as_posix(), "caption": ""}
    ]
    assert lines(out / "real.jsonl") == [
        {"video_path": (out / "clips" / "walk__s1.mp4").as_posix(), "caption": "a blue field"}
    ]
    assert "--f1" in (out / "README.md").read_text(encoding="utf-8")


def test_other_frame_rates_become_30_frames_a_second(tmp_path: Path, training_cases: ModuleType) -> None:
    assert frames_shown([number / 15 for number in range(4)], 1 / 15) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert frames_shown([number / 60 for number in range(6)], 1 / 60) == [0, 2, 4]
    assert frames_shown([5.0, 5.1, 5.3], 0.1) == [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2]
    training_cases.write_clip(tmp_path / "slow.mp4", 65, cut=36, fps=15)
    (tmp_path / "slow.txt").write_text(training_cases.CAPTION, encoding="utf-8")
    assert main(["dataset", "build", str(tmp_path), "--out", str(tmp_path / "data")]) == 0
    info = probe_video(tmp_path / "data" / "clips" / "slow.mp4")
    assert (info.frames, info.fps) == (73, 30)


def test_a_clip_without_a_caption_gets_a_proposal_and_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training_cases: ModuleType
) -> None:
    training_cases.write_clip(tmp_path / "walk.mp4", 60, cut=24)
    out = tmp_path / "data"
    assert main(["dataset", "build", str(tmp_path), "--out", str(out)]) == 1
    assert "walk.mp4 has no caption walk.txt" in capsys.readouterr().err
    assert "[0.800s:" in (out / "proposals" / "walk.txt").read_text(encoding="utf-8")
    assert not (out / "dataset.json").exists()


def test_a_cut_is_a_large_step_among_small_ones() -> None:
    assert find_cuts([]) == []
    assert find_cuts([0.01, 0.012, 0.3, 0.01]) == [3]
    assert find_cuts([0.1] * 8) == [], "a picture that moves all the time is not cut all the time"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "CLIPS missing is no folder"),
        (["."], "The folder . holds no clips"),
        ([".", "--controls", "."], "--controls is for one-frame layouts"),
        ([".", "--layout", "kisekaeichi"], "needs --controls"),
    ],
)
def test_what_build_cannot_use_is_said(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dataset", "build", *arguments, "--out", "data"]) == 1
    assert message in capsys.readouterr().err


def test_a_path_that_musubi_tuner_takes_for_a_pattern_is_refused(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "build", str(clips), "--out", str(tmp_path / "data [1]")]) == 1
    assert "a pattern" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layout", "controls", "block"),
    [
        (
            "one_frame",
            ["hat.png"],
            {"fp_1f_clean_indices": [0], "fp_1f_target_index": 9, "fp_1f_no_post": False},
        ),
        (
            "kisekaeichi",
            ["hat_0.png", "hat_1.png"],
            {"fp_1f_clean_indices": [0, 10], "fp_1f_target_index": 1, "fp_1f_no_post": True},
        ),
        (
            "1f_mc",
            ["hat_0.png", "hat_1.png"],
            {"fp_1f_clean_indices": [0, 1], "fp_1f_target_index": 9, "fp_1f_no_post": False},
        ),
    ],
)
def test_one_frame_training_has_its_controls_and_indices(
    layout: str, controls: list[str], block: dict, tmp_path: Path
) -> None:
    pictures, others, out = tmp_path / "pictures", tmp_path / "controls", tmp_path / "data"
    for path in (pictures / "hat.png", *(others / name for name in controls)):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(path)
    (pictures / "hat.txt").write_text("a man with a hat", encoding="utf-8")
    arguments = ["--layout", layout, "--controls", str(others), "--out", str(out)]
    assert main(["dataset", "build", str(pictures), *arguments]) == 0
    (written,) = config(out / "train.toml")["datasets"]
    assert {key: written[key] for key in block} == block
    assert lines(out / "images.jsonl") == [
        {
            "image_path": (pictures / "hat.png").as_posix(),
            **{f"control_path_{n}": (others / name).as_posix() for n, name in enumerate(controls)},
            "caption": "a man with a hat",
        }
    ]
    page = (out / "README.md").read_text(encoding="utf-8")
    assert ("--one_frame_no_2x --one_frame_no_4x" in page) == (layout != "one_frame") and "--f1" not in page


def test_names_say_what_musubi_tuner_reads_from_them() -> None:
    # As musubi-tuner wrote them: item, first frame, frames and section, size.
    video = "a_walk__s2_00000-145-0002_1280x0720_fp.safetensors"
    name = LatentName(item="a_walk__s2", size=(1280, 720), frames=145, section=2)
    assert name.file() == video and read_name(Path(video)) == name
    image = "hat_0512x0768_fp.safetensors"
    assert read_name(Path(image)) == LatentName(item="hat", size=(512, 768))
    assert LatentName(item="hat", size=(512, 768)).file() == image
    assert read_name(Path("hat_fp_te.safetensors")) is None


def test_caches_hold_musubi_tuners_keys_shapes_and_indices(
    tmp_path: Path, training_cases: ModuleType
) -> None:
    training_cases.make_dataset(tmp_path)
    latents = tmp_path / "cache" / "real" / "walk__s2_00000-049-0002_0016x0016_fp.safetensors"
    with safe_open(latents, "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
        indices = {key: file.get_tensor(key).tolist() for key in file.keys() if key.endswith("_int64")}
        facts = file.metadata()
    assert shapes == {
        "latents_3x2x2_float16": (16, 3, 2, 2),
        "latents_clean_3x2x2_float16": (16, 2, 2, 2),
        "latents_clean_2x_3x2x2_float16": (16, 2, 2, 2),
        "latents_clean_4x_3x2x2_float16": (16, 16, 2, 2),
        "image_embeddings_float16": (4, 6),
        "latent_indices_int64": (3,),
        "clean_latent_indices_int64": (2,),
        "clean_latent_2x_indices_int64": (2,),
        "clean_latent_4x_indices_int64": (16,),
    }
    assert indices == {
        "latent_indices_int64": [20, 21, 22],
        "clean_latent_indices_int64": [0, 19],
        "clean_latent_2x_indices_int64": [17, 18],
        "clean_latent_4x_indices_int64": list(range(1, 17)),
    }
    assert facts == {
        "architecture": "framepack",
        "format_version": "1.0.1",
        "width": "16",
        "height": "16",
        "frame_count": "49",
    }
    with safe_open(tmp_path / "cache" / "real" / "walk__s2_fp_te.safetensors", "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
        mask, facts = file.get_tensor("llama_attention_mask"), file.metadata()
    assert shapes == {
        "llama_vec_float16": (512, 8),
        "llama_attention_mask": (512,),
        "clip_l_pooler_float16": (3,),
    }
    assert mask.dtype == torch.bool and mask.tolist() == [True] * 5 + [False] * 507
    assert facts == {"architecture": "framepack", "format_version": "1.0.1", "caption1": "a blue field"}


def _uncache(root: Path) -> None:
    """Lays the latents where musubi-tuner writes those of whole clips, all sections of walk under its own name."""
    clip_cache(root).mkdir(parents=True)
    for kind in ("real", "after", "same"):
        for file in kind_cache(root, kind).glob("*_fp.safetensors"):
            name = read_name(file)
            file.rename(clip_cache(root) / file.name.replace(name.item, "walk"))


def test_prune_gives_sections_their_names_and_removes_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training_cases: ModuleType
) -> None:
    dataset = training_cases.make_dataset(tmp_path)
    before = {example.name: example.kind for example in dataset.examples}
    assert before == {"walk__s0": "same", "walk__s1": "same", "walk__s2": "real", "walk__s3": "after"}
    _uncache(tmp_path)
    stranger = clip_cache(tmp_path) / "walk_00000-049-0009_0016x0016_fp.safetensors"
    stranger.write_bytes((clip_cache(tmp_path) / "walk_00000-049-0001_0016x0016_fp.safetensors").read_bytes())
    assert main(["dataset", "prune", str(tmp_path)]) == 0
    assert "4 examples have got their latents, 0 had them, 1 files were removed" in capsys.readouterr().out
    assert not list(clip_cache(tmp_path).iterdir())
    for name, kind in before.items():
        assert len(list(kind_cache(tmp_path, kind).glob(f"{name}_00000-049-*_fp.safetensors"))) == 1
    assert main(["dataset", "prune", str(tmp_path), "--shares", "real=1"]) == 0
    assert "0 examples have got their latents, 4 had them, 0 files" in capsys.readouterr().out
    assert [block["cache_directory"] for block in config(tmp_path / "train.toml")["datasets"]] == [
        (tmp_path / "cache" / "real").as_posix()
    ]


def test_prune_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training_cases: ModuleType
) -> None:
    training_cases.make_dataset(tmp_path)
    next(kind_cache(tmp_path, "real").glob("*_fp.safetensors")).unlink()
    assert main(["dataset", "prune", str(tmp_path)]) == 0
    assert "1 examples have no latents yet: walk__s2" in capsys.readouterr().out


def _bank(tmp_path: Path, size: int = 2) -> Path:
    file = tmp_path / "bank.safetensors"
    save_bank(file, ErrorBank(torch.full((3, 16, size, size), 0.5), torch.tensor([0.1, 0.2, 0.3])))
    return file


def test_recycled_copies_have_errors_in_what_is_remembered_alone(
    tmp_path: Path, training_cases: ModuleType
) -> None:
    training_cases.make_dataset(tmp_path)
    bank = _bank(tmp_path)
    assert load_bank(bank).errors.shape == (3, 16, 2, 2)
    arguments = ["dataset", "recycle", str(tmp_path), "--bank", str(bank), "--share", "1"]
    assert main(arguments) == 0
    copies = {e.name: e for e in load_dataset(tmp_path).examples if e.copy_of}
    # The first section remembers its start frame and zeros, to which nothing is added.
    assert set(copies) == {"walk__s1_r1", "walk__s2_r1", "walk__s3_r1"}
    folder = kind_cache(tmp_path, "real")
    one, other = (
        read_latents(folder / f"{name}_00000-049-0002_0016x0016_fp.safetensors", Direction.FORWARD)
        for name in ("walk__s2", "walk__s2_r1")
    )
    assert torch.equal(one.target, other.target)
    assert torch.equal(one.context.image_embeds, other.context.image_embeds)
    change = other.context.clean - one.context.clean
    assert torch.equal(change[:, :, 0], torch.zeros(1, 16, 2, 2))
    assert torch.allclose(change[:, :, 1], torch.full((1, 16, 2, 2), 0.5), atol=2e-3)
    assert torch.allclose(other.context.clean_2x - one.context.clean_2x, torch.tensor(0.5), atol=2e-3)
    assert not (other.context.clean_4x[:, :, :13] - one.context.clean_4x[:, :, :13]).any()
    assert (folder / "walk__s2_r1_fp_te.safetensors").is_file()
    listed = [Path(item["video_path"]).stem for item in lines(tmp_path / "real.jsonl")]
    assert listed == ["walk__s2", "walk__s2_r1"]
    assert main(arguments) == 0, "again"
    assert len(load_dataset(tmp_path).examples) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--share", "0"], "share is 0"),
        (["--copies", "99"], "copies is 99"),
        (["--bank", "missing"], "missing does not exist"),
    ],
)
def test_what_recycle_cannot_use_is_said(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    training_cases: ModuleType,
) -> None:
    training_cases.make_dataset(tmp_path)
    bank = _bank(tmp_path)
    assert main(["dataset", "recycle", str(tmp_path), "--bank", str(bank), *arguments]) == 1
    assert message in capsys.readouterr().err.casefold()


def test_a_bank_of_another_size_is_refused_before_anything_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training_cases: ModuleType
) -> None:
    training_cases.make_dataset(tmp_path)
    bank = _bank(tmp_path, size=4)
    assert main(["dataset", "recycle", str(tmp_path), "--bank", str(bank)]) == 1
    assert "errors are for pictures of 32x32, the examples have 16x16" in capsys.readouterr().err
    assert len(load_dataset(tmp_path).examples) == 4
