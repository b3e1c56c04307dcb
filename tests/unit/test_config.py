"""FramePackConfig: its defaults, what it refuses, and what it reads off a state dict."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT


def shapes_of(config: FramePackConfig) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in FramePackDiT(config, device="meta").state_dict().items()}


def test_the_defaults_are_the_published_model() -> None:
    config = FramePackConfig()
    assert (config.inner_dim, config.mlp_dim) == (3072, 12288)
    assert FramePackConfig.from_state_dict(shapes_of(config)) == config


def test_shapes_tell_the_config_of_a_known_head_dimension() -> None:
    config = FramePackConfig(
        num_attention_heads=2, num_layers=3, num_single_layers=1, num_refiner_layers=1, mlp_ratio=2.7,
        text_embed_dim=40, pooled_projection_dim=24, image_proj_dim=36, out_channels=8,
    )  # fmt: skip
    found = FramePackConfig.from_state_dict(shapes_of(config))
    assert shapes_of(found) == shapes_of(config)
    assert found.rope_axes_dim == (16, 56, 56)


def test_metadata_tells_what_shapes_cannot(dit_cases: ModuleType) -> None:
    config = FramePackConfig(**dit_cases.SMALL, rope_theta=100.0)
    shapes = shapes_of(config)
    with pytest.raises(ValueError, match="rope axes of head dimension 32 are not known.*framepack_config"):
        FramePackConfig.from_state_dict(shapes)
    assert FramePackConfig.from_state_dict(shapes, {"framepack_config": config.to_json()}) == config


def test_metadata_that_contradicts_the_shapes_is_an_error(dit_cases: ModuleType) -> None:
    shapes = shapes_of(FramePackConfig(**dit_cases.SMALL))
    stated = {**dit_cases.SMALL, "num_layers": 4, "text_embed_dim": 32}
    with pytest.raises(ValueError, match=r"num_layers 4 \(weights: 1\), text_embed_dim 32 \(weights: 24\)"):
        FramePackConfig.from_state_dict(shapes, {"framepack_config": json.dumps(stated)})


@pytest.mark.parametrize("text", ["{", "[1]", '{"layers": 3}'])
def test_metadata_that_is_no_config_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="framepack_config|unknown FramePack config fields: layers"):
        FramePackConfig.from_metadata({"framepack_config": text})


def test_a_diffusers_config_is_read_as_it_is(dit_cases: ModuleType) -> None:
    fields = {
        **dit_cases.SMALL,
        "rope_axes_dim": [8, 12, 12],
        "_class_name": "X",
        "_diffusers_version": "0.36",
    }
    assert FramePackConfig.from_fields(fields) == FramePackConfig(**dit_cases.SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_head_dim": 64}, r"\(16, 56, 56\) sums to 128, but attention_head_dim is 64"),
        ({"rope_axes_dim": (64, 64)}, "three even numbers"),
        ({"rope_axes_dim": (15, 57, 56)}, "three even numbers"),
        ({"patch_size": 4}, "1x2x2"),
        ({"num_attention_heads": 0}, "at least one"),
        ({"qk_norm": "layer_norm"}, "layer_norm"),
        ({"image_condition_type": "token_replace"}, "token_replace"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FramePackConfig(**changes)
