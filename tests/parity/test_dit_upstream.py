"""FramePackDiT against numbers recorded from upstream's own class."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT

CASES = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "upstream" / "dit.json").read_text(encoding="utf-8")
)


def predict(dit: FramePackDiT, upstream: ModuleType, case: str) -> torch.Tensor:
    fixture = upstream.load(f"dit/{case}")
    options = {"framepack_upstream_rounding": fixture.settings.get("upstream_rounding", False)}
    with torch.inference_mode():
        return upstream.fill(dit).eval()(**fixture.inputs, transformer_options=options)


@pytest.mark.parametrize("case", CASES)
def test_output_is_upstreams(case: str, upstream: ModuleType, dit_cases: ModuleType) -> None:
    fixture = upstream.load(f"dit/{case}")
    output = predict(FramePackDiT(FramePackConfig(**fixture.config)), upstream, case)
    assert dit_cases.relative_error(output, fixture.expected["output"]) <= 1e-5


def test_image_tokens_may_be_left_out_of_a_model_that_has_them(
    upstream: ModuleType, dit_cases: ModuleType
) -> None:
    fixture = upstream.load("dit/no_image_projection")
    with_projection = FramePackDiT(FramePackConfig(**{**fixture.config, "has_image_proj": True}))
    output = predict(with_projection, upstream, "no_image_projection")
    assert dit_cases.relative_error(output, fixture.expected["output"]) <= 1e-5
