"""What FramePackDiT must do beyond giving the reference's numbers."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from framepack_transitions.models.attention.joint import SEGMENT_NAMES, Segments, sdpa_attention
from framepack_transitions.models.attention.policy import AttentionPolicy
from framepack_transitions.models.caching.step_cache import Signal
from framepack_transitions.models.layers.embedders import sinusoid
from framepack_transitions.models.packing import pad_to_multiple
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

TIERS = ("clean_latents", "clean_latents_2x", "clean_latents_4x")


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.inference_mode():
        yield


class RecordingAttention:
    """sdpa_attention that keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, **told: Any) -> Tensor:
        self.calls.append({"queries": q.shape[2], "keys": k.shape[2], **told})
        return sdpa_attention(q, k, v, **told)


def without(inputs: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    """Inputs without some tiers and their indices, or without other arguments."""
    indices = {name.replace("latents", "latent") + "_indices" for name in names if name in TIERS}
    return {name: value for name, value in inputs.items() if name not in indices | set(names)}


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_time_embedding_is_the_sinusoid_within_float32s_last_place() -> None:
    """The angle is a product of a time and an exponential, whose argument has been rounded as well."""
    times = torch.tensor([0.0, 0.5, 876.5, 1000.0, 10000.0])
    exponents = -math.log(10000) * torch.arange(128, dtype=torch.float64) / 128
    angles = times.double()[:, None] * exponents.exp()
    ulp = 2.0**-23
    bound = (angles * (2 - exponents) * ulp).repeat(1, 2) + ulp
    expected = torch.cat((angles.cos(), angles.sin()), dim=-1)
    assert ((sinusoid(times).double() - expected).abs() <= bound).all()


@pytest.mark.parametrize("window", range(1, 34))
def test_frames_of_any_window_from_1_to_33_stand_where_their_indices_say(
    window: int, dit_cases: ModuleType
) -> None:
    """Frames that change places together with their indices give the same frames, in the new order."""
    dit, inputs = (
        dit_cases.make_dit(num_single_layers=1),
        dit_cases.make_inputs(window=window, height=4, width=6),
    )
    output = dit(**inputs)
    assert output.shape == inputs["x"].shape and output.dtype == torch.float32
    order = torch.randperm(window, generator=torch.Generator().manual_seed(window))
    moved = {"x": inputs["x"][:, :, order], "latent_indices": inputs["latent_indices"][order]}
    close(dit(**{**inputs, **moved}), output[:, :, order])


@pytest.mark.parametrize("missing", [(), *((tier,) for tier in TIERS), TIERS, (*TIERS, "image_embeds")])
def test_missing_parts_of_the_context_take_no_tokens(missing: tuple[str, ...], dit_cases: ModuleType) -> None:
    attention = RecordingAttention()
    inputs = without(dit_cases.make_inputs(), *missing)
    output = dit_cases.make_dit(attention=attention)(**inputs)
    assert output.shape == inputs["x"].shape
    expected = {"4x": 4, "2x": 4, "start": 16, "last": 16, "noisy": 32, "image": 3, "text": 5}
    gone = {"clean_latents": ("start", "last"), "clean_latents_2x": ("2x",), "clean_latents_4x": ("4x",)}
    for name in missing:
        expected.update(dict.fromkeys(gone.get(name, ("image",)), 0))
    assert attention.calls[0]["segments"] == Segments.of(expected)


def test_a_tier_of_no_frames_is_a_missing_tier(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    empty = {**inputs, "clean_latents_4x": inputs["clean_latents_4x"][:, :, :0]}
    assert dit(**empty).equal(dit(**without(inputs, "clean_latents_4x")))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(height=st.integers(1, 11), width=st.integers(1, 11), window=st.integers(1, 3))
def test_odd_sizes_equal_the_cropped_run_of_a_replicated_edge(
    height: int, width: int, window: int, dit_cases: ModuleType
) -> None:
    dit = dit_cases.make_dit()
    inputs = dit_cases.make_inputs(height=height, width=width, window=window)
    padding = (0, width % 2, 0, height % 2, 0, 0)
    padded = {
        name: F.pad(value, padding, mode="replicate") if name == "x" or name in TIERS else value
        for name, value in inputs.items()
    }
    output = dit(**inputs)
    assert output.shape == inputs["x"].shape
    close(output, dit(**padded)[..., :height, :width])


def test_padding_repeats_the_last_frame_row_and_column() -> None:
    x = torch.arange(6.0).reshape(1, 1, 1, 2, 3)
    padded = pad_to_multiple(x, (2, 2, 2))
    assert padded.shape == (1, 1, 2, 2, 4)
    assert padded[0, 0, 1].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5]]


