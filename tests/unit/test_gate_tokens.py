"""Gates on single tokens: against softmax in float64 with the weights written out, and where the weights come from."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from framepack_transitions.models.attention import log_sum_exp
from framepack_transitions.models.attention.gate import with_policy
from framepack_transitions.models.attention.joint import PAST, Segments, sdpa_attention
from framepack_transitions.models.attention.policy import AttentionPolicy, TokenRule
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.techniques.attention.kv_gate import FramePackSemanticKVGate
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.context.tokens import token_weights
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Step
from framepack_transitions.samplers.techniques.chain import attention_at
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

pytestmark = pytest.mark.usefixtures("no_gradients")

SEGMENTS = Segments.of({"4x": 3, "2x": 2, "start": 4, "last": 4, "noisy": 8, "image": 5, "text": 6})
NOISY = SEGMENTS.span("noisy")
GATED = frozenset({*PAST, "image"})
SWITCHED = plan_sections("f1", 1, 3)[0].with_prompt(Prompt(start=0.0, text=""), change=1.0, since_switch=0)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return [torch.randn(2, 3, SEGMENTS.length, 8) for _ in range(3)]


def some_weights(rows: int = 1, hard: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    weights = {
        name: torch.rand(rows, place.stop - place.start, generator=generator)
        for name, place in SEGMENTS.items()
        if name in GATED
    }
    return {name: part.round() for name, part in weights.items()} if hard else weights


def joint(weights: dict[str, torch.Tensor], rows: int = 2) -> torch.Tensor:
    """The weights of all keys, [B, 1, 1, L] in float64, 0 where there is none."""
    full = torch.zeros(rows, SEGMENTS.length, dtype=torch.float64)
    for name, part in weights.items():
        full[:, SEGMENTS.span(name)] = part.double()
    return full[:, None, None]


def rule(kind: str, weights, bias: float | None = None) -> TokenRule:
    added = None if bias is None else torch.tensor(bias)
    return TokenRule(kind=kind, segments=GATED, source="test", bias=added, weights=weights)


def attend(policy, qkv, mask=None):
    return with_policy(sdpa_attention, policy)(
        *qkv, mask=mask, segments=SEGMENTS, block=("single", 0), transformer_options={}
    )[:, NOISY]


def weighed(qkv, factor: torch.Tensor, mask=None) -> torch.Tensor:
    """Reference: attention of the noisy rows with every key's share times a factor, shares summing to 1 again."""
    q, k, v = (part.double() for part in qkv)
    logits = q[:, :, NOISY] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    shares = logits.exp() * factor
    if mask is not None:
        shares = shares * mask
    return ((shares / shares.sum(-1, keepdim=True)) @ v).transpose(1, 2).flatten(2)


def capped(qkv, factor: torch.Tensor, part: torch.Tensor, cap: float) -> torch.Tensor:
    """What more each key's share is multiplied by, so that the parts under the cap have at most this share in all."""
    q, k, _ = (tensor.double() for tensor in qkv)
    shares = (q[:, :, NOISY] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).exp() * factor
    shares = shares / shares.sum(-1, keepdim=True)
    mass = (shares * part).sum(-1, keepdim=True)
    limited = mass.clamp(max=cap)
    return part * limited / mass + (1 - part) * (1 - limited) / (1 - mass)


