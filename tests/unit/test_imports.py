"""What importing a part of the pack loads with it, and that ComfyUI still finds the nodes in the whole."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import framepack_transitions
import pytest

ROOT = Path(framepack_transitions.__file__).resolve().parent
HEAVY = {"torch", "av", "matplotlib", "open_clip", "torchvision"}


def loaded_by(statement: str) -> set[str]:
    """The modules that a new Python process holds after a statement; the pack's own without their first name."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.removeprefix("framepack_transitions.") for name in json.loads(answer.stdout)}


def load_file(name: str, path: Path) -> ModuleType:
    """Runs a file as the module `name`, as ComfyUI and other tools load a custom node."""
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.mark.parametrize(
    ("part", "not_loaded"),
    [
        ("framepack_transitions", HEAVY | {"nodes", "samplers", "models", "numpy"}),
        ("framepack_transitions.samplers.timeline.syntaxes.table", HEAVY | {"nodes", "models", "numpy"}),
        ("framepack_transitions.models.dit", {"nodes", "samplers", "av", "matplotlib", "torchvision"}),
        ("framepack_transitions.video.writing", {"nodes", "samplers", "models", "matplotlib"}),
    ],
)
def test_importing_a_part_loads_no_more_than_it_needs(part: str, not_loaded: set[str]) -> None:
    assert not loaded_by(f"import {part}") & not_loaded


def test_encoding_a_text_of_the_embedded_model_loads_no_more_of_open_clip_than_its_tokenizer() -> None:
    loaded = loaded_by(
        "from framepack_transitions.tiny.networks.text import token_ids; token_ids('a circle')"
    )
    assert not loaded & {"open_clip", "transformers", "torchvision"}


def test_comfyui_finds_the_nodes_where_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(ROOT).replace(".", "_x_")
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = load_file(name, ROOT / "__init__.py")
    # What load_custom_node of ComfyUI's nodes.py asks, in its order.
    assert hasattr(module, "WEB_DIRECTORY") and (ROOT / module.WEB_DIRECTORY).is_dir()
    assert hasattr(module, "NODE_CLASS_MAPPINGS") and "FramePackPromptTimeline" in module.NODE_CLASS_MAPPINGS
    assert hasattr(module, "NODE_DISPLAY_NAME_MAPPINGS")
    assert set(module.NODE_DISPLAY_NAME_MAPPINGS) == set(module.NODE_CLASS_MAPPINGS)
    assert {"NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"} <= set(dir(module))
    assert not hasattr(module, "comfy_entrypoint")


def test_outside_of_a_package_the_file_loads_without_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__init__", ModuleType("__init__"))
    module = load_file("__init__", ROOT / "__init__.py")
    assert (module.NODE_CLASS_MAPPINGS, module.NODE_DISPLAY_NAME_MAPPINGS) == ({}, {})


def test_a_fault_in_the_nodes_is_not_taken_for_a_pack_without_nodes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "__init__.py", tmp_path)
    (tmp_path / "nodes.py").write_text("import math\nmath.float8_e4m3fn\n", encoding="utf-8")
    pack = load_file("pack_with_a_fault", tmp_path / "__init__.py")
    with pytest.raises(ImportError, match="float8_e4m3fn"):
        hasattr(pack, "NODE_CLASS_MAPPINGS")
