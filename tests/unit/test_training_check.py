"""`dataset check` finds every contradiction that is planted, and none in a dataset that is whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.training.checking.check import check
from framepack_transitions.training.dataset import Dataset, kind_cache, load_dataset, save_dataset
from framepack_transitions.training.musubi.latents import LatentCache, read_latents, write_latents
from framepack_transitions.training.musubi.names import read_name
from framepack_transitions.training.musubi.texts import read_text, write_text
from safetensors.torch import load_file, save_file

REAL = "walk__s2_00000-049-0002_0016x0016_fp.safetensors"


def edited(
    root: Path, change: Callable[[LatentCache], LatentCache], file: str = REAL, kind: str = "real"
) -> None:
    """Writes a cache anew with a change."""
    path = kind_cache(root, kind) / file
    write_latents(path, change(read_latents(path, Direction.FORWARD)), read_name(path))


def relabelled(root: Path, dataset: Dataset, name: str, **changes: str) -> None:
    examples = tuple(replace(e, **changes) if e.name == name else e for e in dataset.examples)
    save_dataset(replace(dataset, examples=examples), root)


def findings(root: Path) -> list[str]:
    return [finding.line() for finding in check(load_dataset(root), root)]


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_a_whole_dataset_has_no_findings(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], training_cases: ModuleType
) -> None:
    training_cases.make_dataset(tmp_path, layout)
    assert main(["dataset", "check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "no contradictions" in said
    listed = (tmp_path / "check.txt").read_text(encoding="utf-8")
    assert all(f"walk__s{number}: " in listed for number in range(4))
    assert ("walk__s2: real, section 3 of 4 of walk: a blue field" in listed) == (layout == "f1")


def no_latents(root: Path, dataset: Dataset) -> None:
    (kind_cache(root, "real") / REAL).unlink()


def no_text(root: Path, dataset: Dataset) -> None:
    (kind_cache(root, "real") / "walk__s2_fp_te.safetensors").unlink()


def other_text(root: Path, dataset: Dataset) -> None:
    path = kind_cache(root, "real") / "walk__s2_fp_te.safetensors"
    write_text(path, replace(read_text(path), caption="a red field"))


def damaged(root: Path, dataset: Dataset) -> None:
    path = kind_cache(root, "real") / REAL
    path.write_bytes(path.read_bytes()[:200])


def other_layout(root: Path, dataset: Dataset) -> None:
    save_dataset(replace(dataset, layout="original"), root)


def other_window(root: Path, dataset: Dataset) -> None:
    save_dataset(replace(dataset, window=5), root)


def stranger(root: Path, dataset: Dataset) -> None:
    path = kind_cache(root, "real") / REAL
    path.with_name(REAL.replace("walk", "run")).write_bytes(path.read_bytes())


def cached_twice(root: Path, dataset: Dataset) -> None:
    path = kind_cache(root, "real") / REAL
    path.with_name(REAL.replace("0016x0016", "0032x0032")).write_bytes(path.read_bytes())


def empty_target(root: Path, dataset: Dataset) -> None:
    edited(root, lambda cache: replace(cache, target=torch.zeros_like(cache.target)))


def short_tier(root: Path, dataset: Dataset) -> None:
    edited(
        root,
        lambda cache: replace(
            cache, context=replace(cache.context, clean_2x=cache.context.clean_2x[:, :, :1])
        ),
    )


def other_start(root: Path, dataset: Dataset) -> None:
    def moved(cache: LatentCache) -> LatentCache:
        clean = cache.context.clean.clone()
        clean[:, :, 0] += 1
        return replace(cache, context=replace(cache.context, clean=clean))

    edited(root, moved)


def late_caption(root: Path, dataset: Dataset) -> None:
    """The label says that the scene changes, but the picture stays: the caption noise that teaches to ignore prompts."""

    def still(cache: LatentCache) -> LatentCache:
        last = cache.context.clean[:, :, 1:]
        return replace(cache, target=last + 1e-3 * torch.arange(3).view(1, 1, 3, 1, 1))

    edited(root, still)


def hidden_cut(root: Path, dataset: Dataset) -> None:
    def cut(cache: LatentCache) -> LatentCache:
        target = cache.target.clone()
        target[:, :, 2:] += 1.5
        return replace(cache, target=target)

    edited(root, cut, "walk__s3_00000-049-0003_0016x0016_fp.safetensors", "after")


def late_time(root: Path, dataset: Dataset) -> None:
    """The section begins with the old scene, which its caption does not name."""

    def late(cache: LatentCache) -> LatentCache:
        target = cache.target.clone()
        target[:, :, :2] = cache.context.clean[:, :, 1:]
        return replace(cache, target=target)

    edited(root, late)


def same_caption(root: Path, dataset: Dataset) -> None:
    examples = tuple(replace(example, caption="a field") for example in dataset.examples)
    save_dataset(replace(dataset, examples=examples), root)


def two_captions(root: Path, dataset: Dataset) -> None:
    first = dataset.examples[0]
    twin = replace(first, name="twin", caption="a green field")
    save_dataset(replace(dataset, examples=(*dataset.examples, twin)), root)


def same_name(root: Path, dataset: Dataset) -> None:
    save_dataset(replace(dataset, examples=(*dataset.examples, dataset.examples[0])), root)


def no_caption(root: Path, dataset: Dataset) -> None:
    relabelled(root, dataset, "walk__s2", caption=" ")


def no_switches(root: Path, dataset: Dataset) -> None:
    kept = tuple(example for example in dataset.examples if example.kind != "real")
    save_dataset(replace(dataset, examples=kept), root)


def moved_away(root: Path, dataset: Dataset) -> None:
    config = root / "train.toml"
    config.write_text(
        config.read_text(encoding="utf-8").replace(root.as_posix(), "/elsewhere"), encoding="utf-8"
    )


def no_configuration(root: Path, dataset: Dataset) -> None:
    (root / "train.toml").unlink()


PLANTED = {
    no_latents: "its latents are not cached",
    no_text: "its caption is not encoded",
    other_text: "'a red field' is encoded, but its caption is 'a blue field'",
    damaged: "cannot be read",
    other_layout: "layout original has",
    other_window: "its target indices are 20-22, layout f1 has 20-24 there",
    stranger: "the dataset does not have it, but training takes it",
    cached_twice: "it has 2 latent caches",
    empty_target: "its target is all zeros",
    short_tier: "its 2x tier has 1 latent frames but 2 indices",
    other_start: "its start frame is another one",
    late_caption: "its picture changes no more",
    hidden_cut: "a cut lies inside of it",
    late_time: "its picture jumps 2 latent frames away from the change of the prompt",
    same_caption: "every section of its clip has the same caption",
    two_captions: "the same section has the captions",
    same_name: "2 examples have this name",
    no_caption: "its caption is empty",
    no_switches: "there are no such examples",
    moved_away: "it names another folder",
    no_configuration: "it is missing",
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_contradiction_is_found(
    plant: Callable[[Path, Dataset], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    training_cases: ModuleType,
) -> None:
    plant(tmp_path, training_cases.make_dataset(tmp_path))
    found = findings(tmp_path)
    assert any(PLANTED[plant] in line for line in found), found
    spoils = any(line.startswith("error") for line in found)
    assert main(["dataset", "check", str(tmp_path)]) == int(spoils)
    captured = capsys.readouterr()
    assert PLANTED[plant] in captured.out + captured.err


def test_values_that_are_not_finite_are_neither_written_nor_overlooked(
    tmp_path: Path, training_cases: ModuleType
) -> None:
    training_cases.make_dataset(tmp_path)
    bad = torch.full((1, 16, 3, 2, 2), float("nan"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        edited(tmp_path, lambda cache: replace(cache, target=bad))
    path = kind_cache(tmp_path, "real") / REAL
    tensors = load_file(path)
    tensors["latents_3x2x2_float16"][:] = float("inf")
    save_file(tensors, path, {"architecture": "framepack"})
    assert any("its target holds NaN or infinite values" in line for line in findings(tmp_path))


def test_a_cache_of_other_dimensions_is_said(tmp_path: Path, training_cases: ModuleType) -> None:
    training_cases.make_dataset(tmp_path)
    path = kind_cache(tmp_path, "real") / REAL
    tensors = load_file(path)
    tensors["latents_3x2x2_float16"] = tensors["latents_3x2x2_float16"][0]
    save_file(tensors, path, {"architecture": "framepack"})
    assert any("expected 4 dimensions" in line for line in findings(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../../away"}, "cannot be used for files"),
        ({"clip": "a/b"}, "cannot be used for files"),
        ({"kind": "../same"}, "choose one of"),
        ({"section": 4}, "counted from 0"),
    ],
)
def test_a_dataset_cannot_name_files_elsewhere(
    changes: dict[str, object], message: str, tmp_path: Path, training_cases: ModuleType
) -> None:
    training_cases.make_dataset(tmp_path)
    file = tmp_path / "dataset.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["examples"][0].update(changes)
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no dataset.json"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"version": 9}', "is damaged"),
    ],
)
def test_a_folder_that_is_no_dataset_is_said(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    for command in ("check", "prune"):
        assert main(["dataset", command, str(tmp_path)]) == 1
        assert message in capsys.readouterr().err
