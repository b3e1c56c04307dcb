"""The folder of a training run: what it is for, its log, and checkpoints of tensors and a few plain values."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import world
from ..bundle import DIT_FILES
from ..source import source_digest
from .curve import read_log
from .recipe import DISTILLED_SLOPE, Recipe


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run: its recipe, folder and device; `minutes` bounds the transformer's training.

    `init` is a folder of weights that the export wrote: the run keeps their codec and begins from their transformer,
    text encoder and vision tower, from the transformer of the run's layout where the folder has both. `compiled` lets the transformer's blocks be compiled.
    """

    recipe: Recipe
    folder: Path
    device: torch.device
    minutes: float = float("inf")
    progress: bool = True
    evaluate_minutes: float = 10.0
    evaluate_episodes: int = 16
    init: Path | None = None
    compiled: bool = False

    @property
    def init_layout(self) -> str:
        """Which of the transformers in `init` the run begins from."""
        own = self.recipe.layout
        return own if self.init is not None and (self.init / DIT_FILES[own]).is_file() else "f1"

    def log(self, **facts: Any) -> None:
        """Add a line to the run's log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **facts}) + "\n")


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able facts; the file appears whole or not at all."""
    plain = {name: value.detach().clone().contiguous().cpu() for name, value in tensors.items()}
    write(path, plain, {"facts": json.dumps(facts)})


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with `prefix.` before their names."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix.`, without it."""
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }


def fill(module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Load a module's weights from under a prefix."""
    module.load_state_dict(under(prefix, tensors))


def metadata_of(run: Run) -> dict[str, str]:
    """How the weights were made, for their files."""
    steps = [entry["step"] for entry in read_log(run.folder / "log.jsonl") if entry["stage"] == "dit"]
    return {
        "made_by": "python -m framepack_transitions.tiny.train",
        "device": run.device.type,
        "steps_done": str(max(steps, default=0)),
        "recipe": json.dumps(asdict(run.recipe)),
        "guidance": f"distilled from v_u + (1 + {DISTILLED_SLOPE} g) (v_c - v_u), g from 1 to 20, fed as g * 1000",
        **({} if run.init is None else {"continues": json.dumps(metadata_in(run.init, run.init_layout))}),
    }


def metadata_in(weights: Path, layout: str = "f1") -> dict[str, str]:
    """How a layout's weights in a folder were made."""
    with safe_open(weights / DIT_FILES[layout], framework="pt") as file:
        return {name: value for name, value in file.metadata().items() if name != "format"}


def facts_of(run: Run) -> dict[str, Any]:
    """What a folder's finished stages depend on: the recipe but for its length, the weights it began from, the world."""
    recipe = {name: value for name, value in asdict(run.recipe).items() if name != "steps"}
    began = None if run.init is None else metadata_in(run.init, run.init_layout)
    facts: dict[str, Any] = json.loads(
        json.dumps({"recipe": recipe, "init": began, "world": source_digest(world)})
    )
    return facts


def check_folder(run: Run) -> None:
    """Note what a folder is for, or raise ValueError when it holds the stages of another run."""
    file, facts = run.folder / "run.json", facts_of(run)
    if not file.is_file():
        run.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return
    kept = json.loads(file.read_text(encoding="utf-8"))
    changed = [name for name in facts if facts[name] != kept.get(name)]
    if changed:
        raise ValueError(
            f"{run.folder} holds stages of a run with another {' and another '.join(changed)}; give an --out of its own."
        )
