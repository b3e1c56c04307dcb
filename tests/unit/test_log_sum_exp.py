"""Attention with its log-sum-exp: torch's internal operators while they do what is expected of them, else the formula."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from framepack_transitions.models.attention import log_sum_exp
from framepack_transitions.models.attention.log_sum_exp import attend_with_lse, by_logits, kernel_for

OPERATOR = "_scaled_dot_product_flash_attention_for_cpu"
GENUINE = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def one_number_more(*arguments: Any, **keywords: Any) -> tuple[Any, ...]:
    return (torch.zeros(()), *GENUINE(*arguments, **keywords))


def no_longer_takes_a_mask(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
    return GENUINE(q, k, v)


def in_base_two(*arguments: Any, **keywords: Any) -> tuple[torch.Tensor, torch.Tensor]:
    output, lse = GENUINE(*arguments, **keywords)
    return output, lse * 1.4427


def heads_last(*arguments: Any, **keywords: Any) -> tuple[torch.Tensor, torch.Tensor]:
    output, lse = GENUINE(*arguments, **keywords)
    return output, lse.transpose(1, 2)


def refuses(*arguments: Any, **keywords: Any) -> Any:
    raise RuntimeError("not built for this machine")


@pytest.fixture(autouse=True)
def tried_anew() -> Any:
    log_sum_exp._fused_kernel_works.cache_clear()
    with torch.inference_mode():
        yield
    log_sum_exp._fused_kernel_works.cache_clear()


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 8, generator=generator) for length in (5, 9, 9))
    mask = torch.ones(2, 1, 1, 9, dtype=torch.bool)
    mask[1, ..., -2:] = False
    return q, k, v, mask, -torch.rand(1, 9, generator=generator)


def expected() -> tuple[torch.Tensor, torch.Tensor]:
    """The definition, in float64."""
    q, k, v, mask, key_bias = inputs()
    logits = q.double() @ k.double().transpose(-1, -2) * 8**-0.5 + key_bias.double()[:, None, None]
    logits = logits.masked_fill(~mask, -torch.inf)
    return logits.softmax(-1) @ v.double(), logits.logsumexp(-1)


def close(found: tuple[torch.Tensor, torch.Tensor]) -> None:
    for value, target in zip(found, expected()):
        torch.testing.assert_close(value.double(), target, atol=1e-5, rtol=1e-5)


def test_the_fused_operator_of_this_torch_is_used_and_right() -> None:
    q, k, v, mask, key_bias = inputs()
    assert kernel_for(q) is log_sum_exp.flash_on_cpu
    close(attend_with_lse(q, k, v, mask=mask, key_bias=key_bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_used_under_autocast_too(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kernel_for(torch.empty(1, 1, 1, 8, dtype=dtype)) is log_sum_exp.flash_on_cpu


@pytest.mark.parametrize(
    ("dtype", "capability", "kernel"),
    [
        (torch.float16, (8, 0), log_sum_exp.flash_on_cuda),
        (torch.bfloat16, (9, 0), log_sum_exp.flash_on_cuda),
        (torch.float16, (7, 5), by_logits),
        (torch.float32, (9, 0), by_logits),
    ],
)
def test_on_cuda_half_precision_is_fused_from_capability_8_on(
    dtype: torch.dtype, capability: tuple[int, int], kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(log_sum_exp, "fused_kernel_works", lambda name, dtype: True)
    assert kernel_for(SimpleNamespace(is_cuda=True, dtype=dtype, device=torch.device("cuda"))) is kernel


def test_a_batch_that_repeats_gets_its_key_biases_repeated() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(4, 3, length, 8, generator=generator) for length in (5, 9, 9))
    key_bias = torch.randn(2, 9, generator=generator)
    logits = q.double() @ k.double().transpose(-1, -2) * 8**-0.5
    logits = logits + torch.cat([key_bias, key_bias]).double()[:, None, None]
    output, lse = attend_with_lse(q, k, v, key_bias=key_bias)
    torch.testing.assert_close(output.double(), logits.softmax(-1) @ v.double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lse.double(), logits.logsumexp(-1), atol=1e-5, rtol=1e-5)


def test_with_gradients_the_formula_is_used() -> None:
    with torch.enable_grad():
        assert kernel_for(inputs()[0]) is by_logits


@pytest.mark.parametrize(
    "broken", [one_number_more, no_longer_takes_a_mask, in_base_two, heads_last, refuses, None]
)
def test_an_operator_that_is_gone_or_changed_is_replaced_by_the_formula(
    broken: Callable[..., Any] | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    q, k, v, mask, key_bias = inputs()
    operators = SimpleNamespace() if broken is None else SimpleNamespace(**{OPERATOR: broken})
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(torch.ops, "aten", operators)
        found = attend_with_lse(q, k, v, mask=mask, key_bias=key_bias)
        assert kernel_for(q) is by_logits
        again = attend_with_lse(q, k, v, mask=mask, key_bias=key_bias)
    close(found)
    assert all(torch.equal(one, other) for one, other in zip(found, again))
    assert len(caplog.records) == 1, "it is tried, and said, once"
    assert "fused attention" in caplog.text


def test_the_choice_is_made_once_for_each_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def counted(*arguments: Any) -> Any:
        tried.append(arguments[0].dtype)
        return log_sum_exp.flash_on_cpu(*arguments)

    monkeypatch.setitem(log_sum_exp.FUSED, "cpu", counted)
    for dtype in (torch.float32, torch.bfloat16, torch.float32, torch.bfloat16):
        kernel_for(torch.empty(1, 1, 1, 8, dtype=dtype))
    assert tried == [torch.float32] * 2 + [torch.bfloat16] * 2  # each without and with a bias
