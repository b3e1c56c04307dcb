"""The gate against attention with an additive mask, which is what it must equal without needing one."""

from __future__ import annotations

from math import inf

import pytest
import torch
from framepack_transitions.models.attention import log_sum_exp
from framepack_transitions.models.attention.blocks import block_set, check_blocks
from framepack_transitions.models.attention.gate import with_policy
from framepack_transitions.models.attention.groups import key_groups
from framepack_transitions.models.attention.joint import PAST, Segments, sdpa_attention
from framepack_transitions.models.attention.policy import AttentionPolicy, TokenRule
from framepack_transitions.models.config import FramePackConfig

SEGMENTS = Segments.of({"4x": 3, "2x": 2, "start": 4, "last": 4, "noisy": 8, "image": 5, "text": 6})
BLOCK = ("single", 1)


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return [torch.randn(2, 3, SEGMENTS.length, 8) for _ in range(3)]


def attend(policy, qkv, rows=None, mask=None, block=BLOCK):
    q, k, v = qkv
    if rows is not None:
        q = q[:, :, rows]
    with torch.inference_mode():
        return with_policy(sdpa_attention, policy)(
            q, k, v, mask=mask, segments=SEGMENTS, block=block, transformer_options={}
        )


def biased(qkv, biases: dict[str, float], rows=("noisy",), mask=None):
    """Reference: one softmax over float64 logits with the bias added for the gated rows."""
    q, k, v = (part.double() for part in qkv)
    logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    for name, bias in biases.items():
        for row in rows:
            logits[:, :, SEGMENTS.span(row), SEGMENTS.span(name)] += bias
    if mask is not None:
        logits = logits.masked_fill(~mask, -inf)
    return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2), logits.softmax(-1)


def biases(**values: float) -> tuple:
    return tuple(
        (frozenset(name.lstrip("_") for name in values if values[name] == value), torch.tensor(value))
        for value in dict.fromkeys(values.values())
    )


def close(result, expected):
    assert torch.allclose(result.double(), expected, atol=1e-5)


def test_without_a_policy_it_is_the_very_same_function():
    assert with_policy(sdpa_attention, None) is sdpa_attention


def test_merging_equals_an_additive_mask(qkv):
    policy = AttentionPolicy(biases=biases(start=-2.0, last=-2.0, _4x=-0.5))
    assert len(policy.biases) == 2
    close(attend(policy, qkv), biased(qkv, {"start": -2, "last": -2, "4x": -0.5})[0])


def test_a_mask_over_padding_is_kept(qkv):
    mask = torch.ones(2, 1, 1, SEGMENTS.length, dtype=torch.bool)
    mask[1, ..., -3:] = False
    policy = AttentionPolicy(biases=biases(last=-1.0))
    close(attend(policy, qkv, mask=mask), biased(qkv, {"last": -1}, mask=mask)[0])


def test_rows_that_are_not_gated_keep_their_output(qkv):
    policy = AttentionPolicy(biases=((frozenset(PAST), torch.tensor(-3.0)),))
    plain, gated = attend(None, qkv), attend(policy, qkv)
    noisy = SEGMENTS.span("noisy")
    for name, place in SEGMENTS.items():
        assert torch.allclose(plain[:, place], gated[:, place], atol=1e-6) == (name != "noisy")
    assert (plain[:, noisy] - gated[:, noisy]).abs().max() > 0.01


def test_text_and_image_rows_can_be_gated_too(qkv):
    rows = ("noisy", "text", "image")
    policy = AttentionPolicy(biases=biases(start=-2.0), rows=frozenset(rows))
    close(attend(policy, qkv), biased(qkv, {"start": -2}, rows=rows)[0])


def test_dropping_equals_an_infinite_bias_and_is_the_limit_of_large_ones(qkv):
    dropped = attend(AttentionPolicy(dropped=frozenset(PAST)), qkv)
    close(dropped, biased(qkv, dict.fromkeys(PAST, -inf))[0])
    close(attend(AttentionPolicy(biases=((frozenset(PAST), torch.tensor(-60.0)),)), qkv), dropped.double())


@pytest.mark.parametrize("cap", [0.3, 0.1, 0.01])
def test_a_cap_bounds_the_share_of_every_row_and_head_and_leaves_smaller_shares_alone(qkv, cap):
    _, shares = biased(qkv, {})
    past = torch.cat([torch.arange(SEGMENTS.length)[SEGMENTS.span(name)] for name in PAST])
    noisy = SEGMENTS.span("noisy")
    mass = shares[:, :, noisy][..., past].sum(-1, keepdim=True)
    weight = shares[:, :, noisy].clone()
    weight[..., past] *= mass.clamp(max=cap) / mass
    rest = torch.tensor([i for i in range(SEGMENTS.length) if i not in past.tolist()])
    weight[..., rest] *= (1 - mass.clamp(max=cap)) / (1 - mass)
    expected = (weight @ qkv[2].double()).transpose(1, 2).flatten(2)
    close(attend(AttentionPolicy(cap=torch.tensor(cap)), qkv)[:, noisy], expected)


def test_a_cap_of_one_changes_nothing_but_rounding(qkv):
    assert torch.allclose(attend(AttentionPolicy(cap=torch.tensor(1.0)), qkv), attend(None, qkv), atol=1e-5)