def close(result, expected):
    assert torch.allclose(result.double(), expected, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_bias_by_token_equals_an_additive_mask(qkv, rows):
    weights = some_weights(rows)
    policy = AttentionPolicy(by_token=(rule("bias", weights, -2.0),))
    close(attend(policy, qkv), weighed(qkv, (-2 * joint(weights)).exp()))


def test_a_bias_by_token_keeps_a_mask_over_padding_and_adds_to_other_biases(qkv):
    weights, mask = some_weights(2), torch.ones(2, 1, 1, SEGMENTS.length, dtype=torch.bool)
    mask[1, ..., -3:] = False
    policy = AttentionPolicy(
        biases=((frozenset({"start", "text"}), torch.tensor(-0.5)),),
        by_token=(rule("bias", weights, -2.0), rule("bias", weights, -1.0)),
    )
    constant = torch.zeros(SEGMENTS.length, dtype=torch.float64)
    constant[SEGMENTS.span("start")] = constant[SEGMENTS.span("text")] = -0.5
    close(attend(policy, qkv, mask), weighed(qkv, (constant - 3 * joint(weights)).exp(), mask))


def test_dropping_by_token_leaves_the_rest_of_each_weight(qkv):
    weights = some_weights(2)
    close(attend(AttentionPolicy(by_token=(rule("drop", weights),)), qkv), weighed(qkv, 1 - joint(weights)))


def test_with_hard_weights_a_large_bias_a_drop_and_keys_that_are_not_there_agree(qkv):
    weights = some_weights(hard=True)
    gone = joint(weights, 1)[0, 0, 0] == 1
    q, k, v = qkv
    kept = sdpa_attention(q[:, :, NOISY], k[:, :, ~gone], v[:, :, ~gone]).double()
    close(attend(AttentionPolicy(by_token=(rule("drop", weights),)), qkv), kept)
    close(attend(AttentionPolicy(by_token=(rule("bias", weights, -100.0),)), qkv), kept)


def test_dropping_every_token_by_weight_equals_dropping_the_segments(qkv):
    weights = {name: torch.ones_like(part) for name, part in some_weights().items()}
    whole = attend(AttentionPolicy(dropped=GATED), qkv)
    close(attend(AttentionPolicy(by_token=(rule("drop", weights),)), qkv), whole.double())


def test_weights_of_one_equal_the_gate_on_whole_segments(qkv):
    weights = {name: torch.ones_like(part) for name, part in some_weights().items()}
    biased = AttentionPolicy(biases=((GATED, torch.tensor(-1.5)),))
    close(attend(AttentionPolicy(by_token=(rule("bias", weights, -1.5),)), qkv), attend(biased, qkv).double())
    cap = torch.tensor(0.1)
    capped = attend(AttentionPolicy(cap=cap, capped=GATED), qkv).double()
    by_token = AttentionPolicy(cap=cap, capped=frozenset(), by_token=(rule("cap", weights),))
    close(attend(by_token, qkv), capped)


def test_a_token_that_is_dropped_whole_is_gone_however_much_it_would_be_attended(qkv):
    weights = {"start": torch.ones(1, 4)}
    q, k, v = qkv
    k = k.clone()
    k[:, :, SEGMENTS.span("start")] = 60 * q[:, :, NOISY.start, None]
    gone = torch.ones(SEGMENTS.length, dtype=torch.bool)
    gone[SEGMENTS.span("start")] = False
    found = attend(AttentionPolicy(by_token=(rule("drop", weights),)), [q, k, v])
    close(found, sdpa_attention(q[:, :, NOISY], k[:, :, gone], v[:, :, gone]).double())


@pytest.mark.parametrize("cap", [0.3, 0.02])
@pytest.mark.parametrize("bias", [None, -2.0])
def test_a_cap_by_token_bounds_the_share_of_their_parts(qkv, cap, bias):
    weights = some_weights(2)
    others = {name: 1 - part for name, part in weights.items()}
    biased = () if bias is None else (rule("bias", others, bias),)
    policy = AttentionPolicy(
        cap=torch.tensor(cap), capped=frozenset(), by_token=(*biased, rule("cap", weights))
    )
    factor = ((bias or 0) * joint(others)).exp()
    close(attend(policy, qkv), weighed(qkv, factor * capped(qkv, factor, joint(weights), cap)))


@pytest.mark.parametrize("cap", [0.3, 0.02])
def test_a_cap_on_segments_counts_what_their_tokens_keep_of_a_bias(qkv, cap):
    weights = some_weights(2)
    policy = AttentionPolicy(cap=torch.tensor(cap), capped=GATED, by_token=(rule("bias", weights, -2.0),))
    inside = joint({name: torch.ones_like(part) for name, part in weights.items()})
    factor = (-2 * joint(weights)).exp()
    close(attend(policy, qkv), weighed(qkv, factor * capped(qkv, factor, inside, cap)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bias_in_more_channels_is_a_bias_on_the_logits(dtype):
    torch.manual_seed(1)
    q, k, v = (torch.randn(2, 3, length, 8).to(dtype) for length in (5, 9, 9))
    bias = (-torch.rand(2, 1, 1, 9) * 7).index_fill(-1, torch.tensor([4]), log_sum_exp.MASKED_LOGIT)
    wide = [part.double() for part in log_sum_exp.bias_in_channels(q, k, v, bias)]
    logits = wide[0] @ wide[1].transpose(-1, -2) * 8**-0.5
    expected = q.double() @ k.double().transpose(-1, -2) * 8**-0.5 + bias.double()
    assert torch.allclose(logits[..., :4], expected[..., :4], atol=1e-5 if dtype == torch.float32 else 1e-4)
    assert (logits[..., 4] < -900).all()
    assert wide[2].shape[-1] == 16 and not wide[2][..., 8:].any()


@pytest.mark.parametrize("limit", [2**29, 1000])
def test_both_ways_to_the_log_sum_exp_agree_under_token_rules(qkv, limit, monkeypatch):
    monkeypatch.setattr(log_sum_exp, "LOGITS_BYTES", limit)
    policy = AttentionPolicy(by_token=(rule("bias", some_weights(2), -2.0),))
    with torch.inference_mode(False), torch.enable_grad():  # with gradients, the CPU forms the logits
        formed = attend(policy, [part.clone() for part in qkv])
    close(attend(policy, qkv), formed.double())


# Where the weights come from


def make_context(batch: int = 1, size: int = 8, **changes) -> Context:
    parts = {
        "clean": normal(batch, 16, 2, size, size, seed=1),
        "clean_2x": normal(batch, 16, 2, size, size, seed=2),
        "clean_4x": normal(batch, 16, 16, size, size, seed=3),
        "image_embeds": normal(batch, 4, 12, seed=4),
    }
    return Context(indices=f1_indices(3), **{**parts, **changes})


def test_masks_are_united_and_averaged_over_each_token():
    masks = torch.zeros(2, 8, 8)
    masks[0, :3], masks[1, :, 7:] = 1.0, 0.5
    weights = token_weights(make_context(), "m", {"m": masks})
    union = masks.amax(0).numpy()
    for name, frames, cells in (("start", 1, 2), ("last", 1, 2), ("2x", 1, 4), ("4x", 4, 8)):
        grid = union.reshape(8 // cells, cells, 8 // cells, cells).mean((1, 3)).ravel()
        np.testing.assert_allclose(weights[name][0].numpy(), np.tile(grid, frames), atol=1e-6)
    assert weights["image"].shape == (1, 4) and weights["image"][0, 0] > weights["image"][0, 2]
    odd = token_weights(make_context(image_embeds=normal(1, 3, 12, seed=1)), "m", {"m": masks})
    assert odd["image"].tolist() == [[1.0, 1.0, 1.0]], "no grid: gated whole"


def test_what_moves_is_told_from_what_stands_still():
    """A square that is elsewhere in each frame, over a background that never changes."""
    scene = normal(1, 16, 1, 16, 16, seed=1).repeat(1, 1, 20, 1, 1)
    for frame in range(20):
        column = 2 * (frame % 4)
        scene[:, :, frame, 4:8, column : column + 2] += 9.0
    context = make_context(
        clean=scene[:, :, [0, 19]], clean_2x=scene[:, :, 17:19], clean_4x=scene[:, :, 1:17]
    )
    moving, still = (token_weights(context, name, {}) for name in ("moving", "still"))
    for name, part in moving.items():
        torch.testing.assert_close(still[name], 1 - part)
    grid = moving["start"].view(8, 8)
    assert grid[2:4, 0].min() > 0.99, "where the square is"
    assert grid[4:].max() < 1e-4 and grid[:2].max() < 1e-4, "where nothing ever changes"


def test_empty_history_counts_for_nothing_and_a_blank_video_has_no_motion():
    empty = make_context(clean=normal(1, 16, 1, 8, 8, seed=1).repeat(1, 1, 2, 1, 1))
    empty = empty.without("anchor")
    assert max(float(part.max()) for part in token_weights(empty, "moving", {}).values()) < 1e-5
    blank = empty.without("none")
    assert all(torch.isfinite(part).all() for part in token_weights(blank, "moving", {}).values())


def test_weights_follow_the_tokens_that_are_packed():
    kept = torch.tensor([[1, 5, 6]])
    context = make_context(2)
    part = token_weights(replace(context, tokens={"start": kept}), "moving", {})["start"]
    assert torch.equal(part, token_weights(context, "moving", {})["start"][:, kept[0]])


def test_wrong_masks_are_refused():
    with pytest.raises(ValueError, match="mask is .7., connect|mask is .7.; connect"):
        token_weights(make_context(), "m", {"m": torch.ones(7)})
    with pytest.raises(ValueError, match="NaN or infinity"):
        token_weights(make_context(), "m", {"m": torch.full((4, 4), torch.nan)})


# The technique


def policy_of(*gates, section=SWITCHED):
    return attention_at(gates, section, Step(0.9, 0.9))


@pytest.mark.parametrize("off", [{"gamma": 0.0}, {"mode": "cap", "cap": 1.0}])
@pytest.mark.parametrize("tokens", ["moving", "still", "mask"])
def test_off_is_no_policy_at_all(off, tokens):
    assert policy_of(SemanticKVGate(tokens=tokens, **off)) is None


def test_rules_say_what_they_gate_and_gates_add_up():
    policy = policy_of(SemanticKVGate(gamma=2.0, last=0.5, tokens="moving"), SemanticKVGate(gamma=1.0))
    described = policy.describe()
    assert described["bias"] == {"4x": -1, "2x": -1, "start": -1, "last": -1}
    assert described["by_token"] == [
        {"kind": "bias", "segments": ["2x", "4x", "start"], "by": "moving", "bias": -2.0},
        {"kind": "bias", "segments": ["last"], "by": "moving", "bias": -1.0},
    ]
    dropping = policy_of(SemanticKVGate(mode="cap", cap=0.0, tokens="still")).describe()
    assert [found["kind"] for found in dropping["by_token"]] == ["drop"] and dropping["cap"] is None
    with pytest.raises(ValueError, match="two KV gates of mode cap"):
        policy_of(SemanticKVGate(mode="cap"), SemanticKVGate(mode="cap", tokens="moving"))
    with pytest.raises(ValueError, match="tokens is 'some'"):
        SemanticKVGate(tokens="some")


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def text(seed: int, batch: int) -> TextConditioning:
    states, pooled = normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1)
    return TextConditioning(states.repeat(batch, 1, 1), pooled.repeat(batch, 1))


def sample(model, gate=None, *, batch=1, **objects):
    if gate is not None:
        model = with_technique(model, gate, **objects)
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1, batch), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3, batch)),
    ]
    start, tokens = normal(batch, 16, 1, 8, 8, seed=5), normal(batch, 4, 12, seed=9)
    return sample_sections(
        PlainDriver(model),
        assign_prompts(plan_sections("f1", 2, 3), prompts),
        SampleInputs(start=start, has_start=True, negative=text(7, batch), image_embeds=tokens),
        SampleSettings(window=3, steps=3, seed=7),
    )[0]


