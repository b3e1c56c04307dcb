"""Numbers recorded from upstream's FramePack code, and the rules that rebuild their weights and inputs.

The files lie in tests/fixtures/upstream; its README says how each one was made.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "fixtures" / "upstream"
GROUPS = ("dit", "sampler", "unipc", "sigmas", "tables")

# The model of every fixture; a fixture's settings["config"] holds what differs from it.
CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "rope_axes_dim": (8, 12, 12),
    "num_layers": 1,
    "num_single_layers": 2,
    "num_refiner_layers": 1,
    "text_embed_dim": 24,
    "pooled_projection_dim": 20,
    "image_proj_dim": 12,
    "has_image_proj": True,
    "has_clean_x_embedder": True,
}


@dataclass(frozen=True)
class Fixture:
    """One recorded case: what went in, what upstream gave, and the JSON that describes it."""

    name: str
    settings: dict[str, Any]
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    expected: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The model's configuration, diffusers field names."""
        return {**CONFIG, **self.settings.get("config", {})}


def normal(name: str, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    """Standard normal float64 numbers of `shape` that depend on `name` alone."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))


def parameter(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The float32 value of the parameter `name` (unprefixed diffusers name) of `shape`."""
    values = normal(name, shape)
    if name.endswith(".bias"):
        values = 0.02 * values
    elif len(shape) == 1:
        values = 1.0 + 0.1 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


@torch.no_grad()
def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Gives every parameter of `module` its fixture value, in place; returns the module."""
    for name, target in module.named_parameters():
        target.copy_(parameter(name, tuple(target.shape)))
    return module


def frequencies() -> torch.Tensor:
    """The 128 frequencies of the sinusoidal time embedding, float32, as the recording machine computed them."""
    return load_file(FOLDER / "sinusoid.safetensors")["frequencies"]


def names(group: str) -> list[str]:
    """Names of a group's cases, for `load`."""
    return [f"{group}/{case}" for case in _described(group)]


def load(name: str) -> Fixture:
    """The case `name`, written group/case.

    Raises KeyError for a name that was not recorded.
    """
    group, _, case = name.partition("/")
    if group not in GROUPS or case not in _described(group):
        known = [known for each in GROUPS for known in names(each)]
        raise KeyError(f"no upstream fixture {name!r}; there are {', '.join(known)}")
    settings = _described(group)[case]
    inputs = {key: _input(rule) for key, rule in settings.get("inputs", {}).items()}
    expected = {
        key.removeprefix(f"{case}."): value.clone()
        for key, value in _recorded(group).items()
        if key.startswith(f"{case}.")
    }
    return Fixture(name, settings, inputs, expected)


def _input(rule: dict[str, Any]) -> torch.Tensor:
    """A tensor from its JSON rule: {"normal": stream, "shape": ...} or {"values": ..., "dtype": ...}."""
    if "normal" in rule:
        return torch.from_numpy(normal(rule["normal"], rule["shape"]).astype(np.float32))
    return torch.tensor(rule["values"], dtype=getattr(torch, rule["dtype"]))


@cache
def _described(group: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{group}.json").read_text(encoding="utf-8"))


@cache
def _recorded(group: str) -> dict[str, torch.Tensor]:
    path = FOLDER / f"{group}.safetensors"
    return load_file(path) if path.exists() else {}
