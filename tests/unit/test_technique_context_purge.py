"""Context purge: what is removed might as well never have been packed, and everything else stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from framepack_transitions.models.attention.joint import sdpa_attention
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.packing import pad_to_multiple
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.techniques.context.purge import FramePackContextPurge
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices, original_indices
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.restarts import restart_steps
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.sigmas import flow_sigmas
from framepack_transitions.samplers.techniques.base import Step, Technique
from framepack_transitions.samplers.techniques.chain import check_claims
from framepack_transitions.samplers.techniques.context.purge import ACTIONS, SELECTIONS, ContextPurge
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3
SECTION = plan_sections("f1", 1, WINDOW)[0].with_prompt(
    Prompt(start=0.0, text=""), change=1.0, since_switch=0
)
NOTHING = dict.fromkeys(("start", "last", "history_2x", "history_4x", "image"), "keep")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int, batch: int = 1) -> TextConditioning:
    states, pooled = normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1)
    return TextConditioning(states.repeat(batch, 1, 1), pooled.repeat(batch, 1))


def make_context(batch: int = 1, height: int = 8, width: int = 8, indices=None) -> Context:
    return Context(
        indices=indices or f1_indices(WINDOW),
        clean=normal(batch, 16, 2, height, width, seed=1),
        clean_2x=normal(batch, 16, 2, height, width, seed=2),
        clean_4x=normal(batch, 16, 16, height, width, seed=3),
        image_embeds=normal(batch, 4, 12, seed=4),
    )


def purged(context: Context, attachments=None, section=SECTION, **values) -> Context:
    technique = ContextPurge(**{**NOTHING, **values})
    return technique.context(section, context, attachments or {})


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def sample(model, technique=None, *, layout="f1", batch=1, steps=3, switch=True, measure=False, **objects):
    """Two sections with a switch between them."""
    if technique is not None:
        model = with_technique(model, technique, **objects)
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1, batch), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3, batch)),
    ][: 2 if switch else 1]
    start, tokens = normal(batch, 16, 1, 8, 8, seed=5), normal(batch, 4, 12, seed=9)
    return sample_sections(
        PlainDriver(model),
        assign_prompts(plan_sections(layout, 2, WINDOW), prompts),
        SampleInputs(start=start, has_start=True, negative=text(7, batch), image_embeds=tokens),
        SampleSettings(layout=layout, window=WINDOW, steps=steps, seed=7, measure_memory=measure),
    )


@dataclass(frozen=True)
class NeverPacked(Technique):
    """Builds a Context that lacks some tiers from the start."""

    start: bool = True
    last: bool = True
    coarse: bool = True

    def context(self, section, context, attachments):
        if not self.amount(section):
            return context
        frames = slice(0 if self.start else 1, 2 if self.last else 1)
        indices = replace(context.indices, clean=context.indices.clean[frames])
        clean = context.clean[:, :, frames] if self.start or self.last else None
        if self.coarse:
            return replace(context, indices=indices, clean=clean)
        return Context(
            indices=indices, clean=clean, clean_2x=None, clean_4x=None, image_embeds=context.image_embeds
        )


@pytest.mark.parametrize("layout", ["f1", "original"])
@pytest.mark.parametrize(
    ("actions", "packed"),
    [
        ({"history_2x": "remove", "history_4x": "remove"}, {"coarse": False}),
        ({"start": "remove"}, {"start": False}),
        ({"last": "remove"}, {"last": False}),
        ({"start": "remove", "last": "remove"}, {"start": False, "last": False}),
    ],
)
def test_removed_parts_are_bit_identical_to_a_past_that_never_had_them(model, layout, actions, packed):
    technique = ContextPurge(**{**NOTHING, **actions}, apply_to="all")
    other = NeverPacked(**packed, apply_to="all")
    latents = sample(model, technique, layout=layout)[0]
    assert torch.equal(latents, sample(model, other, layout=layout)[0])
    assert not torch.equal(latents, sample(model, layout=layout)[0])


def test_removing_the_image_tokens_is_running_without_them(model):
    @dataclass(frozen=True)
    class NoImage(Technique):
        def context(self, section, context, attachments):
            return replace(context, image_embeds=None)

    removed = sample(model, ContextPurge(**{**NOTHING, "image": "remove"}, apply_to="all"))[0]
    assert torch.equal(removed, sample(model, NoImage())[0])


def masked_attention(gone: torch.Tensor):
    """Reference: all rows attend with minus infinity on the logits of the tokens that are gone."""

    def attention(q, k, v, *, mask, segments, block, transformer_options):
        bias = torch.zeros(segments.length).masked_fill(gone, -inf)
        return sdpa_attention(q, k, v, mask=bias.expand(q.shape[0], 1, q.shape[2], -1))

    return attention


def test_single_tokens_that_are_removed_equal_keys_that_no_row_may_attend(dit_cases):
    inputs = dit_cases.make_inputs(batch=2, image=4)
    kept = {"4x": [1, 3], "2x": [0], "start": [2, 5, 9], "last": list(range(7)), "image": [0, 3]}
    lengths = {"4x": 4, "2x": 4, "start": 16, "last": 16, "noisy": 32, "image": 4, "text": 5}
    gone = torch.cat(
        [torch.tensor([i not in kept.get(n, range(c)) for i in range(c)]) for n, c in lengths.items()]
    )
    tokens = {name: torch.tensor([places]) for name, places in kept.items()}
    result = dit_cases.make_dit()(**inputs, transformer_options={"framepack_tokens": tokens})
    expected = dit_cases.make_dit(attention=masked_attention(gone))(**inputs)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_videos_of_a_batch_may_keep_different_tokens(dit_cases):
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs(batch=2)
    kept = torch.tensor([[0, 4, 7], [1, 2, 11]])
    both = dit(**inputs, transformer_options={"framepack_tokens": {"start": kept}})
    rows = {"context", "x", "timestep", "y", "guidance", "image_embeds"}
    rows |= {"clean_latents", "clean_latents_2x", "clean_latents_4x"}
    for row in range(2):
        alone = {name: value[row : row + 1] if name in rows else value for name, value in inputs.items()}
        tokens = {"framepack_tokens": {"start": kept[row : row + 1]}}
        torch.testing.assert_close(
            both[row : row + 1], dit(**alone, transformer_options=tokens), atol=1e-5, rtol=1e-4
        )


def test_zero_kv_zeroes_keys_and_values_in_every_block(dit_cases):
    inputs = dit_cases.make_inputs()
    silent = torch.zeros(16).index_fill(0, torch.tensor([1, 5, 6]), 1.0)

    def attention(q, k, v, *, segments, **told):
        place = segments.span("last")
        factor = torch.ones(segments.length)
        factor[place] = 1 - silent
        logits = (q.double() @ (k * factor[:, None]).double().transpose(-1, -2)) * q.shape[-1] ** -0.5
        return (logits.softmax(-1) @ (v * factor[:, None]).double()).transpose(1, 2).flatten(2).to(q.dtype)

    expected = dit_cases.make_dit(attention=attention)(**inputs)
    masks = {"framepack_kv_mask": {"last": (1 - silent)[None]}}
    result = dit_cases.make_dit()(**inputs, transformer_options=masks)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    removed = {"framepack_tokens": {"last": (silent == 0).nonzero().T}}
    assert (dit_cases.make_dit()(**inputs, transformer_options=removed) - result).abs().max() > 1e-4


def test_the_founding_form_mutes_a_seeded_random_share():
    context = make_context()
    actions = {"start": "zero_kv", "last": "zero_kv", "history_4x": "zero_kv"}
    masks = purged(context, select="random", keep_ratio=0.25, seed=3, **actions).kv_mask
    assert {name: part.sum().item() for name, part in masks.items()} == {"4x": 1, "start": 4, "last": 4}
    again = purged(context, select="random", keep_ratio=0.25, seed=3, **actions).kv_mask
    other = purged(context, select="random", keep_ratio=0.25, seed=4, **actions).kv_mask
    assert all(torch.equal(masks[name], again[name]) for name in masks)
    assert any(not torch.equal(masks[name], other[name]) for name in masks)


def test_a_smaller_change_takes_fewer_tokens_and_a_smaller_step_away():
    half = replace(SECTION, change=0.5)
    result = purged(make_context(), section=half, select="random", keep_ratio=0.5, last="remove", gap=6)
    assert result.tokens["last"].shape == (1, 12)
    assert result.indices.clean[1] == 16
    untouched = make_context()
    assert purged(untouched, section=replace(SECTION, change=0.2), last="remove") is untouched


def test_a_mask_takes_the_tokens_that_it_covers_in_every_tier():
    mask = torch.zeros(2, 64, 64)
    mask[0, :, :32], mask[1, :16, 48:] = 1.0, 1.0
    actions = dict.fromkeys(("start", "last", "history_2x", "history_4x", "image"), "remove")
    result = purged(make_context(), {"m": mask}, select="mask", mask="m", **actions)
    union = mask.amax(0).numpy()

    def expected(frames: int, cells: int) -> list[int]:
        size = 8 * cells
        grid = union.reshape(64 // size, size, 64 // size, size).mean((1, 3))
        return np.flatnonzero(np.tile(grid.ravel(), frames) < 0.5).tolist()

    for name, frames, cells in (("start", 1, 2), ("last", 1, 2), ("2x", 1, 4), ("4x", 4, 8), ("image", 1, 4)):
        kept = result.tokens.get(name)
        places = list(range(frames * (8 // cells) ** 2)) if kept is None else kept[0].tolist()
        assert places == expected(frames, cells), name


@pytest.mark.parametrize(("keep_ratio", "taken"), [(0.0, 8), (0.25, 6), (0.5, 4), (1.0, 0)])
def test_the_founding_form_takes_a_random_share_of_what_the_mask_covers(keep_ratio, taken):
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1.0
    values = {"select": "random_in_mask", "mask": "m", "keep_ratio": keep_ratio, "start": "zero_kv"}
    first = purged(make_context(), {"m": mask}, **values).kv_mask.get("start", torch.ones(1, 16))
    right = torch.arange(16).reshape(4, 4)[:, 2:].flatten()
    assert first[0, right].all() and (first == 0).sum() == taken
    assert torch.equal(first, purged(make_context(), {"m": mask}, **values).kv_mask.get("start", first))
    others = [
        purged(make_context(), {"m": mask}, **values, seed=seed).kv_mask.get("start", first)
        for seed in range(1, 6)
    ]
    assert any(not torch.equal(first, other) for other in others) == (0 < taken < 8)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_zeroing_empties_whole_tokens_and_nothing_else(size):
    context = make_context(2, *size)
    result = purged(context, select="random", keep_ratio=0.5, last="zero", history_2x="zero")
    for before, after, kernel in (
        (context.clean[:, :, 1:], result.clean[:, :, 1:], (1, 2, 2)),
        (context.clean_2x, result.clean_2x, (2, 4, 4)),
    ):
        changed = pad_to_multiple((before != after).any(1, keepdim=True).float(), kernel)
        share = F.avg_pool3d(changed, kernel)
        assert set(share.unique().tolist()) == {0.0, 1.0} and 0.4 < share.mean() < 0.6
        assert torch.equal(after, torch.where(after == 0, after, before))
    assert torch.equal(result.clean[:, :, :1], context.clean[:, :, :1]) and not result.tokens
    everything = purged(
        context, last="zero", history_2x="zero", history_4x="zero", start="zero", image="zero"
    )
    assert not any(part.any() for part in (everything.clean, everything.clean_2x, everything.clean_4x))


@pytest.mark.parametrize("layout", ["f1", "original"])
@pytest.mark.parametrize("tier", ["2x", "4x"])
def test_demoting_the_last_frame_is_packing_it_in_the_coarse_tier(model, layout, tier):
    """A Context made by hand, its frame repeated to fill the kernel."""

    @dataclass(frozen=True)
    class ByHand(Technique):
        def context(self, section, context, attachments):
            size, own = int(tier[0]), getattr(context.indices, f"clean_{tier}")
            last = context.clean[:, :, 1:].repeat(1, 1, size, 1, 1)
            places = {f"clean_{tier}": own + context.indices.clean[1:] * size}
            indices = replace(context.indices, clean=context.indices.clean[:1], **places)
            latents = torch.cat([getattr(context, f"clean_{tier}"), last], dim=2)
            return replace(
                context, indices=indices, clean=context.clean[:, :, :1], **{f"clean_{tier}": latents}
            )

    technique = ContextPurge(**{**NOTHING, "last": tier}, apply_to="all")
    assert torch.equal(sample(model, technique, layout=layout)[0], sample(model, ByHand(), layout=layout)[0])


def test_frames_that_follow_each_other_share_a_kernel_and_the_start_frame_does_not():
    context = make_context()
    actions = {"start": "4x", "last": "4x", "history_2x": "4x", "history_4x": "remove"}
    result = purged(context, **actions)
    assert result.indices.clean_4x[16:] == (0, 0, 0, 0, 17, 18, 19, 19)
    assert torch.equal(result.clean_4x[:, :, 20:22], context.clean_2x)
    assert result.tokens["4x"].tolist() == [[4, 5]]
    assert all(result.tokens[name].shape == (1, 0) for name in ("start", "last", "2x"))


def test_a_tier_can_give_its_frames_away_and_take_others():
    result = purged(make_context(), last="2x", history_2x="4x")
    assert result.indices.clean_2x == (17, 18, 19, 19) and result.tokens["2x"].tolist() == [[4, 5, 6, 7]]
    assert result.indices.clean_4x[16:] == (17, 18, 18, 18) and "4x" not in result.tokens
    masks = purged(make_context(), last="2x", history_2x="zero_kv").kv_mask["2x"]
    assert masks.tolist() == [[0.0] * 4 + [1.0] * 4]


def test_a_gap_moves_the_history_away_and_keeps_the_window_and_the_order(model):
    forward = purged(make_context(), gap=5).indices
    assert forward.target == f1_indices(WINDOW).target and forward.clean == (-5, 14)
    assert forward.clean_2x == (12, 13) and forward.clean_4x == tuple(range(-4, 12))
    before = original_indices(WINDOW, 6)
    backward = purged(make_context(indices=before), gap=5).indices
    assert backward.target == before.target and backward.clean == (0, before.clean[1] + 5)
    assert backward.clean_2x == tuple(i + 5 for i in before.clean_2x)
    assert backward.clean_4x == tuple(i + 5 for i in before.clean_4x)
    moved = sample(model, ContextPurge(**NOTHING, gap=5))[0]
    assert (moved - sample(model)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("select", ["most_attended", "least_attended"])
def test_selecting_by_attention_waits_a_step_and_takes_what_was_measured(model, select):
    actions = {**NOTHING, "start": "remove", "last": "remove"}
    technique = ContextPurge(**actions, select=select, keep_ratio=0.25, apply_to="all")
    received = {"start": torch.rand(2, 16), "last": torch.rand(2, 16), "4x": torch.rand(2, 4)}
    context, step = replace(make_context(2), attention_shares=received), Step(0.9, 0.9)
    result = technique.context_at(SECTION, step, context, {})
    for name in ("start", "last"):
        order = np.argsort(received[name].numpy(), axis=1)
        order = order if select == "most_attended" else order[:, ::-1]
        assert result.tokens[name].tolist() == np.sort(order[:, :4], axis=1).tolist()
    unmeasured = make_context(2)
    assert (
        technique.reads_attention_shares(SECTION) and technique.context(SECTION, unmeasured, {}) is unmeasured
    )
    assert technique.context_at(SECTION, step, unmeasured, {}) is unmeasured
    latents, trace = sample(model, technique, batch=2, measure=True)
    steps = trace["sections"][1]["memory"]["steps"]
    assert [one["context_tokens"] for one in steps] == [40, 16, 16], "8 coarse tokens stay beside the quarter"
    assert torch.isfinite(latents).all()


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"start": "remove"}, ()),
        ({"start": "remove", "select": "most_attended"}, (1,)),
        ({"start": "remove", "t_end": 0.5}, (5,)),
    ],
)
def test_solvers_begin_anew_where_the_purge_begins_or_ends(values, steps):
    technique = ContextPurge(**{**NOTHING, **values})
    context = technique.context(SECTION, make_context(), {})
    denoiser = SectionDenoiser(
        section=SECTION, context=context, texts={}, guidance=Guidance(), shift=3.0, techniques=[technique]
    )
    assert restart_steps(denoiser, flow_sigmas(10, 3.0)) == steps


def test_a_window_limits_the_purge_to_its_steps(model):
    technique = ContextPurge(**{**NOTHING, "history_4x": "remove"}, t_end=0.5, apply_to="all")
    _, trace = sample(model, technique, measure=True)
    steps = trace["sections"][0]["memory"]["steps"]
    assert [one["context_tokens"] for one in steps] == [36 if one["t"] > 0.5 else 40 for one in steps]
    assert {one["context_tokens"] for one in steps} == {36, 40}
    assert trace["sections"][0]["tokens"] == {}


def test_the_trace_counts_what_stays_in_a_section(model):
    _, trace = sample(model, ContextPurge(**{**NOTHING, "start": "remove"}))
    assert [section["tokens"] for section in trace["sections"]] == [{}, {"start": 0}]


def test_off_is_bit_identical_and_the_same_object(model):
    for values in (
        {},
        {"select": "random", "keep_ratio": 1.0, "last": "remove"},
        {"select": "random_in_mask", "keep_ratio": 1.0, "last": "remove"},
        {"select": "most_attended", "keep_ratio": 1.0, "last": "zero_kv"},
    ):
        technique, context = ContextPurge(**{**NOTHING, **values}, apply_to="all"), make_context()
        assert technique.context(SECTION, context, {}) is context
        assert technique.context_at(SECTION, Step(0.9, 0.9), context, {}) is context
        assert not technique.reads_attention_shares(SECTION)
        assert torch.equal(sample(model, technique)[0], sample(model)[0])


def test_without_a_switch_it_does_nothing(model):
    assert torch.equal(sample(model, ContextPurge(), switch=False)[0], sample(model, switch=False)[0])


def test_two_purges_of_the_same_part_are_refused_and_of_different_parts_add_up():
    everywhere = {**NOTHING, "apply_to": "all"}
    first = ContextPurge(**{**everywhere, "start": "remove"})
    step = Step(0.9, 0.9)
    with pytest.raises(ValueError, match="same part of the past .start. in section 1; keep one of them"):
        check_claims((first, ContextPurge(**{**everywhere, "start": "zero"})), SECTION, step)
    check_claims((first, ContextPurge(**{**everywhere, "last": "remove"})), SECTION, step)
    early, late = (replace(first, t_end=0.5), replace(first, t_start=0.5))
    for t in (1.0, 0.5, 0.1):
        check_claims((early, late), SECTION, Step(t, t))
    assert set(purged(purged(make_context(), start="remove"), last="remove").tokens) == {"start", "last"}


def test_node_asks_for_the_mask_that_it_needs(model):
    values = {
        name: spec[1]["default"]
        for name, spec in FramePackContextPurge.INPUT_TYPES()["required"].items()
        if name != "model"
    }
    with pytest.raises(ValueError, match="select is mask, but no mask is connected"):
        FramePackContextPurge().apply(model, **{**values, "select": "mask"})
    with pytest.raises(ValueError, match="select is random_in_mask, but no mask is connected"):
        FramePackContextPurge().apply(model, **{**values, "select": "random_in_mask"})
    (chained,) = FramePackContextPurge().apply(model, torch.ones(1, 8, 8), **{**values, "select": "mask"})
    latents, _ = sample(chained)
    assert not torch.equal(latents, sample(model)[0])
    with pytest.raises(ValueError, match="mask is .5., connect|mask is .5."):
        sample(FramePackContextPurge().apply(model, torch.ones(5), **{**values, "select": "mask"})[0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"start": "drop"}, "start is 'drop'"),
        ({"history_4x": "2x"}, "4x is '2x'"),
        ({"select": "some"}, "select is 'some'"),
        ({"keep_ratio": 1.5}, "keep_ratio is 1.5"),
        ({"keep_ratio": float("nan")}, "keep_ratio is nan"),
        ({"gap": -1}, "gap is -1"),
        ({"threshold": 2.0}, "threshold is 2"),
        ({"t_start": 0.2, "t_end": 0.6}, "the window runs"),
    ],
)
def test_bad_values_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ContextPurge(**values)


@settings(max_examples=25, deadline=None)
@given(
    actions=st.tuples(*(st.sampled_from(choices) for choices in ACTIONS.values())),
    select=st.sampled_from(SELECTIONS),
    keep_ratio=st.floats(0, 1),
    gap=st.integers(0, 30),
    t_end=st.sampled_from([0.0, 0.5]),
    layout=st.sampled_from(["f1", "original"]),
    batch=st.sampled_from([1, 2]),
)
def test_any_setting_leaves_what_is_older_than_the_switch_and_gives_finite_videos(
    model, actions, select, keep_ratio, gap, t_end, layout, batch
):
    names = ("start", "last", "history_2x", "history_4x", "image")
    technique = ContextPurge(
        **dict(zip(names, actions)), select=select, keep_ratio=keep_ratio, gap=gap, t_end=t_end
    )
    mask = torch.zeros(1, 64, 64)
    mask[:, :40, :24] = 1.0
    words = text(11, 1)
    objects = {"mask": mask, "concept": [[words.states, {"pooled_output": words.pooled}]]}
    with torch.inference_mode():
        latents, _ = sample(model, technique, layout=layout, batch=batch, steps=2, **objects)
        plain, _ = sample(model, layout=layout, batch=batch, steps=2)
    assert latents.shape == plain.shape and torch.isfinite(latents).all()
    # The original layout makes the section after the switch first; the start frame is older in both.
    older = 1 + WINDOW if layout == "f1" else 1
    assert torch.equal(latents[:, :, :older], plain[:, :, :older])
