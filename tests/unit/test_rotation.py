"""Rotary embedding: against complex numbers in float64, in every form, and with a kernel of the host's."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.models import host_rotation
from framepack_transitions.models.layers import rope
from framepack_transitions.models.layers.rope import PLAIN_ROTATION, apply_rope
from torch import Tensor


def inputs(heads: int = 1) -> tuple[Tensor, Tensor]:
    """x [2, 7, 3, 16] and angles [1, 7, heads, 8]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 7, 3, 16, generator=generator), 6 * torch.rand(1, 7, heads, 8, generator=generator)


def table(angles: Tensor) -> Tensor:
    pe = torch.stack((angles.cos(), angles.sin()), dim=-1)
    return pe.squeeze(2) if angles.shape[2] == 1 else pe


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """The definition: every pair is a complex number times e^(i angle), in float64."""
    pairs = torch.complex(*x.double().unflatten(-1, (-1, 2)).unbind(-1))
    product = pairs * torch.exp(1j * angles.double())
    return torch.stack((product.real, product.imag), dim=-1).flatten(-2)


@pytest.fixture(params=["complex numbers", "products written out"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "products written out":
        monkeypatch.setattr(rope, "COMPLEX_DEVICES", ())


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("heads", [1, 3])
def test_pairs_of_channels_turn_by_their_angles(heads: int) -> None:
    x, angles = inputs(heads)
    torch.testing.assert_close(apply_rope(x, table(angles)).double(), turned(x, angles), atol=1e-6, rtol=1e-6)


@pytest.mark.usefixtures("form")
def test_half_precision_is_rotated_in_float32_and_rounded_once() -> None:
    x, angles = inputs()
    half = x.bfloat16()
    assert torch.equal(apply_rope(half, table(angles)), apply_rope(half.float(), table(angles)).bfloat16())


@pytest.mark.usefixtures("form")
def test_what_is_rotated_may_be_a_part_of_something() -> None:
    x, angles = inputs()
    wider = torch.cat((x, x), dim=2)[:, :, :3]
    assert torch.equal(apply_rope(wider, table(angles)), apply_rope(x, table(angles)))


def matrices_applied(x: Tensor, matrices: Tensor) -> Tensor:
    """What a fused kernel does: rows of 2x2 matrices times pairs."""
    rotated = (matrices * x.float().unflatten(-1, (-1, 1, 2))).sum(-1)
    return rotated.flatten(-2).to(x.dtype)


def turned_backwards(x: Tensor, matrices: Tensor) -> Tensor:
    return matrices_applied(x, matrices.transpose(-1, -2))


def refuses(x: Tensor, matrices: Tensor) -> Tensor:
    raise RuntimeError("not built for this machine")


def kitchen(function: Any, **backend: Any) -> ModuleType:
    backend = {"available": True, "disabled": False, "capabilities": ["apply_rope1"], **backend}
    module = ModuleType("comfy_kitchen")
    vars(module).update(apply_rope1=function, list_backends=lambda: {"fused": backend})
    return module


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A host that brings a kitchen, whose backend `fused` is for the CPU."""
    monkeypatch.setattr(host_rotation, "FUSED_BACKENDS", {"cpu": ("fused",)})

    def bring(found: Any) -> Any:
        quant_ops = ModuleType("comfy.quant_ops")
        comfy = ModuleType("comfy")
        comfy.quant_ops = quant_ops  # type: ignore[attr-defined]
        if found is not None:
            quant_ops.ck = found  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "comfy", comfy)
        monkeypatch.setitem(sys.modules, "comfy.quant_ops", quant_ops)
        return host_rotation.host_rotation()

    yield bring
    host_rotation.kernel_works.cache_clear()


def test_the_hosts_kernel_is_used_where_it_has_one(host: Any) -> None:
    calls: list[torch.dtype] = []

    def counted(x: Tensor, matrices: Tensor) -> Tensor:
        calls.append(x.dtype)
        return matrices_applied(x, matrices)

    rotation = host(kitchen(counted))
    x, angles = inputs()
    half = x.bfloat16()
    prepared = rotation.prepare(table(angles), half.dtype)
    assert calls == [torch.bfloat16], "it is tried once"
    rotated = rotation.apply(half, prepared)
    assert len(calls) == 2
    torch.testing.assert_close(rotated.double(), turned(half, angles), atol=1e-2, rtol=1e-2)
    # The last block asks for some tokens only.
    assert torch.equal(rotation.apply(half[:, 2:5], prepared[:, 2:5]), rotated[:, 2:5])


@pytest.mark.parametrize("backend", [{"available": False}, {"disabled": True}, {"capabilities": ["other"]}])
def test_a_backend_that_is_not_ready_is_not_used(host: Any, backend: dict[str, Any]) -> None:
    rotation = host(kitchen(refuses, **backend))
    x, angles = inputs()
    assert torch.equal(
        rotation.apply(x.bfloat16(), rotation.prepare(table(angles), torch.bfloat16)),
        apply_rope(x.bfloat16(), table(angles)),
    )


@pytest.mark.parametrize("broken", [refuses, turned_backwards])
def test_a_kernel_that_fails_or_turns_otherwise_is_replaced_by_ours(
    host: Any, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rotation = host(kitchen(broken))
    x, angles = inputs()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            prepared = rotation.prepare(table(angles), torch.bfloat16)
    assert torch.equal(rotation.apply(x.bfloat16(), prepared), apply_rope(x.bfloat16(), table(angles)))
    assert len(caplog.records) == 1, "it is tried, and said, once"


def test_float32_and_heads_that_differ_are_rotated_by_ours(host: Any) -> None:
    rotation = host(kitchen(refuses))
    for dtype, heads in ((torch.float32, 1), (torch.bfloat16, 3)):
        x, angles = inputs(heads)
        prepared = rotation.prepare(table(angles), dtype)
        assert torch.equal(rotation.apply(x.to(dtype), prepared), apply_rope(x.to(dtype), table(angles)))


@pytest.mark.parametrize("found", [None, ModuleType("comfy_kitchen")])
def test_a_host_without_a_rotation_leaves_ours(host: Any, found: Any) -> None:
    assert host(found) is PLAIN_ROTATION


def test_an_older_host_without_quantised_operations_leaves_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comfy", ModuleType("comfy"))
    monkeypatch.delitem(sys.modules, "comfy.quant_ops", raising=False)
    assert host_rotation.host_rotation() is PLAIN_ROTATION
