"""Faults while a section is sampled: values that are not finite stop in it, memory that runs out is tried once more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch
from framepack_transitions.models.attention.joint import SEGMENT_NAMES, Segments, sdpa_attention
from framepack_transitions.models.attention.policy import AttentionPolicy
from framepack_transitions.models.attention.rows import in_rows
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.faults import out_of_memory
from framepack_transitions.samplers.denoising.faults.out_of_memory import is_out_of_memory
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.store.folder import RecordFolder
from torch import nn

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW, STEPS = 3, 4


class Watched(nn.Module):
    """A DiT that calls `act(number, options, flow)` after every forward, numbered from 1, and gives what that gives."""

    def __init__(self, dit: FramePackDiT, act: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.dit, self.act, self.calls = dit, act, 0
        self.config, self.dtype = dit.config, dit.dtype

    def forward(self, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> torch.Tensor:
        self.calls += 1
        flow = self.dit(*args, transformer_options=transformer_options, **kwargs)
        return self.act(self.calls, transformer_options, flow)


@pytest.fixture(scope="module")
def dit(upstream) -> FramePackDiT:
    return upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG)))


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sample(dit, act, *, sections=3, batch=1, change=lambda inputs: inputs, store=None, **settings):
    """The video and the trace; without `act` the model is not watched."""
    model = PlainModel(dit if act is None else Watched(dit, act), 0.5)
    text = TextConditioning(normal(batch, 5, 24, seed=1), normal(batch, 20, seed=2))
    inputs = SampleInputs(
        start=normal(batch, 16, 1, 8, 8, seed=3),
        has_start=True,
        negative=text,
        image_embeds=normal(batch, 4, 12, seed=4),
        end_image_embeds=None,
    )
    plan = [
        section.with_prompt(Prompt(start=0.0, text="", conditioning=text))
        for section in plan_sections("f1", sections, WINDOW)
    ]
    video, trace = sample_sections(
        PlainDriver(model),
        plan,
        change(inputs),
        SampleSettings(window=WINDOW, steps=STEPS, seed=7, layout="f1", **settings),
        store=store,
    )
    return video, trace


def spoilt_at(call: int, value: float = torch.nan):
    """A model whose forward of this number has one wrong value."""

    def act(number, options, flow):
        if number == call:
            flow = flow.clone()
            flow[0, 3, 1, 2, 2] = value
        return flow

    return act


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_stops_at_its_step_with_the_place_and_the_finished_sections(dit, value):
    forwards = []

    def act(number, options, flow):
        forwards.append(number)
        return spoilt_at(2 * STEPS + 2, value)(number, options, flow)

    with pytest.raises(ValueError, match="section 3 of 4") as caught:
        sample(dit, act, sections=4)
    message = str(caught.value)
    assert message.startswith("section 3 of 4, step 2 of 4 (sigma 0.8")
    assert "the positive prediction holds NaN or infinite values" in message
    assert "LoRA" in message and "model file" in message
    assert message.endswith("Sections 1 to 2 are finished.")
    assert len(forwards) == 2 * STEPS + 2, "no forward after the one that was wrong"


def test_finished_sections_that_are_kept_are_said_to_be_kept(dit, tmp_path, monkeypatch):
    velocity, folder, number = PlainDriver._velocity, RecordFolder(tmp_path), count(1)
    with monkeypatch.context() as spoilt, folder.job() as store:
        spoilt.setattr(
            PlainDriver,
            "_velocity",
            lambda self, *args: spoilt_at(2 * STEPS + 1)(next(number), {}, velocity(self, *args)),
        )
        with pytest.raises(ValueError, match="section 3 of 4") as caught:
            sample(dit, None, sections=4, store=store)
    assert str(caught.value).endswith(
        "Sections 1 to 2 are finished and kept: the next run goes on from there."
    )
    with folder.job() as store:
        _, trace = sample(dit, None, sections=4, store=store)
    assert [section["reused"] for section in trace["sections"]] == [True, True, False, False]


def test_the_branch_that_is_not_finite_is_named(dit):
    with pytest.raises(
        ValueError, match="section 1 of 1, step 1 of 4.*the negative prediction holds"
    ) as caught:
        sample(dit, spoilt_at(2), sections=1, guidance=Guidance(cfg=2.0))
    assert "finished" not in str(caught.value)


def test_the_last_step_of_a_section_is_checked_too(dit):
    with pytest.raises(ValueError, match=r"section 2 of 2, step 4 of 4.*Section 1 is finished\."):
        sample(dit, spoilt_at(2 * STEPS), sections=2)


def test_a_past_that_is_not_finite_is_told_from_a_model_that_is_not(dit):
    def spoil(inputs):
        start = inputs.start.clone()
        start[0, 0, 0, 0, 0] = torch.nan
        return replace(inputs, start=start)

    with pytest.raises(ValueError, match="section 1 of 3, step 1 of 4.*the packed past was not finite"):
        sample(dit, None, change=spoil)


def out_of_memory_at(*calls: int):
    def act(number, options, flow):
        if number in calls:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return flow

    return act


def test_a_section_that_does_not_fit_is_sampled_again_in_smaller_chunks_and_says_so(dit, monkeypatch):
    monkeypatch.setattr(out_of_memory, "ROWS", 16)
    rows = []

    def act(number, options, flow):
        rows.append(options.get("framepack_attention_rows"))
        return out_of_memory_at(STEPS + 3)(number, options, flow)

    video, trace = sample(dit, act)
    assert [section["retried"] for section in trace["sections"]] == [False, True, True]
    assert [section["evaluations"] for section in trace["sections"]] == [STEPS] * 3
    assert rows == [None] * (STEPS + 3) + [16] * (2 * STEPS)
    undisturbed, plain_trace = sample(dit, None)
    assert not any(section["retried"] for section in plain_trace["sections"])
    torch.testing.assert_close(video, undisturbed, atol=1e-4, rtol=1e-4)


def test_memory_that_runs_out_again_is_told_with_section_size_and_remedy(dit):
    with pytest.raises(torch.cuda.OutOfMemoryError) as caught:
        sample(dit, out_of_memory_at(STEPS + 1, STEPS + 2), batch=2)
    message = str(caught.value)
    assert message.startswith("section 2 of 3 does not fit in memory, not even with smaller attention chunks")
    for word in ("now 64x64", "window (now 3)", "fewer videos at a time (now 2)", "fp8", "--lowvram"):
        assert word in message
    assert message.endswith("Section 1 is finished.")


def test_other_errors_pass_as_they_are(dit):
    def act(number, options, flow):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="^CUDA error: an illegal memory access"):
        sample(dit, act)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"), True),
        (MemoryError(), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_known_on_every_device(error, expected):
    assert is_out_of_memory(error) is expected


def test_attention_by_rows_attends_as_all_at_once_and_never_to_more_rows():
    q, k, v = (normal(1, 2, 50, 16, seed=seed) for seed in (1, 2, 3))
    mask = torch.ones(1, 1, 1, 50, dtype=torch.bool)
    mask[..., 40:] = False
    seen = []

    def attention(q, k, v, **arguments):
        seen.append(q.shape[2])
        return sdpa_attention(q, k, v, **arguments)

    found = in_rows(attention, 16)(q, k, v, mask=mask)
    probabilities = (q.double() @ k.double().transpose(-1, -2) / 4).masked_fill(~mask, -torch.inf).softmax(-1)
    expected = (probabilities @ v.double()).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert seen == [16, 16, 16, 2]


def test_gated_rows_are_attended_in_chunks_too(dit, monkeypatch):
    from framepack_transitions.models.attention import gate

    segments = Segments.of(dict.fromkeys(SEGMENT_NAMES, 10))
    q, k, v = (normal(1, 2, segments.length, 16, seed=seed) for seed in (1, 2, 3))
    policy = AttentionPolicy(
        biases=((frozenset({"2x"}), torch.tensor(-1.0)),), rows=frozenset({"noisy", "text"})
    )
    merged, most = gate.merged_attention, []

    def watched(q, *args, **kwargs):
        most.append(q.shape[2])
        return merged(q, *args, **kwargs)

    monkeypatch.setattr(gate, "merged_attention", watched)
    fixed = {"mask": None, "segments": segments, "block": ("double", 0), "transformer_options": {}}
    whole = gate.with_policy(sdpa_attention, policy)(q, k, v, **fixed)
    assert max(most) == 10
    most.clear()
    parts = gate.with_policy(in_rows(sdpa_attention, 4), policy, 4)(q, k, v, **fixed)
    assert most == [4, 4, 2] * 2
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
