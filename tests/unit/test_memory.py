"""What a section attends to: against softmax in float64 over recorded queries and keys, and without a trace in the video."""

from __future__ import annotations

import json
from math import log

import pytest
import torch
from framepack_transitions.metrics.definitions.inertia import log_odds
from framepack_transitions.models.attention import probe as probe_module
from framepack_transitions.models.attention.joint import PAST, sdpa_attention
from framepack_transitions.models.attention.policy import AttentionPolicy
from framepack_transitions.models.attention.probe import Probe
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.memory import EARLY, memory_record
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.attention_scaling import AttentionScaling
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

pytestmark = pytest.mark.usefixtures("no_gradients")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Recorder:
    """Plain attention that also forms every block's probabilities [B, H, noisy rows, keys] in float64."""

    def __init__(self) -> None:
        self.blocks: list[torch.Tensor] = []

    def __call__(self, q, k, v, *, mask, segments, **_):
        place = segments.span("noisy")
        start = 0 if q.shape[2] < segments.length else place.start
        asking = q[:, :, start : start + place.stop - place.start].double()
        logits = asking @ k.double().transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        self.blocks.append(logits.softmax(-1))
        return sdpa_attention(q, k, v, mask=mask)

    def shares(self) -> torch.Tensor:
        """The mean probability of every key over rows, heads and blocks, [B, keys]."""
        return torch.stack(self.blocks).mean(dim=(0, 2, 3))


@pytest.mark.parametrize("padded", [False, True])
def test_shares_equal_the_mean_softmax_of_all_rows_heads_and_blocks(dit_cases, padded):
    recorder, probe = Recorder(), Probe(tokens=True)
    dit = dit_cases.make_dit(attention=recorder, num_layers=2, num_single_layers=3)
    inputs = dit_cases.make_inputs(batch=2, window=3, image=4)
    if padded:
        inputs["attention_mask"] = torch.arange(5) < torch.tensor([[5], [3]])
    plain = dit_cases.make_dit(num_layers=2, num_single_layers=3)(**inputs)
    assert torch.equal(dit(**inputs, transformer_options={"framepack_probe": probe}), plain)

    (measured,) = probe.measured
    expected = recorder.shares()
    for number, (name, place) in enumerate(measured.segments.items()):
        part = expected[:, place]
        torch.testing.assert_close(
            measured.of_segments[:, number].double(), part.sum(1), atol=1e-6, rtol=1e-5
        )
        if name in (*PAST, "image"):
            torch.testing.assert_close(measured.of_tokens[name].double(), part, atol=1e-6, rtol=1e-4)
    assert set(measured.of_tokens) == {*PAST, "image"}


def test_a_gate_does_not_change_what_is_measured_in_the_block_where_it_acts(dit_cases):
    """With one block, nothing before it is gated: the share is the ungated one, and the output the gated one."""
    dit, inputs = dit_cases.make_dit(num_layers=0, num_single_layers=1), dit_cases.make_inputs()
    gate = AttentionPolicy(biases=((frozenset(PAST), torch.tensor(-5.0)),), key_scale=torch.tensor(2.0))
    plain, gated = Probe(), Probe()
    dit(**inputs, transformer_options={"framepack_probe": plain})
    out = dit(**inputs, transformer_options={"framepack_probe": gated, "framepack_attention": gate})
    assert torch.equal(plain.measured[0].of_segments, gated.measured[0].of_segments)
    assert torch.equal(out, dit(**inputs, transformer_options={"framepack_attention": gate}))


def test_evenly_spread_rows_stand_for_all_of_them(dit_cases, monkeypatch):
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs(window=9)
    every, some = Probe(), Probe()
    dit(**inputs, transformer_options={"framepack_probe": every})
    monkeypatch.setattr(probe_module, "ROWS", 40)
    dit(**inputs, transformer_options={"framepack_probe": some})
    assert some.start(every.measured[0].segments, 1, torch.device("cpu")).rows.unique().numel() == 40
    torch.testing.assert_close(some.measured[0].of_segments, every.measured[0].of_segments, atol=0.01, rtol=0)


def test_a_batch_of_conditionings_gives_the_first_ones_part(dit_cases):
    """The host evaluates several conditionings as one batch, in an order that it tells."""
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs(batch=4)
    probe = Probe(tokens=True)
    dit(**inputs, transformer_options={"framepack_probe": probe, "cond_or_uncond": [1, 0]})
    (measured,) = probe.measured
    assert torch.equal(measured.of_first_conditioning().of_segments, measured.of_segments[2:])
    assert torch.equal(measured.of_first_conditioning().of_tokens["last"], measured.of_tokens["last"][2:])
    dit(**inputs, transformer_options={"framepack_probe": probe, "cond_or_uncond": [1]})
    assert probe.measured[1].of_first_conditioning() is None


