"""Dual memory: what each event forgets, worked out by hand, and attention against a softmax in float64."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
from framepack_transitions.models.attention.gate import with_policy
from framepack_transitions.models.attention.joint import Segments, sdpa_attention
from framepack_transitions.nodes.techniques.attention.dual_memory import FramePackDualMemory
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.plan import Section, plan_sections
from framepack_transitions.samplers.techniques.attention.dual_memory import DualMemory
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Step
from framepack_transitions.samplers.techniques.chain import attention_at
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.samplers.timeline.timeline import TimelineEntry

STEP = Step(0.9, 0.9)
SEGMENTS = Segments.of({"4x": 2, "start": 4, "last": 4, "noisy": 6, "image": 3, "text": 5})
KEYFRAME = torch.ones(1, 16, 1, 2, 2)


def switched(*, change: float = 1.0, layout: str = "f1", **later) -> Section:
    """The section generated after a switch; `later` are fields of the prompt that comes later in the video."""
    prompts = [Prompt(start=0.0, text="old"), Prompt(start=0.4, text="new", change=change, **later)]
    return assign_prompts(plan_sections(layout, 2, 3), prompts)[1]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("gone", (0.8, 0)),
        ("new_look", (0.4, 0)),
        ("new_place", (0, 0.6)),
        ("cut", (0.8, 0.6)),
        ("auto", (0.8, 0)),
    ],
)
def test_an_event_says_what_is_forgotten(event, expected):
    memory = DualMemory(content=0.8, scene=0.6, event=event)
    assert memory.shares(switched()) == pytest.approx(expected)
    assert memory.shares(switched(change=0.5)) == pytest.approx([share / 2 for share in expected])


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_auto_takes_the_event_of_the_later_entry(layout):
    memory = DualMemory()
    assert memory.shares(switched(layout=layout, event="new_place")) == (0, 0.6)
    assert memory.shares(switched(layout=layout, start_latent=KEYFRAME)) == (1, 0.6)
    assert memory.shares(switched(layout=layout, start_latent=KEYFRAME, event="gone")) == (1, 0)
    assert replace(memory, event="cut").shares(switched(layout=layout, event="gone")) == (1, 0.6)


def test_the_two_groups_get_what_is_left_of_their_attention():
    """M is 1 for some tokens: these keep 1 - content of what they would get, the others 1 - scene."""
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 2, SEGMENTS.length, 8, generator=generator) for _ in range(3))
    weights = {
        name: (torch.rand(2, span.stop - span.start, generator=generator) > 0.5).float()
        for name, span in SEGMENTS.items()
        if name in ("4x", "start", "last", "image")
    }
    policy = attention_at((DualMemory(content=0.7, scene=0.4, event="cut"),), switched(), STEP)
    policy = replace(policy, by_token=tuple(rule.weighed(weights) for rule in policy.by_token))
    arguments = {"mask": None, "segments": SEGMENTS, "block": ("single", 0), "transformer_options": {}}
    attended = with_policy(sdpa_attention, policy)(q, k, v, **arguments)

    left = torch.ones(2, SEGMENTS.length, dtype=torch.float64)
    for name, part in weights.items():
        left[:, SEGMENTS.span(name)] = torch.where(part == 1, 0.3, 0.6).double()
    noisy = SEGMENTS.span("noisy")
    shares = (q[:, :, noisy].double() @ k.double().transpose(-1, -2) * 8**-0.5).exp() * left[:, None, None]
    expected = ((shares / shares.sum(-1, keepdim=True)) @ v.double()).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attended[:, noisy].double(), expected, atol=1e-5, rtol=1e-4)
    plain = sdpa_attention(q, k, v)
    assert torch.equal(attended[:, : noisy.start], plain[:, : noisy.start]), "the past's own rows"


def test_all_of_the_attention_is_dropped_and_a_part_of_it_is_a_bias():
    dropped, biased = (
        attention_at((DualMemory(content=share, tokens="moving"),), switched(), STEP).describe()["by_token"]
        for share in (1.0, 0.75)
    )
    assert [rule["kind"] for rule in dropped] == ["drop"]
    (rule,) = biased
    assert rule["by"] == "moving" and rule["bias"] == pytest.approx(log(0.25))
    (scene,) = attention_at((DualMemory(event="new_place"),), switched(), STEP).describe()["by_token"]
    assert scene["by"] == "1 - +positive" and scene["bias"] == pytest.approx(log(0.4))


@pytest.mark.parametrize(
    ("memory", "section"),
    [
        (DualMemory(content=0.0, scene=0.0), switched()),
        (DualMemory(content=0.0), switched(event="gone")),
        (DualMemory(scene=0.0), switched(event="new_place")),
        (DualMemory(), switched(change=0.0)),
        (DualMemory(), plan_sections("f1", 1, 3)[0].with_prompt(Prompt(start=0.0, text=""))),
    ],
)
def test_what_is_off_changes_no_attention_and_looks_for_nothing(memory, section):
    assert attention_at((memory,), section, STEP) is None
    assert memory.concepts(section) == ()


def test_it_acts_inside_its_window_and_beside_a_gate():
    memory = DualMemory(tokens="moving", t_start=0.95, t_end=0.5)
    assert attention_at((memory,), switched(), Step(0.5, 0.5)) is None
    assert memory.describe(switched(), STEP) == {"content": 1.0, "scene": 0.0}
    assert memory.describe(switched(), Step(0.5, 0.5)) == {"content": 0.0, "scene": 0.0}
    both = attention_at((SemanticKVGate(), memory), switched(), STEP)
    assert both.describe()["bias"]["last"] == -1 and len(both.by_token) == 1
    with pytest.raises(ValueError, match="two KV gates with different blocks"):
        attention_at((SemanticKVGate(gate_text_rows=True), memory), switched(), STEP)


def test_what_cannot_be_used_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="event is 'left'; choose one of auto, gone"):
        DualMemory(event="left")
    with pytest.raises(ValueError, match="event 'left'; choose one of auto, gone"):
        TimelineEntry(start=1.0, prompt="", conditioning=[], event="left")
    with pytest.raises(ValueError, match="tokens is 'all'"):
        DualMemory(tokens="all")
    with pytest.raises(ValueError, match="tokens is concept, but no concept is connected"):
        FramePackDualMemory().apply(None, tokens="concept")
    with pytest.raises(ValueError, match="tokens is mask, but no mask is connected"):
        FramePackDualMemory().apply(None, tokens="mask")