def test_a_batch_of_ragged_texts_equals_its_rows_run_alone(dit_cases: ModuleType) -> None:
    dit = dit_cases.make_dit()
    lengths = (5, 1, 3)
    inputs = dit_cases.make_inputs(batch=len(lengths))
    # Other padding must not matter, and rows may lie at other frames.
    inputs["latent_indices"] = torch.tensor(((20, 21), (5, 9), (400, 401)))
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    together = dit(**inputs, attention_mask=mask)
    noise = torch.where(mask[..., None], 0.0, 7.0)
    close(dit(**{**inputs, "context": inputs["context"] + noise}, attention_mask=mask), together)
    for row, length in enumerate(lengths):
        alone = {
            name: value[row : row + 1] if value.shape[0] == len(lengths) else value
            for name, value in inputs.items()
        }
        alone["context"] = alone["context"][:, :length]
        close(dit(**alone), together[row : row + 1])


def test_a_mask_may_have_any_dtype(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    expected = dit(**inputs, attention_mask=mask.bool())
    for dtype in (torch.int64, torch.bfloat16):
        assert dit(**inputs, attention_mask=mask.to(dtype)).equal(expected)


def test_a_row_without_any_real_text_stays_finite_and_ignores_the_padding(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    mask = torch.zeros(1, 5, dtype=torch.bool)
    output = dit(**inputs, attention_mask=mask)
    assert output.isfinite().all()
    close(dit(**{**inputs, "context": inputs["context"] + 7}, attention_mask=mask), output)


def test_attention_gets_blocks_segments_and_options_and_the_last_block_asks_for_the_window(
    dit_cases: ModuleType,
) -> None:
    attention = RecordingAttention()
    options = {"sigma": torch.tensor(0.5)}
    dit_cases.make_dit(attention=attention)(**dit_cases.make_inputs(), transformer_options=options)
    assert [call["block"] for call in attention.calls] == [("double", 0), ("single", 0), ("single", 1)]
    assert all(call["transformer_options"]["sigma"] is options["sigma"] for call in attention.calls)
    assert len({id(call["transformer_options"]) for call in attention.calls}) == 1
    segments = attention.calls[0]["segments"]
    assert all(call["segments"] == segments and call["keys"] == segments.length for call in attention.calls)
    noisy = segments.span("noisy")
    assert [call["queries"] for call in attention.calls] == [80, 80, noisy.stop - noisy.start]
    assert [segments.first_query(call["queries"]) for call in attention.calls] == [0, 0, noisy.start]


def test_texts_are_attended_by_a_function_of_their_own_that_gets_mask_and_options(
    dit_cases: ModuleType,
) -> None:
    """With the softmax written out it is the same as with torch's attention."""
    calls = []

    def attend(
        q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor, transformer_options: dict[str, Any]
    ) -> Tensor:
        calls.append((q.shape[2], k.shape[2], transformer_options["sigma"]))
        logits = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        return (logits.masked_fill(~mask, -math.inf).softmax(dim=3) @ v).transpose(1, 2).flatten(2)

    dit = dit_cases.make_dit(num_refiner_layers=2)
    inputs = dit_cases.make_inputs(batch=2)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    expected = dit(**inputs, attention_mask=mask)
    dit.text_attention = attend
    options = {"sigma": 0.5}
    close(dit(**inputs, attention_mask=mask, transformer_options=options), expected)
    assert calls == [(5, 5, 0.5), (5, 5, 0.5)] and options == {"sigma": 0.5}


def test_segments_lie_end_to_end_in_order() -> None:
    segments = Segments.of({"4x": 4, "start": 6, "noisy": 10, "text": 2})
    slices = [segments.span(name) for name in SEGMENT_NAMES]
    assert slices[0].start == 0 and slices[-1].stop == segments.length == 22
    assert all(before.stop == after.start for before, after in pairwise(slices))
    assert dict(segments.items()) == {
        "4x": slice(0, 4), "start": slice(4, 10), "noisy": slice(10, 20), "text": slice(20, 22)
    }  # fmt: skip
    with pytest.raises(ValueError, match="unknown segment 'past'"):
        segments.span("past")
    with pytest.raises(ValueError, match="past"):
        Segments.of({"past": 3})


def test_the_last_block_gives_what_the_full_computation_gives(dit_cases: ModuleType) -> None:
    def full(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Tensor]:
        shapes.append(tuple(args["img"].shape))
        return extra["original_block"](args)

    shapes: list[tuple[int, ...]] = []
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    patched = dit(**inputs, transformer_options={"patches_replace": {"dit": {("single_block", 1): full}}})
    close(dit(**inputs), patched)
    assert shapes == [(1, 80, dit.config.inner_dim)]


def test_host_patches_replace_blocks(dit_cases: ModuleType) -> None:
    def double(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Tensor]:
        seen.append(sorted(args))
        out = extra["original_block"](args)
        return {"img": out["img"] * 0, "txt": out["txt"]}

    def single(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Tensor]:
        seen.append(sorted(args))
        return {"img": args["img"]}

    seen: list[list[str]] = []
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    plain = dit(**inputs)
    for patches in ({("double_block", 0): double}, {("single_block", 0): single}):
        assert not dit(**inputs, transformer_options={"patches_replace": {"dit": patches}}).allclose(plain)
    shared = ["attention_mask", "img", "pe", "transformer_options", "vec"]
    assert seen == [sorted([*shared, "txt"]), shared]


def test_every_attention_is_told_which_block_asks(dit_cases: ModuleType) -> None:
    told: list[tuple[str, int, int]] = []

    def attention(q: Tensor, k: Tensor, v: Tensor, **others: Any) -> Tensor:
        options = others["transformer_options"]
        told.append((options["block_type"], options["block_index"], options["total_blocks"]))
        assert others["block"] == told[-1][:2] and options["own"] == 7
        return sdpa_attention(q, k, v, mask=others["mask"])

    dit = dit_cases.make_dit(num_layers=2, num_single_layers=3, attention=attention)
    options = {"own": 7}
    dit(**dit_cases.make_inputs(), transformer_options=options)
    assert told == [
        *(("double", index, 2) for index in range(2)),
        *(("single", index, 3) for index in range(3)),
    ]
    assert options == {"own": 7}
    dit(**dit_cases.make_inputs(), transformer_options={**options, "framepack_signal": Signal("first_block")})
    assert told[5:] == [("double", 0, 2)]


def test_upstream_rounding_feeds_time_and_guidance_as_bfloat16(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    inputs["timestep"] = torch.tensor([876.5])
    rounded = dit(**inputs, transformer_options={"framepack_upstream_rounding": True})
    by_hand = {**inputs, "timestep": torch.tensor([876.0]), "guidance": torch.tensor([9984])}
    assert rounded.equal(dit(**by_hand))
    assert not rounded.equal(dit(**inputs))


def test_frame_indices_beyond_bfloat16_stay_apart(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(dtype=torch.bfloat16), dit_cases.make_inputs()
    outputs = [
        dit(**{**inputs, "x": inputs["x"].bfloat16(), "latent_indices": torch.tensor((first, first + 1))})
        for first in (1000, 1001)
    ]
    assert not outputs[0].equal(outputs[1])


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float16, torch.bfloat16])
def test_any_storage_computes_in_the_dtype_of_x(stored: torch.dtype, dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    expected = dit(**inputs)
    narrow = dit_cases.make_dit(dtype=stored)
    assert narrow.dtype == stored
    narrow.load_state_dict(dit.state_dict())
    output = narrow(**{**inputs, "x": inputs["x"].bfloat16()})
    assert {value.dtype for name, value in narrow.named_parameters() if "proj_out" not in name[:8]} == {
        stored
    }
    assert output.dtype == torch.float32 and narrow.proj_out.weight.dtype == torch.float32
    assert dit_cases.relative_error(output, expected) < 0.1


def test_unknown_arguments_of_hosts_are_ignored(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs()
    assert dit(**inputs, control=None, ref_latent=None).equal(dit(**inputs))


class NoHostSync(TorchDispatchMode):
    """Fails on what waits for the device: a value read by Python, or a shape that depends on values."""

    FORBIDDEN = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal"}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in self.FORBIDDEN:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def test_forward_never_waits_for_the_device(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs(batch=2, height=9)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    with NoHostSync(), pytest.raises(AssertionError, match="waits"):
        mask.sum().item()
    policy = AttentionPolicy(
        biases=((frozenset({"start"}), torch.tensor(-1.0)),),
        cap=torch.tensor(0.2),
        key_scale=torch.tensor(1.2),
    )
    for options in ({}, {"framepack_attention": policy}):
        with NoHostSync():
            dit(**inputs, attention_mask=mask, transformer_options=options)


def test_forward_needs_no_values_at_all(dit_cases: ModuleType) -> None:
    dit = dit_cases.make_dit().to("meta")
    inputs = {name: value.to("meta") for name, value in dit_cases.make_inputs(batch=2, height=9).items()}
    output = dit(**inputs, attention_mask=torch.ones(2, 5, device="meta"))
    assert output.is_meta and output.shape == inputs["x"].shape


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "channels": ({"x": torch.zeros(1, 4, 2, 8, 8)}, "x must be [B, 16, T, H, W], got [1, 4, 2, 8, 8]"),
    "dimensions of x": ({"x": torch.zeros(1, 16, 8, 8)}, "got [1, 16, 8, 8]"),
    "no y": ({"y": None}, "y is missing: pass pooled text [1, 20]"),
    "no guidance": ({"guidance": None}, "guidance is missing"),
    "no tier indices": ({"clean_latent_2x_indices": None}, "clean_latent_2x_indices is missing"),
    "few indices": ({"clean_latent_4x_indices": torch.arange(15)}, "clean_latent_4x_indices must be [16]"),
    "window's indices": ({"latent_indices": torch.arange(3)}, "latent_indices must be [2] or [1, 2]"),
    "rounded indices": ({"latent_indices": torch.arange(2.0).bfloat16()}, "latent_indices came as torch.bf"),
    "size of a tier": (
        {"clean_latents": torch.zeros(1, 16, 2, 8, 10)},
        "clean_latents must be [1, 16, T, 8, 8]",
    ),
    "batch of a tier": ({"clean_latents_2x": torch.zeros(2, 16, 2, 8, 8)}, "got [2, 16, 2, 8, 8]"),
    "text": ({"context": torch.zeros(1, 5, 4096)}, "context must be [1, 5, 24], got [1, 5, 4096]"),
    "no text": ({"context": torch.zeros(1, 0, 24)}, "context must be [1, 1, 24], got [1, 0, 24]"),
    "mask": ({"attention_mask": torch.ones(1, 6)}, "attention_mask must be [1, 5], got [1, 6]"),
    "image": ({"image_embeds": torch.zeros(1, 3, 1152)}, "image_embeds must be [1, 3, 12]"),
    "batch of times": ({"timestep": torch.zeros(2)}, "timestep must be [1], got [2]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_named_with_what_came_and_what_was_expected(
    name: str, dit_cases: ModuleType
) -> None:
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        dit_cases.make_dit()(**{**dit_cases.make_inputs(), **changes})


def test_a_model_without_a_part_refuses_its_inputs(dit_cases: ModuleType) -> None:
    inputs = dit_cases.make_inputs()
    with pytest.raises(ValueError, match="no image_projection"):
        dit_cases.make_dit(has_image_proj=False)(**inputs)
    with pytest.raises(ValueError, match="no clean_x_embedder"):
        dit_cases.make_dit(has_clean_x_embedder=False)(**inputs)
