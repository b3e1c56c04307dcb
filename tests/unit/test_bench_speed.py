"""The speed bench: that what it compares is the same work, and that its ratios are what it timed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from framepack_transitions.benchmarks.speed import overhead, timing
from framepack_transitions.benchmarks.speed.bench import rows
from framepack_transitions.benchmarks.speed.floor import products
from framepack_transitions.benchmarks.speed.fp8 import FP8, Fp8Linear, can_multiply, fp8_copy
from framepack_transitions.benchmarks.speed.overhead import ForwardClock, SectionTime, video_seconds
from framepack_transitions.benchmarks.speed.peer import PeerMissingError, peer_class, peer_inputs, peer_of
from framepack_transitions.benchmarks.speed.sizes import SIZES, random_inputs, random_model, without_past
from framepack_transitions.benchmarks.speed.timing import Timing, interleaved
from framepack_transitions.benchmarks.speed.works import ATTENTION, FORWARD, PEER, PRODUCTS, works_of
from framepack_transitions.headless.cli import main
from framepack_transitions.models.attention.joint import sdpa_attention

pytestmark = pytest.mark.usefixtures("no_gradients")

CPU, SMALL = torch.device("cpu"), SIZES["small"]


def test_the_floor_has_the_products_and_the_attention_that_blocks_compute() -> None:
    dit = random_model(SMALL, CPU, torch.float32)
    seen: Counter[tuple[int, int, int]] = Counter()
    attended: list[tuple[int, int]] = []

    def note(layer: torch.nn.Linear, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].ndim == 3:  # the vectors that modulate have two axes
            seen.update([(inputs[0].shape[1], layer.in_features, layer.out_features)])

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **others: Any) -> torch.Tensor:
        attended.append((q.shape[2], k.shape[2]))
        return sdpa_attention(q, k, v, mask=others["mask"])

    dit.attention = attention
    for stack in (dit.transformer_blocks, dit.single_transformer_blocks):
        for module in stack.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(note)
    dit(**random_inputs(SMALL, CPU, torch.float32))
    assert seen == products(SMALL)
    tokens = SMALL.past_tokens + SMALL.window_tokens + SMALL.condition_tokens
    assert attended == [(tokens, tokens)] * 2 + [(SMALL.window_tokens, tokens)]


def test_the_13b_size_is_that_of_the_real_model() -> None:
    size = SIZES["13b"]
    assert size.window_tokens == 14_400
    assert size.past_tokens + size.window_tokens == 18_400
    assert size.condition_tokens == 985
    operations = sum(2 * a * b * c * times for (a, b, c), times in products(size).items())
    # 60 blocks of 12 x 3072^2 weights for each of 19,385 tokens; the last block leaves some out.
    assert operations == pytest.approx(2 * 19_385 * 60 * 12 * 3072**2, rel=0.01)


def test_the_peer_predicts_the_same_from_the_same_weights() -> None:
    try:
        peer_class()
    except PeerMissingError as missing:
        pytest.skip(str(missing))
    dit, inputs = random_model(SMALL, CPU, torch.float32), random_inputs(SMALL, CPU, torch.float32)
    (expected,) = peer_of(dit, torch.float32)(**peer_inputs(inputs))
    assert (dit(**inputs) - expected).norm() <= 1e-4 * expected.norm()


def test_an_older_torch_than_diffusers_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.4.1+cu121")
    with pytest.raises(PeerMissingError, match=r"needs torch 2.5 or newer, but this is 2.4.1.*--no-peer"):
        works_of(SMALL, device=CPU, dtype=torch.float32, peer=True, compiled=False)


def test_without_diffusers_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.5.0")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(PeerMissingError, match=r"pip install diffusers.*--no-peer"):
        works_of(SMALL, device=CPU, dtype=torch.float32, peer=True, compiled=False)
    assert PEER not in works_of(SMALL, device=CPU, dtype=torch.float32, peer=False, compiled=False)


def test_every_work_is_done_in_turn_and_its_least_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now, order = [0.0], []
    durations = {"a": iter((50.0, 3.0, 2.0, 4.0)), "b": iter((60.0, 8.0, 9.0, 7.0))}
    monkeypatch.setattr(timing, "clock_for", lambda device: lambda: now[0])

    def work(name: str) -> None:
        order.append(name)
        now[0] += next(durations[name])

    found = interleaved({"a": lambda: work("a"), "b": lambda: work("b")}, 3, CPU)
    assert order == ["a", "b"] * 4
    assert {name: timing.seconds for name, timing in found.items()} == {"a": 2.0, "b": 7.0}
    assert {name: timing.first for name, timing in found.items()} == {"a": 50.0, "b": 60.0}


def test_with_one_thread_on_a_cpu_the_processors_time_is_read() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert timing.clock_for(CPU) is timing.time.process_time
        assert timing.clock_for(torch.device("cuda")) is timing.time.perf_counter
        torch.set_num_threads(2)
        assert timing.clock_for(CPU) is timing.time.perf_counter
    finally:
        torch.set_num_threads(threads)


def test_a_layer_in_fp8_multiplies_what_fp8_holds_of_inputs_and_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(32, 16)
    x = torch.randn(2, 3, 32, generator=generator).bfloat16()
    x[0, 0, 0] = 1e4  # more than fp8 holds
    fp8 = Fp8Linear(layer.bfloat16())
    try:
        found = fp8(x)
    except (RuntimeError, NotImplementedError):
        pytest.skip("this torch has no products in fp8 on a CPU")
    rounded, weight = (part.to(FP8).double() for part in (x.clamp(-448, 448), layer.weight))
    expected = torch.nn.functional.linear(rounded, weight, layer.bias.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0.01)


def test_in_fp8_are_the_layers_of_the_blocks_but_not_those_that_modulate() -> None:
    dit = random_model(SMALL, CPU, torch.float32)
    copy = fp8_copy(dit)
    layers = {
        name: isinstance(module, Fp8Linear)
        for stack in (copy.transformer_blocks, copy.single_transformer_blocks)
        for name, module in stack.named_modules()
        if isinstance(module, Fp8Linear | torch.nn.Linear)
    }
    assert layers["0.attn.to_q"] and layers["0.ff.net.0.proj"] and layers["1.proj_out"]
    plain = {name for name, is_fp8 in layers.items() if not is_fp8}
    assert plain == {
        name for name in layers if name.endswith((".norm.linear", "norm1.linear", "context.linear"))
    }
    assert not any(isinstance(module, Fp8Linear) for module in dit.modules())
    name = "transformer_blocks.0.attn.to_q.weight"
    assert torch.equal(copy.state_dict()[name].float(), dit.state_dict()[name].to(FP8).float())


def test_a_cpu_is_not_timed_in_fp8() -> None:
    assert not can_multiply(CPU)


def test_rows_are_ratios_to_the_floor_the_peer_and_the_plain_forward() -> None:
    times = {PRODUCTS: 3.0, ATTENTION: 1.0, PEER: 8.0, FORWARD: 5.0, "gate": 6.0}
    timings = {name: Timing(seconds=seconds, peak=2**30, first=9.0) for name, seconds in times.items()}
    assert rows(timings, {"gate": 0.02})[-1] == {
        "name": "gate", "milliseconds": 6000.0, "of_floor": 1.5, "of_plain": 1.2, "of_diffusers": 0.75, "peak_gib": 1.0,
        "first_seconds": 9.0, "difference": 0.02,
    }  # fmt: skip
    alone = rows({name: value for name, value in timings.items() if name != PEER}, {})
    assert not {"of_diffusers", "difference"} & alone[0].keys()


def test_the_overhead_is_what_a_run_takes_outside_its_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(overhead, "clock_for", lambda device: lambda: now[0])
    clock = ForwardClock(CPU)

    def forward(seconds: float) -> torch.Tensor:
        now[0] += seconds
        return torch.zeros(1)

    for seconds in (1.0, 2.0):
        now[0] += 10
        clock(None, forward, seconds)
    assert clock.seconds == 3.0
    assert SectionTime(whole=3.3, inside=3.0).overhead == pytest.approx(0.1)


def test_videos_take_their_sections() -> None:
    """A section of 36 frames at 30 a second: 4 for 5 s, 50 for 60 s."""
    assert video_seconds(2.0, 10) == {"5 s": 4 * 10 * 2.0, "60 s": 50 * 10 * 2.0}


def test_a_past_that_is_never_packed_leaves_only_the_window() -> None:
    dit, inputs = random_model(SMALL, CPU, torch.float32), random_inputs(SMALL, CPU, torch.float32)
    assert {"x", "latent_indices", "context"} < without_past(inputs).keys()
    assert dit(**without_past(inputs)).shape == inputs["x"].shape


def test_the_command_writes_a_table_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "small", "--rounds", "1", "--no-peer", "--out", str(tmp_path)]
    assert main(["bench", "speed", *options]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in report["rows"]]
    assert names[:3] == [PRODUCTS, ATTENTION, FORWARD] and "gate" in names
    assert all(row["milliseconds"] > 0 for row in report["rows"])
    assert {"device", "threads", "torch", "date"} <= report["machine"].keys()
    assert list(report["seconds_of_videos"]) == ["small at 25 steps", "embedded model at 12 steps"]
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table.strip() in capsys.readouterr().out
    assert all(f"| {name} |" in table for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed", "--seeds", "3"], "--seeds belongs to bench transition, but this is bench speed"),
        (["transition", "--no-peer"], "--no-peer belongs to bench speed, but this is bench transition"),
        (["speed", "--rounds", "0"], "--rounds is 0; give at least 1"),
        (["speed", "--threads", "0"], "--threads is 0; give at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
