"""FramePackDiT against numbers recorded from upstream's own class.

In float64, so that only the rounding of the recording itself is left, 3e-7; and in float32 within what rounding can
do to a float32 run.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.layers import embedders
from torch import Tensor

CASES = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "upstream" / "dit.json").read_text(encoding="utf-8")
)
ULP = 2.0**-23


def predict(upstream: ModuleType, case: str, dtype: torch.dtype = torch.float64, **config: bool) -> Tensor:
    """A model's output for a recorded case, computed in `dtype`."""
    fixture = upstream.load(f"dit/{case}")
    dit = upstream.fill(FramePackDiT(FramePackConfig(**{**fixture.config, **config}), dtype=dtype)).eval()
    return output_of(dit, fixture.inputs, fixture.settings)


def output_of(dit: FramePackDiT, inputs: dict[str, Tensor], settings: dict[str, Any]) -> Tensor:
    inputs = {
        name: value.to(dit.dtype) if value.is_floating_point() else value for name, value in inputs.items()
    }
    options = {"framepack_upstream_rounding": settings.get("upstream_rounding", False)}
    with torch.inference_mode():
        return dit(**inputs, transformer_options=options)


@pytest.mark.usefixtures("recorded_frequencies")
@pytest.mark.parametrize("case", CASES)
def test_output_is_upstreams(case: str, upstream: ModuleType, dit_cases: ModuleType) -> None:
    expected = upstream.load(f"dit/{case}").expected["output"]
    assert dit_cases.relative_error(predict(upstream, case), expected) <= 1e-6


@pytest.mark.usefixtures("recorded_frequencies")
def test_image_tokens_may_be_left_out_of_a_model_that_has_them(
    upstream: ModuleType, dit_cases: ModuleType
) -> None:
    expected = upstream.load("dit/no_image_projection").expected["output"]
    output = predict(upstream, "no_image_projection", has_image_proj=True)
    assert dit_cases.relative_error(output, expected) <= 1e-6


def nudged(value: Tensor, generator: torch.Generator) -> Tensor:
    """Every number up or down by one unit in its last float32 place."""
    return value * (1 + ULP * (2 * torch.randint(2, value.shape, generator=generator) - 1))


def test_float32_is_as_far_from_upstreams_as_its_last_place_explains(
    upstream: ModuleType, dit_cases: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one unit in the last place of all numbers does to the output is measured in float64.

    The recording and this run have each rounded that much, so they may differ by twice as much. Nearly all of it comes
    from the time embedding: guidance 10000 times a frequency whose last place is in doubt.
    """
    fixture = upstream.load("dit/all_tiers")
    output = predict(upstream, "all_tiers", torch.float32)

    def in_float64(seed: int | None) -> Tensor:
        generator = torch.Generator().manual_seed(seed or 0)
        move = (lambda value: value) if seed is None else (lambda value: nudged(value, generator))
        frequencies = move(upstream.frequencies().double())
        monkeypatch.setattr(embedders, "frequencies", lambda device: frequencies)
        dit = upstream.fill(FramePackDiT(FramePackConfig(**fixture.config), dtype=torch.float64)).eval()
        dit.load_state_dict({name: move(value) for name, value in dit.state_dict().items()})
        return output_of(dit, fixture.inputs, fixture.settings)

    exact = in_float64(None)
    moved = max(dit_cases.relative_error(in_float64(seed), exact) for seed in range(4))
    assert dit_cases.relative_error(output, fixture.expected["output"]) <= 2 * moved
