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


def test_an_override_sees_every_attention_of_texts_and_blocks(tiny: Any) -> None:
    calls, places = [], []

    def look(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(args[0].shape[-1])
        assert args[3] == args[0].shape[1]  # heads stand fourth, as core models give them
        options = kwargs["transformer_options"]
        places.append(tuple(options.get(name) for name in ("block_type", "block_index", "total_blocks")))
        return function(*args, **kwargs)

    config = tiny.model.model.diffusion_model.config
    tiny.sample(with_override(tiny.model, look), **ONE)
    assert set(calls) == {config.attention_head_dim}
    # As in core models, texts are attended to before any block is named.
    texts = config.num_refiner_layers * [(None, None, None)]
    counts = {"double": 2, "single": 4}
    blocks = [(kind, index, total) for kind, total in counts.items() for index in range(total)]
    assert places == 2 * (texts + blocks)


def test_an_override_that_attends_as_torch_does_leaves_the_video_as_it_is(tiny: Any) -> None:
    """Blocks are attended by the host's own function, as without an override; texts by torch's in both."""

    def torch_for_texts(function: Any, q: Any, k: Any, v: Any, heads: int, **kwargs: Any) -> torch.Tensor:
        if "block_type" in kwargs["transformer_options"]:
            return function(q, k, v, heads, **kwargs)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    assert torch.equal(
        tiny.sample(with_override(tiny.model, torch_for_texts), **ONE), tiny.sample(tiny.model, **ONE)
    )


def test_an_override_of_the_texts_alone_changes_the_video(tiny: Any) -> None:
    def without_texts(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        attended = function(*args, **kwargs)
        return attended if "block_type" in kwargs["transformer_options"] else 0 * attended

    difference = tiny.sample(with_override(tiny.model, without_texts), **ONE) - tiny.sample(tiny.model, **ONE)
    assert difference.abs().max() > 1e-2


def test_an_override_may_change_what_is_attended(tiny: Any) -> None:
    def weaken(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return 0.8 * function(*args, **kwargs)

    difference = tiny.sample(with_override(tiny.model, weaken), **ONE) - tiny.sample(tiny.model, **ONE)
    assert difference.abs().max() > 1e-2


def padded_together(texts: list[list[Any]]) -> list[Any]:
    """Conditionings as one CONDITIONING, a row of the batch each, the shorter ones padded with numbers that are masked."""
    length = max(text[0][0].shape[1] for text in texts)
    states = torch.full((len(texts), length, texts[0][0][0].shape[2]), 7.0)
    mask = torch.zeros(len(texts), length, dtype=torch.long)
    for row, ((own, _),) in enumerate(texts):
        states[row, : own.shape[1]], mask[row, : own.shape[1]] = own[0], 1
    pooled = torch.cat([text[0][1]["pooled_output"] for text in texts])
    return [[states, {"pooled_output": pooled, "attention_mask": mask}]]


def test_an_override_attends_to_padded_texts_without_their_padding(tiny: Any) -> None:
    keys, own = set(), set()

    def look(function: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if "block_type" in kwargs["transformer_options"]:
            keys.add((args[0].shape[0], args[1].shape[2]))
        else:
            own.add((args[0].shape[0], args[0].shape[2], args[1].shape[2]))
        assert kwargs.get("mask") is None
        return function(*args, **kwargs)

    texts = [
        tiny.encode(text) for text in ("a large red circle stands still in the sky by day", "an empty city")
    ]
    two = {**ONE, "start_latent": {"samples": tiny.vae.encode(tiny.image).repeat(2, 1, 1, 1, 1)}}
    together = padded_together(texts)
    overridden = tiny.sample(with_override(tiny.model, look), positive=together, **two)
    (_, longer), (_, shorter) = sorted(keys, reverse=True)
    lengths = [text[0][0].shape[1] for text in texts]
    assert longer - shorter == lengths[0] - lengths[1] > 0
    assert own == {(1, length, length) for length in lengths}
    for row, text in enumerate(texts):
        # The same text in both rows has no padding.
        alone = tiny.sample(tiny.model, positive=text, **two)
        torch.testing.assert_close(overridden[row], alone[row], rtol=1e-4, atol=1e-4)
    masked = tiny.sample(tiny.model, positive=together, **two)
    torch.testing.assert_close(overridden, masked, rtol=1e-4, atol=1e-4)


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
