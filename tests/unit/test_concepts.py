"""Concepts in the packed past: planted attention and float64 for the maps, cells counted by hand for the tokens they choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from math import exp

import numpy as np
import pytest
import torch
from framepack_transitions.models.attention import concept_probe
from framepack_transitions.models.attention.concept_probe import ConceptProbe, share_of_words
from framepack_transitions.models.attention.joint import PAST, sdpa_attention
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.concept_plot import plot_concepts
from framepack_transitions.nodes.techniques.attention.kv_gate import FramePackSemanticKVGate
from framepack_transitions.nodes.techniques.context.purge import FramePackContextPurge
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.concepts import concept_weights, otsu_threshold, smoothed
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.context.tokens import token_counts, token_weights
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.dual_memory import DualMemory
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Step
from framepack_transitions.samplers.techniques.context.purge import ContextPurge
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# The probe


def test_a_token_that_looks_at_the_words_pays_them_what_the_softmax_says():
    """Logits are planted: 3 for each of two words where the concept lies, 0 for everything else."""
    q, k = torch.zeros(1, 2, 4, 16), torch.zeros(1, 2, 5, 16)
    q[:, :, 1, 0], k[:, :, :2, 0] = 3.0 * 16**0.5, 1.0
    found = share_of_words(q, k, None, words=2)
    seen = 2 * exp(3) / (2 * exp(3) + 3)
    np.testing.assert_allclose(found[0].numpy(), [0.4, seen, 0.4, 0.4], rtol=1e-5)
    padded = torch.tensor([True, True, True, False, False])[None, None, None]
    np.testing.assert_allclose(share_of_words(q, k, padded, words=2)[0, 0].item(), 2 / 3, rtol=1e-5)


class Recorder:
    """Plain attention that also keeps what the past pays to the text in every block, [B, past, text] in float64."""

    def __init__(self) -> None:
        self.blocks: list[torch.Tensor] = []

    def __call__(self, q, k, v, *, mask, segments, **_):
        text, past = segments.span("text"), segments.span("noisy").start
        if q.shape[2] == segments.length:
            logits = q[:, :, :past].double() @ k[:, :, text].double().transpose(-1, -2) * q.shape[-1] ** -0.5
            if mask is not None:
                logits = logits.masked_fill(~mask[..., text], -torch.inf)
            self.blocks.append(logits.softmax(-1).mean(dim=1))
        return sdpa_attention(q, k, v, mask=mask)


@pytest.mark.parametrize("rows", [None, 7])
def test_a_map_is_the_mean_over_the_blocks_that_ask_for_all_tokens(dit_cases, monkeypatch, rows):
    recorder, probe = Recorder(), ConceptProbe(words=2)
    dit = dit_cases.make_dit(attention=recorder, num_layers=2, num_single_layers=3)
    inputs = dit_cases.make_inputs(batch=2, window=3, image=4)
    inputs["attention_mask"] = torch.arange(5) < torch.tensor([[5], [3]])
    plain = dit_cases.make_dit(num_layers=2, num_single_layers=3)(**inputs)
    if rows:
        heads = dit.config.num_attention_heads
        monkeypatch.setattr(concept_probe, "LOGITS_BYTES", 4 * 2 * heads * 5 * rows)
    assert torch.equal(dit(**inputs, transformer_options={"framepack_probe": probe}), plain)

    assert len(recorder.blocks) == 4, "the last block asks for the window alone"
    expected = torch.stack(recorder.blocks).mean(dim=0)[..., :2].sum(dim=-1)
    found = torch.cat([probe.first()[name] for name in PAST], dim=1)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)


def test_a_model_that_ran_no_blocks_is_reported():
    with pytest.raises(ValueError, match="without running its blocks; take step caches"):
        ConceptProbe(words=1).first()


# From shares to tokens


def make_context(batch: int = 1, size: tuple[int, int] = (16, 24), **changes) -> Context:
    parts = {
        "clean": normal(batch, 16, 2, *size, seed=1),
        "clean_2x": normal(batch, 16, 2, *size, seed=2),
        "clean_4x": normal(batch, 16, 16, *size, seed=3),
        "image_embeds": normal(batch, 4, 12, seed=4),
    }
    return Context(indices=f1_indices(3), **{**parts, **changes})


# Blocks of tokens (rows, columns) in a frame of 8 x 12: in a corner, and across tokens of the 4x tier.
CORNER, INSIDE = (range(4), range(4)), (range(4, 8), range(6, 10))


def cells(rows: Iterable[int], columns: Iterable[int]) -> list[list[int]]:
    return [list(place) for place in product(rows, columns)]


def planted(context: Context, **blocks: tuple[range, range]) -> dict[str, torch.Tensor]:
    """Shares of 0.2 with noise, and of 0.6 in a block of tokens of a fine segment."""
    shares = {name: 0.2 + 0.01 * normal(1, n, seed=n) for name, n in token_counts(context).items()}
    width = context.clean.shape[-1] // 2
    for name, (rows, columns) in blocks.items():
        for row, column in product(rows, columns):
            shares[name][0, row * width + column] = 0.6
    return shares


def test_a_map_chooses_the_right_cells_of_every_tier():
    """The picture has 8 x 12 tokens of the frames, 4 x 6 of the 2x tier, 2 x 3 of the 4x tier."""
    context = make_context()
    weights = concept_weights(planted(context, start=CORNER, last=INSIDE), context)
    assert set(weights) == {"4x", "2x", "start", "last", "image"}
    assert weights["start"].view(8, 12).nonzero().tolist() == cells(*CORNER)
    assert weights["last"].view(8, 12).nonzero().tolist() == cells(*INSIDE)
    assert weights["2x"].view(4, 6).nonzero().tolist() == cells((0, 1), (0, 1)) + cells((2, 3), (3, 4))
    grids = weights["4x"].view(4, 2, 3)
    assert all(grid.nonzero().tolist() == [[0, 0], [1, 1], [1, 2]] for grid in grids)
    assert all(set(weights[name].unique().tolist()) == {0.0, 1.0} for name in PAST)
    image = weights["image"].view(2, 2)
    assert image[0, 0] > 0.3 and image[1].max() < 0.1, "the upper left of the start frame"


def test_odd_sizes_are_covered_to_their_edges():
    """5 x 11 tokens; the last row and column of the coarser tiers are cut off."""
    context = make_context(size=(10, 22))
    weights = concept_weights(planted(context, last=(range(3, 5), range(9, 11))), context)
    assert weights["last"].view(5, 11).nonzero().tolist() == cells((3, 4), (9, 10))
    assert weights["2x"].view(3, 6).nonzero().tolist() == cells((1, 2), (4, 5))
    assert all(grid.nonzero().tolist() == cells((0, 1), (2,)) for grid in weights["4x"].view(4, 2, 3))


def test_neighbours_count_half_as_much_along_each_axis_within_a_frame():
    shares = torch.zeros(1, 2 * 12)
    shares[0, [5, 12]] = 16.0  # frame 0, row 1, column 2; and a corner of frame 1
    first, second = smoothed(shares, (2, 8, 6)).view(2, 4, 3)
    assert first.tolist() == [[0, 1, 3], [0, 2, 6], [0, 1, 3], [0, 0, 0]], "the edge repeats itself"
    assert second.tolist() == [[9, 3, 0], [3, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_otsu_divides_as_an_exhaustive_search_does():
    values = torch.cat([normal(3, 30, seed=1), 3 + normal(3, 12, seed=2)], dim=1)
    counted = torch.ones_like(values, dtype=torch.bool)
    counted[1, ::3] = False
    for row, (own, inside) in enumerate(zip(values.double().numpy(), counted.numpy())):
        own = np.sort(own[inside])
        cuts = range(1, len(own))
        best = max(cuts, key=lambda n: n * (len(own) - n) * (own[:n].mean() - own[n:].mean()) ** 2)
        assert otsu_threshold(values, counted)[row].item() == pytest.approx(own[best - 1])
    assert otsu_threshold(torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool)).item() == torch.inf


def test_what_seems_to_fill_too_much_is_divided_once_more():
    """Columns of 0, 0.8, 1.6 and 0.9 are smoothed to 0.2, 0.8, 1.225 and 1.075: first the first one is apart, then the second.

    n1 n2 (mean1 - mean2)^2 of the last three: 0.245 with the second alone on one side, 0.165 with the third alone.
    """
    columns = torch.tensor([0.0, 0.8, 1.6, 0.9]).repeat(4)[None]
    context = Context(indices=f1_indices(3), clean=normal(1, 16, 2, 8, 8, seed=1))
    shares = {"start": columns, "last": columns}
    shown = [
        concept_weights(shares, context, most)["last"].reshape(4, 4)[1].tolist() for most in (1.0, 0.75, 0.5)
    ]
    assert shown == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]


def test_empty_frames_show_nothing_and_no_past_chooses_nothing():
    empty, filled = torch.zeros(1, 16, 1, 16, 24), normal(1, 16, 1, 16, 24, seed=1)
    context = make_context(clean=torch.cat([empty, filled], dim=2))
    weights = concept_weights(planted(context, start=CORNER, last=INSIDE), context)
    assert weights["start"].sum() == 0 and weights["last"].sum() == 16
    assert weights["image"].sum() == 0
    nothing = make_context(clean=None, clean_2x=None, clean_4x=None)
    assert {name: part.sum().item() for name, part in concept_weights({}, nothing).items()} == {"image": 0}


def test_videos_of_a_batch_have_maps_of_their_own():
    one, other = (planted(make_context(), last=place) for place in (CORNER, INSIDE))
    both = concept_weights({name: torch.cat([one[name], other[name]]) for name in one}, make_context(2))
    for row, shares in enumerate((one, other)):
        alone = concept_weights(shares, make_context())
        assert all(torch.equal(both[name][row], alone[name][0]) for name in PAST)


# Techniques

SWITCHED = plan_sections("f1", 1, 3)[0].with_prompt(Prompt(start=0.0, text=""), change=1.0, since_switch=0)


def found_in(context: Context) -> Context:
    weights = concept_weights(planted(context, last=INSIDE), context)
    return replace(context, concepts={"c+k+positive": weights})


def test_a_gate_weighs_the_packed_tokens_by_the_concept():
    kept = torch.tensor([[0, 4 * 12 + 6, 7 * 12 + 9]])
    context = replace(found_in(make_context()), tokens={"last": kept})
    assert token_weights(context, "c+k+positive", {})["last"].tolist() == [[0, 1, 1]]
    other = replace(context, clean_2x=None, clean_4x=normal(1, 16, 20, 16, 24, seed=1))
    with pytest.raises(
        ValueError, match="4x part of the past had 24 tokens when a concept was looked for in it and has 30"
    ):
        token_weights(other, "c+k+positive", {})


def test_a_purge_takes_the_tokens_of_the_concept_and_waits_until_it_was_looked_for():
    technique = ContextPurge(
        select="concept", concept="c", keep="k", last="remove", history_2x="zero_kv", history_4x="keep"
    )
    context, step = make_context(), Step(0.9, 0.9)
    assert technique.context_at(SWITCHED, step, context, {}) is context
    purged = technique.context_at(SWITCHED, step, found_in(context), {})
    gone = sorted(set(range(96)) - set(purged.tokens["last"][0].tolist()))
    assert gone == [12 * row + column for row, column in cells(*INSIDE)]
    assert purged.kv_mask["2x"].view(4, 6).eq(0).nonzero().tolist() == cells((2, 3), (3, 4))
    assert technique.claims(SWITCHED, step) == {"last", "2x"}


@pytest.mark.parametrize(
    "technique",
    [
        SemanticKVGate(tokens="concept", gamma=0.0),
        SemanticKVGate(tokens="concept", mode="cap", cap=1.0),
        SemanticKVGate(tokens="moving"),
        ContextPurge(select="concept", last="keep", history_2x="keep", history_4x="keep"),
        ContextPurge(),
    ],
)
def test_what_is_off_looks_for_nothing(technique):
    assert technique.concepts(SWITCHED) == ()


def test_nothing_is_looked_for_where_nothing_is_gated():
    before = replace(SWITCHED, since_switch=None)
    for technique in (SemanticKVGate(tokens="concept"), ContextPurge(select="concept")):
        assert technique.concepts(before) == () and len(technique.concepts(SWITCHED)) == 1


@pytest.mark.parametrize(
    ("node", "values"),
    [(FramePackSemanticKVGate, {"tokens": "concept"}), (FramePackContextPurge, {"select": "concept"})],
)
def test_a_node_without_the_concept_says_what_to_connect(node, values):
    with pytest.raises(ValueError, match="is concept, but no concept is connected.*CLIP Text Encode"):
        node().apply(None, **values)


# A run


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def text(seed: int, length: int = 5) -> TextConditioning:
    return TextConditioning(normal(1, length, 24, seed=seed), normal(1, 20, seed=seed + 1))


def conditioning(seed: int, length: int) -> list:
    return [[normal(1, length, 24, seed=seed), {"pooled_output": normal(1, 20, seed=seed + 1)}]]


def sampled(model: PlainModel, *, layout: str = "f1", switch: bool = True):
    prompts = [Prompt(start=0.0, text="old", conditioning=text(1))]
    if switch:
        prompts.append(Prompt(start=0.4, text="new", conditioning=text(3, 7)))
    sections = assign_prompts(plan_sections(layout, 2, 3), prompts)
    inputs = SampleInputs(
        start=normal(1, 16, 1, 8, 8, seed=7),
        has_start=True,
        negative=text(5),
        image_embeds=normal(1, 4, 12, seed=9),
    )
    settings = SampleSettings(window=3, steps=4, layout=layout)
    return sample_sections(PlainDriver(model), sections, inputs, settings, solver="euler")


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_a_concept_costs_one_evaluation_in_the_sections_that_use_it(model, layout):
    gate = SemanticKVGate(tokens="concept", mode="drop")
    gated = with_technique(model, gate, concept=conditioning(11, 2), keep=conditioning(13, 3))
    plain, _ = sampled(model, layout=layout)
    latents, trace = sampled(gated, layout=layout)
    assert [section["evaluations"] for section in trace["sections"]] == [4, 5]
    assert not torch.equal(latents, plain)
    untouched, _ = sampled(gated, layout=layout, switch=False)
    assert torch.equal(untouched, sampled(model, layout=layout, switch=False)[0])


def test_concepts_of_two_techniques_are_looked_for_one_by_one(model):
    for technique in (SemanticKVGate(tokens="concept"), ContextPurge(select="concept", last="zero_kv")):
        model = with_technique(model, technique, concept=conditioning(11, 2))
    _, trace = sampled(model)
    assert trace["sections"][1]["evaluations"] == 4 + 2


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_the_trace_shows_where_a_concept_and_its_control_were_found(model, layout):
    memory = DualMemory()
    words = {"concept": conditioning(11, 2), "control": conditioning(13, 3)}
    plain, trace = sampled(with_technique(model, memory, **words), layout=layout)
    first, second = trace["sections"]
    assert "concepts" not in first and second["evaluations"] == 4 + 2
    maps = list(second["concepts"].values())
    assert [name.split("+")[0].rsplit("/")[-1] for name in second["concepts"]] == ["concept", "control"]
    assert all(np.shape(found[name]) == (1, 4, 4) for found in maps for name in ("start", "last"))
    assert {value for found in maps for rows in found["last"][0] for value in rows} == {0, 1}
    words.pop("control")
    alone, _ = sampled(with_technique(model, memory, **words), layout=layout)
    assert torch.equal(alone, plain), "the control is only shown"


def test_maps_are_drawn_a_row_for_each_section_that_has_them():
    checks = [[[0, 1], [1, 0]]]
    section = {"concepts": {"a/0/concept+positive": {"start": checks, "last": checks}}}
    one, two = (plot_concepts({"sections": [{}, *[section] * n]}, 400) for n in (1, 2))
    assert plot_concepts({"sections": [{}]}, 400) is None
    assert one.shape[1:] == (400, 3) and two.shape[0] == 2 * one.shape[0]
    shown = {tuple(colour) for colour in one[40:160, 50:180].reshape(-1, 3)}
    assert len(shown) == 2, "found or not found"
