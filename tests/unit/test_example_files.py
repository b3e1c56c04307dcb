"""ComfyUI finds the files that the examples load: pictures in its input folder, in which nothing else is touched, and a LoRA."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from framepack_transitions.nodes.example_files import SHIPPED, copy_example_files, offer_example_files

LORA = "framepack_transitions_tiny_lora.safetensors"
COPIED = sorted(file.name for file in SHIPPED.iterdir() if file.name != LORA)


def test_pictures_and_video_of_the_examples_are_copied_once(tmp_path: Path) -> None:
    target = tmp_path / "input"
    assert copy_example_files(target) == COPIED
    assert {file.name: file.read_bytes() for file in target.iterdir()} == {
        name: (SHIPPED / name).read_bytes() for name in COPIED
    }
    assert copy_example_files(target) == []


def test_no_name_can_meet_a_file_of_the_user(tmp_path: Path) -> None:
    assert all(file.name.startswith("framepack_transitions_") for file in SHIPPED.iterdir())
    mine = tmp_path / "framepack_transitions_start.png"
    mine.write_bytes(b"mine")
    assert mine.name not in copy_example_files(tmp_path)
    assert mine.read_bytes() == b"mine"


def test_an_input_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "input").write_text("a file in the folder's place")
    with caplog.at_level(logging.WARNING):
        assert copy_example_files(tmp_path / "input") == []
    assert "copy them from" in caplog.text


def test_inside_comfyui_the_files_come_with_the_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import framepack_transitions

    folders: list[tuple[str, str]] = []
    folder_paths = SimpleNamespace(
        get_input_directory=lambda: str(tmp_path),
        add_model_folder_path=lambda kind, folder: folders.append((kind, folder)),
    )
    monkeypatch.setitem(sys.modules, "folder_paths", folder_paths)  # type: ignore[arg-type]
    framepack_transitions._nodes.cache_clear()
    assert framepack_transitions.NODE_CLASS_MAPPINGS
    assert not folders and not list(tmp_path.iterdir()), "the command line leaves ComfyUI's folders alone"
    monkeypatch.setitem(sys.modules, "comfy.model_patcher", ModuleType("comfy.model_patcher"))
    framepack_transitions._nodes.cache_clear()
    assert framepack_transitions.NODE_CLASS_MAPPINGS
    assert sorted(file.name for file in tmp_path.iterdir()) == COPIED
    assert folders == [("loras", str(SHIPPED))] and (SHIPPED / LORA).is_file()
    offer_example_files()
