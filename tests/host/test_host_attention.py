"""Attention that other nodes replace or patch: called wherever the model attends, or refused by name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.host
ONE = {"seconds": 1.2, "timeline": None, "steps": 2}


def with_override(model: Any, override: Any) -> Any:
    """A MODEL whose attention is replaced in the host's way."""
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    return model


def blocks_of(model: Any) -> int:
    dit = model.model.diffusion_model
    return len(dit.transformer_blocks) + len(dit.single_transformer_blocks)


def test_an_override_sees_every_attention_of_the_blocks(tiny: Any) -> None:
    calls = []

    def look(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(args[0].shape[-1])
        return function(*args, **kwargs)

    assert torch.equal(tiny.sample(with_override(tiny.model, look), **ONE), tiny.sample(tiny.model, **ONE))
    assert len(calls) == 2 * blocks_of(tiny.model) and set(calls) == {
        tiny.model.model.diffusion_model.config.attention_head_dim
    }


def test_an_override_may_change_what_is_attended(tiny: Any) -> None:
    def weaken(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return 0.8 * function(*args, **kwargs)

    difference = tiny.sample(with_override(tiny.model, weaken), **ONE) - tiny.sample(tiny.model, **ONE)
    assert difference.abs().max() > 1e-2


def test_what_an_override_does_not_reach_is_said(tiny: Any) -> None:
    from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
    from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
    from framepack_transitions.samplers.techniques.wiring import with_technique

    def faster(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return function(*args, **kwargs)

    model = with_technique(with_override(tiny.model, faster), AdaptiveCFG())
    assert tiny.run(model, **ONE)[1]["notices"] == []
    (notice,) = tiny.run(with_technique(model, SemanticKVGate(apply_to="all")), **ONE)[1]["notices"]
    assert "replaced the attention; tokens that SemanticKVGate gates are attended without it" in notice


def test_normalized_attention_guidance_is_refused_by_name(comfy: ModuleType, tiny: Any) -> None:
    nodes_nag = pytest.importorskip("comfy_extras.nodes_nag", reason="this host has no NAGuidance")
    (model,) = nodes_nag.NAGuidance.execute(tiny.model, 5.0, 0.5, 1.5).args
    with pytest.raises(ValueError, match=r"attn1_output_patch patches \(NAGuidance\).*remove the node"):
        tiny.sample(model, **ONE)


def test_a_block_may_be_replaced(tiny: Any) -> None:
    def twice(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, torch.Tensor]:
        out = extra["original_block"](args)
        return extra["original_block"]({**args, "img": out["img"]})

    model = tiny.model.clone()
    model.set_model_patch_replace(twice, "dit", "single_block", 0)
    difference = tiny.sample(model, **ONE) - tiny.sample(tiny.model, **ONE)
    assert difference.abs().max() > 1e-2
