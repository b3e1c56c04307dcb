"""The products of linear layers on a CPU against float64, and where torch's own product has to be taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from framepack_transitions.models.layers import products
from framepack_transitions.models.layers.blocks import gelu_of
from framepack_transitions.models.layers.operations import Linear
from framepack_transitions.models.layers.products import linear, linear_gelu, onednn_works
from torch import Tensor


@pytest.fixture(autouse=True)
def tried_anew() -> Iterator[None]:
    onednn_works.cache_clear()
    yield
    onednn_works.cache_clear()


def operands(*rows: int, inputs: int = 600, outputs: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """Operands large enough for the quicker product."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*rows, inputs, generator=generator)
    weight = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
    return x, weight, torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("rows", [(40,), (1, 40), (2, 3, 40)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_products_are_those_of_float64(rows: tuple[int, ...], has_bias: bool) -> None:
    x, weight, bias = operands(*rows)
    assert x.numel() * weight.shape[0] >= products.FEWEST
    expected = F.linear(x.double(), weight.double(), bias.double() if has_bias else None)
    with torch.inference_mode():
        plain, activated = (f(x, weight, bias if has_bias else None) for f in (linear, linear_gelu))
    torch.testing.assert_close(plain.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(activated.double(), F.gelu(expected, approximate="tanh"), atol=1e-5, rtol=1e-5)


def test_rows_that_lie_apart_in_memory_are_multiplied_as_they_are() -> None:
    x, weight, bias = operands(1, 80)
    apart = x[:, ::2]
    with torch.inference_mode():
        assert torch.allclose(linear(apart, weight, bias), linear(apart.clone(), weight, bias), atol=1e-5)


def test_gradients_reach_inputs_and_weights() -> None:
    x, weight, bias = operands(40)
    for tensor in (x, weight, bias):
        tensor.requires_grad_()
    linear_gelu(x, weight, bias).sum().backward()
    assert all(tensor.grad is not None for tensor in (x, weight, bias))


def test_autocast_computes_in_its_own_dtype() -> None:
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(*operands(40)).dtype == torch.bfloat16


def broken(*arguments: object) -> Tensor:
    raise RuntimeError("no such operator")


def wrong(x: Tensor, weight: Tensor, bias: Tensor, *others: object) -> Tensor:
    return F.linear(x, weight, bias) + 1


@pytest.mark.parametrize(("capability", "calls"), [("AVX512", ["none", "gelu"]), ("AVX2", ["gelu"])])
def test_without_avx512_onednn_is_called_for_its_activation_alone(
    capability: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    onednn_works()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "_onednn", lambda x, weight, bias, activation: seen.append(activation))
    with torch.inference_mode():
        linear(*operands(40))
        linear_gelu(*operands(40))
    assert seen == calls


@pytest.mark.parametrize("operator", [broken, wrong])
def test_where_the_quicker_product_fails_or_errs_torchs_own_is_taken(
    operator: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_onednn", operator)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    x, weight, bias = operands(40)
    with torch.inference_mode():
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))


def test_gelu_after_any_other_layer_is_the_plain_one() -> None:
    """Layers of a host, and those that others derive, take x alone."""

    class Doubled(Linear):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return 2 * super().forward(x)

    x = operands(40)[0]
    for layer in (torch.nn.Linear(600, 96), Doubled(600, 96), Linear(600, 96)):
        with torch.inference_mode():
            expected = F.gelu(layer(x), approximate="tanh")
            torch.testing.assert_close(gelu_of(layer, x), expected, atol=1e-5, rtol=1e-5)
