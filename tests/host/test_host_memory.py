"""Purged, gated and measured memory on a real ComfyUI MODEL: the same as without the host, cond batches included."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch

pytestmark = pytest.mark.host
SCALE = 0.476986

TECHNIQUES = {
    "plain": ("FramePackSemanticKVGate", {"gamma": 0.0}),
    "removed": ("FramePackContextPurge", {"start": "remove", "last": "2x", "gap": 3}),
    "muted": ("FramePackContextPurge", {"last": "zero_kv", "select": "random"}),
    "by attention": (
        "FramePackContextPurge",
        {"last": "remove", "start": "remove", "select": "most_attended"},
    ),
    "by mask": ("FramePackSemanticKVGate", {"mode": "cap", "tokens": "mask"}),
    "moving": ("FramePackSemanticKVGate", {"tokens": "moving", "gate_text_rows": True}),
    "by concept": ("FramePackSemanticKVGate", {"mode": "drop", "tokens": "concept"}),
    "concept zeroed": ("FramePackContextPurge", {"last": "zero_kv", "select": "concept"}),
}


@pytest.fixture(scope="module")
def dit(upstream):
    from framepack_transitions.models.config import FramePackConfig
    from framepack_transitions.models.dit import FramePackDiT

    return upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))).eval().requires_grad_(False)


@pytest.fixture
def models(comfy, dit):
    """The same transformer in the host and outside of it."""
    from framepack_transitions.models.host import copy_dit, make_model
    from framepack_transitions.models.plain import PlainModel

    host = make_model(partial(copy_dit, dit), parameters=1, stored_dtype=torch.float32)
    return host, PlainModel(dit, SCALE)


def treated(model, name, values, concept):
    from framepack_transitions.nodes import NODE_CLASS_MAPPINGS

    node = NODE_CLASS_MAPPINGS[name]
    required = {
        key: spec[1]["default"] for key, spec in node.INPUT_TYPES()["required"].items() if key != "model"
    }
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1.0
    return node().apply(model, mask=mask, concept=concept, **{**required, "apply_to": "all", **values})[0]


@pytest.mark.parametrize("cfg", [1.0, 2.5])
@pytest.mark.parametrize("kind", TECHNIQUES)
def test_host_and_plain_agree_on_video_and_measured_memory(upstream, models, kind, cfg):
    from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler

    inputs = upstream.load("sampler/f1_cfg").inputs
    start, tokens = inputs["start_latent"] / SCALE, inputs["image_embeds"]
    concept = [[inputs["context"][:, :2], {"pooled_output": inputs["y"]}]]
    results = []
    for model in models:
        with torch.inference_mode():
            latent, trace = FramePackTransitionsSampler().sample(
                model=treated(model, *TECHNIQUES[kind], concept),
                positive=[[inputs["context"], {"pooled_output": inputs["y"]}]],
                negative=[[inputs["negative_context"], {"pooled_output": inputs["negative_y"]}]],
                start_latent={"samples": torch.cat([start, start.flip(-1)])},
                layout="f1",
                seconds=0.8,
                latent_frames=0,
                window=3,
                steps=3,
                distilled_guidance=10.0,
                cfg=cfg,
                guidance_rescale=0.0,
                shift=0.0,
                solver="unipc_bh1",
                denoise=1.0,
                upstream_rounding=False,
                seed=1234,
                clip_vision_output=SimpleNamespace(last_hidden_state=torch.cat([tokens, tokens.flip(1)])),
                measure_memory=True,
            )
        results.append((latent["samples"], [section["memory"] for section in trace["sections"]]))
    (host, measured), (plain, expected) = results
    assert (host - plain).abs().max() <= 1e-4 * plain.abs().max()
    for one, other in zip(measured, expected):
        assert one["mass"] == pytest.approx(other["mass"], abs=1e-5)
        assert one["videos"] == pytest.approx(other["videos"], abs=1e-5)
        assert [step["context_tokens"] for step in one["steps"]] == [
            step["context_tokens"] for step in other["steps"]
        ]