@pytest.mark.parametrize("mode", ["bias", "cap", "drop"])
def test_a_white_mask_is_the_gate_on_everything_and_a_black_one_none(model, mode):
    whole = sample(model, SemanticKVGate(mode=mode, image=1.0), batch=2)
    white = sample(
        model, SemanticKVGate(mode=mode, image=1.0, tokens="mask"), batch=2, mask=torch.ones(1, 8, 8)
    )
    torch.testing.assert_close(white, whole, atol=1e-4, rtol=1e-4)
    black = sample(model, SemanticKVGate(mode=mode, tokens="mask"), batch=2, mask=torch.zeros(1, 8, 8))
    torch.testing.assert_close(black, sample(model, batch=2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tokens", ["moving", "still"])
@pytest.mark.parametrize("mode", ["bias", "cap", "drop"])
def test_gates_by_change_act_and_stay_finite(model, mode, tokens):
    latents, plain = sample(model, SemanticKVGate(mode=mode, tokens=tokens), batch=2), sample(model, batch=2)
    assert torch.equal(latents[:, :, :4], plain[:, :, :4]) and torch.isfinite(latents).all()
    assert (latents - plain)[:, :, 4:].abs().max() > 1e-3


def test_node_asks_for_the_mask_that_it_needs(model):
    values = {
        name: spec[1]["default"]
        for name, spec in FramePackSemanticKVGate.INPUT_TYPES()["required"].items()
        if name != "model"
    }
    with pytest.raises(ValueError, match="tokens is mask, but no mask is connected"):
        FramePackSemanticKVGate().apply(model, tokens="mask", **values)
    with pytest.raises(ValueError, match="model is a"):
        FramePackSemanticKVGate().apply(SimpleNamespace(model=SimpleNamespace()), **values)
    with pytest.raises(ValueError, match="NaN"):
        FramePackSemanticKVGate().apply(model, mask=torch.full((4, 4), torch.nan), tokens="mask", **values)
    (gated,) = FramePackSemanticKVGate().apply(model, mask=torch.ones(1, 4, 4), tokens="mask", **values)
    assert not torch.equal(sample(gated), sample(model))