def test_nothing_measured_is_no_record():
    assert memory_record([]) is None


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def text(seed: int, batch: int) -> TextConditioning:
    states, pooled = normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1)
    return TextConditioning(states.repeat(batch, 1, 1), pooled.repeat(batch, 1))


def sample(model, *techniques, measure=True, batch=1, layout="f1", guidance=Guidance()):
    for technique in techniques:
        model = with_technique(model, technique)
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1, batch), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3, batch)),
    ]
    start, tokens = normal(batch, 16, 1, 8, 8, seed=5), normal(batch, 4, 12, seed=9)
    return sample_sections(
        PlainDriver(model),
        assign_prompts(plan_sections(layout, 2, 3), prompts),
        SampleInputs(start=start, has_start=True, negative=text(7, batch), image_embeds=tokens),
        SampleSettings(layout=layout, window=3, steps=4, seed=7, guidance=guidance, measure_memory=measure),
    )


@pytest.mark.parametrize("layout", ["f1", "original"])
@pytest.mark.parametrize(
    ("techniques", "guidance"),
    [
        ((), Guidance()),
        ((), Guidance(cfg=3.0)),
        ((SemanticKVGate(apply_to="all"),), Guidance()),
        ((SemanticKVGate(mode="cap", tokens="moving", apply_to="all"), AttentionScaling()), Guidance()),
    ],
)
def test_measuring_leaves_the_video_bit_identical(model, techniques, guidance, layout):
    measured, trace = sample(model, *techniques, guidance=guidance, layout=layout)
    plain, silent = sample(model, *techniques, guidance=guidance, layout=layout, measure=False)
    assert torch.equal(measured, plain)
    assert all("memory" in section for section in trace["sections"])
    assert not any("memory" in section for section in silent["sections"])


def test_the_record_is_the_mean_of_the_early_steps_of_the_positive_text(upstream, model):
    recorder = Recorder()
    recording = upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG), attention=recorder))
    _, trace = sample(PlainModel(recording, 0.5), batch=2, guidance=Guidance(cfg=3.0))
    blocks = upstream.CONFIG["num_layers"] + upstream.CONFIG["num_single_layers"]
    # In every step the positive text is evaluated first, then the negative.
    evaluations = [recorder.blocks[i : i + blocks] for i in range(0, len(recorder.blocks), 2 * blocks)]
    assert len(evaluations) == 8
    for number, section in enumerate(trace["sections"]):
        memory = json.loads(json.dumps(section["memory"]))
        steps = evaluations[4 * number : 4 * number + 4]
        masses = [torch.stack(step)[..., :40].sum(-1).mean(dim=(0, 2, 3)) for step in steps]
        assert [step["mass"] for step in memory["steps"]] == pytest.approx(
            [float(m.mean()) for m in masses], abs=1e-5
        )
        early = [m for m, step in zip(masses, memory["steps"]) if step["t"] >= EARLY]
        assert 0 < len(early) < 4
        expected = torch.stack(early).mean(0)
        assert memory["videos"] == pytest.approx(expected.tolist(), abs=1e-5)
        assert memory["mass"] == pytest.approx(float(expected.mean()), abs=1e-5)
        assert (memory["context_tokens"], memory["rest_tokens"]) == (40, 48 + 4 + 5)
        assert sum(memory["segments"].values()) == pytest.approx(1, abs=1e-5)
        past = sum(memory["segments"][name] for name in PAST)
        assert past == pytest.approx(memory["mass"], abs=1e-5)


def test_attention_that_treats_all_tokens_alike_has_no_inertia(upstream):
    """With keys of 0 every token gets the same share, so the evaluators' number is 0."""
    dit = upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG)))
    for name, parameter in dit.named_parameters():
        if name.endswith(("norm_k.weight", "norm_added_k.weight")):
            parameter.data.zero_()
    _, trace = sample(PlainModel(dit, 0.5))
    memory = trace["sections"][1]["memory"]
    assert memory["mass"] == pytest.approx(40 / 97, abs=1e-6)
    assert log_odds(memory) == pytest.approx(0, abs=1e-5)
    assert log_odds({**memory, "mass": 0.5}) == pytest.approx(-log(40 / 57))