@pytest.mark.parametrize(
    "capped", [frozenset(name for name, _ in SEGMENTS.items()), frozenset()], ids=["all segments", "none"]
)
def test_a_cap_on_all_segments_or_on_none_leaves_attention_as_it_is(qkv, capped):
    policy = AttentionPolicy(cap=torch.tensor(0.1), capped=capped)
    close(attend(policy, qkv), biased(qkv, {})[0])


def test_a_rule_without_weights_for_a_segment_leaves_it_alone(qkv):
    weights = {"last": torch.ones(1, 4)}
    rule = TokenRule(
        kind="bias",
        segments=frozenset({"start", "last"}),
        source="mask",
        bias=torch.tensor(-2.0),
        weights=weights,
    )
    close(attend(AttentionPolicy(by_token=(rule,)), qkv), biased(qkv, {"last": -2})[0])


@pytest.mark.parametrize("gated", [{"noisy"}, {"noisy", "last"}, {"noisy", "image"}, {"last", "image"}])
def test_a_restricted_range_of_query_rows_gets_the_same_result(qkv, gated):
    policy = AttentionPolicy(biases=biases(start=-2.0), rows=frozenset(gated))
    rows = SEGMENTS.span("noisy")
    assert torch.allclose(attend(policy, qkv, rows=rows), attend(policy, qkv)[:, rows], atol=1e-6)


@pytest.mark.parametrize(
    ("gated", "rows", "calls"),
    [
        ({"noisy"}, slice(0, 32), [13, 11]),
        ({"4x", "2x"}, slice(0, 32), [27]),
        ({"2x", "last", "text"}, slice(0, 32), [3, 4, 13]),
        ({"noisy"}, SEGMENTS.span("noisy"), []),
        ({"last", "image"}, SEGMENTS.span("noisy"), [8]),
    ],
)
def test_rows_beside_each_other_that_are_not_gated_are_attended_in_one_call(qkv, gated, rows, calls):
    asked = []

    def counted(q, k, v, **others):
        asked.append(q.shape[2])
        return sdpa_attention(q, k, v, **others)

    q, k, v = qkv
    with_policy(counted, AttentionPolicy(biases=biases(start=-2.0), rows=frozenset(gated)))(
        q[:, :, rows], k, v, mask=None, segments=SEGMENTS, block=BLOCK, transformer_options={}
    )
    assert asked == calls


def test_keys_of_one_bias_are_one_group_of_as_few_ranges_as_they_lie_in():
    groups = key_groups(SEGMENTS, AttentionPolicy(biases=biases(start=-1.0, text=-2.0)))
    assert [group.spans for group in groups] == [
        (slice(0, 5), slice(9, 26)),
        (slice(5, 9),),
        (slice(26, 32),),
    ]


def test_scaled_keys_equal_a_lower_temperature(qkv):
    q, k, v = qkv
    close(attend(AttentionPolicy(key_scale=torch.tensor(1.35)), qkv), biased([q * 1.35, k, v], {})[0])


def test_blocks_outside_the_list_are_left_alone(qkv):
    policy = AttentionPolicy(
        biases=biases(start=-2.0),
        blocks=block_set("single:0,2-3"),
        key_scale=torch.tensor(2.0),
        scaled_blocks=block_set("double:1"),
    )
    assert torch.equal(attend(policy, qkv, block=("single", 1)), attend(None, qkv))
    assert not torch.equal(attend(policy, qkv, block=("single", 2)), attend(None, qkv))
    assert not torch.equal(attend(policy, qkv, block=("double", 1)), attend(None, qkv))


@pytest.mark.parametrize("limit", [2**29, 1000])
def test_both_ways_to_the_log_sum_exp_agree(qkv, limit, monkeypatch):
    monkeypatch.setattr(log_sum_exp, "LOGITS_BYTES", limit)
    policy = AttentionPolicy(biases=biases(start=-2.0), cap=torch.tensor(0.2))
    q, k, v = qkv
    with torch.enable_grad():  # with gradients, the CPU forms the logits
        result = with_policy(sdpa_attention, policy)(
            q, k, v, mask=None, segments=SEGMENTS, block=BLOCK, transformer_options={}
        )
    assert torch.allclose(result, attend(policy, qkv), atol=1e-5)


def test_a_policy_is_described_in_one_order_in_every_process():
    names = frozenset({"text", "start", "last", "image", "4x", "2x"})
    rule = TokenRule(kind="drop", segments=names, source="mask")
    policy = AttentionPolicy(
        biases=((names, torch.tensor(-1.0)),), dropped=names, rows=names, by_token=(rule,)
    )
    described, ordered = policy.describe(), ["2x", "4x", "image", "last", "start", "text"]
    assert list(described["bias"]) == described["dropped"] == described["rows"] == ordered
    assert described["by_token"][0]["segments"] == ordered


def test_block_lists_are_read():
    assert block_set("  ") is None
    assert block_set("double:0-1; single:3,5") == {("double", 0), ("double", 1), ("single", 3), ("single", 5)}


@pytest.mark.parametrize(
    "text",
    ["triple:1", "single", "single:a", "single:1-", "single:-1", "0-3", "single:5-3", "single:0-999999999"],
)
def test_words_that_are_no_block_list_are_refused(text):
    with pytest.raises(ValueError, match="blocks"):
        block_set(text)


def test_blocks_that_the_model_lacks_are_refused():
    with pytest.raises(ValueError, match="single block 40, but this model has 20 double and 40 single"):
        check_blocks(block_set("single:39-40"), FramePackConfig())
