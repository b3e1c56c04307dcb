"""Finished sections on the command line: a run keeps them below --out and goes on from there; `sections` shows and removes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.samplers.store.digest import digest
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.store.record import Record

EXAMPLE = Path(__file__).parents[2] / "example_workflows" / "api" / "tiny_f1.json"


def run(out: Path, *settings: str) -> list[bool]:
    """Which sections a run of the tiny example took from an earlier one."""
    given = ["Sampler.steps=1", "Sampler.seconds=2.4", *settings]
    options = [word for setting in given for word in ("--set", setting)]
    assert main(["run", str(EXAMPLE), "--out", str(out), *options]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return [section["reused"] for section in report["traces"][0]["trace"]["sections"]]


def test_a_run_below_the_same_out_takes_over_what_is_there(tmp_path: Path, capsys) -> None:
    assert run(tmp_path) == [False, False]
    kept = list((tmp_path / "sections").glob("*.safetensors"))
    assert len(kept) == 4, "two sections, and the two pieces of the video that were decoded"
    capsys.readouterr()
    assert run(tmp_path, "Sampler.section_seeds=2: 5") == [True, False]
    assert not (tmp_path / "previews").exists(), "nobody has asked for them"
    assert (
        "1 of 2 sections are there from an earlier run and are reused; 1 are sampled."
        in capsys.readouterr().out
    )


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    found = RecordFolder(tmp_path / "sections")
    with found.job() as store:
        for number in range(3):
            store.put(digest(number), Record(tensors={"latents": torch.zeros(250_000)}))
    return found


def test_what_is_there_is_shown(folder, capsys) -> None:
    assert main(["sections", str(folder.path)]) == 0
    assert f"{folder.path}: 3 records, 3.0 MB, last used between 2" in capsys.readouterr().out


def test_the_folder_of_a_run_leads_to_what_it_has_kept(folder, capsys) -> None:
    assert main(["sections", str(folder.path.parent), "--limit", "0.002"]) == 0
    shown = capsys.readouterr().out
    assert "Removed 2 records, 2.0 MB." in shown and f"{folder.path}: 1 record, 1.0 MB" in shown


def test_a_limit_removes_and_zero_empties(folder, capsys) -> None:
    assert main(["sections", str(folder.path), "--limit", "0.002"]) == 0
    assert "Removed 2 records, 2.0 MB." in capsys.readouterr().out and len(folder.entries()) == 1
    assert main(["sections", str(folder.path), "--limit", "0"]) == 0
    assert f"{folder.path}: 0 records, 0.0 MB." in capsys.readouterr().out
    assert not folder.entries()


def test_sections_of_a_running_job_stay(folder, capsys) -> None:
    with folder.job() as store:
        store.get(digest(1))
        main(["sections", str(folder.path), "--limit", "0"])
    assert "1 of them belong to runs that are going on, and stay." in capsys.readouterr().out
    assert [entry.key for entry in folder.entries()] == [digest(1)]


def test_another_folder_is_refused_in_a_sentence(tmp_path: Path, capsys) -> None:
    assert main(["sections", str(tmp_path / "nowhere")]) == 1
    assert "is no folder: give that of ComfyUI" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["sections", str(tmp_path), "--limit", "much"])
    assert "'much' is no number of gigabytes" in capsys.readouterr().err
