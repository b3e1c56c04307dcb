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


def no_longer_takes_a_mask(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: torch.Tensor | None = None
) -> Any:
    if attn_mask is not None:
        raise TypeError("unexpected mask")
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
    log_sum_exp._choose_kernel.cache_clear()
    with torch.inference_mode():
        yield
    log_sum_exp._choose_kernel.cache_clear()


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


@pytest.mark.parametrize("biased", [False, True])
def test_flash_on_cuda_adds_a_bias_though_the_operator_takes_none(
    biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator is stood in for by its definition: q, k and v as they come, and a scale of its own."""

    def operator(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float | None = None
    ) -> tuple[torch.Tensor, ...]:
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        logits = q.double() @ k.double().transpose(-1, -2) * scale
        return (logits.softmax(-1) @ v.double()).to(q.dtype), logits.logsumexp(-1).float(), torch.zeros(3)

    stand_in = SimpleNamespace(_scaled_dot_product_flash_attention=operator)
    q, k, v, _, key_bias = inputs()
    bias = key_bias[:, None, None] if biased else None
    with monkeypatch.context() as patched:
        patched.setattr(torch.ops, "aten", stand_in)
        output, lse = log_sum_exp.flash_on_cuda(q, k, v, bias)
    logits = q.double() @ k.double().transpose(-1, -2) * 8**-0.5
    if biased:
        logits = logits + key_bias.double()[:, None, None]
    torch.testing.assert_close(output.double(), logits.softmax(-1) @ v.double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lse.double(), logits.logsumexp(-1), atol=1e-5, rtol=1e-5)


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
        assert kernel_for(q, biased=True) is by_logits
        again = attend_with_lse(q, k, v, mask=mask, key_bias=key_bias)
    close(found)
    assert all(torch.equal(one, other) for one, other in zip(found, again))
    assert len(caplog.records) == 1, "it is tried, and said, once"
    assert "fused attention" in caplog.text


def test_without_a_bias_an_operator_is_used_that_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "aten", SimpleNamespace(**{OPERATOR: no_longer_takes_a_mask}))
    assert kernel_for(inputs()[0]) is log_sum_exp.flash_on_cpu
    assert kernel_for(inputs()[0], biased=True) is by_logits


def test_the_choice_is_made_once_for_each_dtype_and_width(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def counted(q: torch.Tensor, *others: Any) -> Any:
        tried.append((q.dtype, q.shape[-1]))
        return log_sum_exp.flash_on_cpu(q, *others)

    monkeypatch.setitem(log_sum_exp.KERNELS, "flash_on_cpu", counted)
    kinds = [(torch.float32, 8), (torch.bfloat16, 8), (torch.float32, 16)]
    for dtype, width in kinds * 2:
        kernel_for(torch.empty(1, 1, 1, width, dtype=dtype))
    assert tried == kinds


class Cudnn:
    """Stands in for cuDNN's operator: the same numbers from the CPU, with log-sum-exps [B, H, L, 1] as it gives them."""

    def __init__(self, *, takes_bias: bool = True, works: bool = True) -> None:
        self.takes_bias, self.works = takes_bias, works

    def __call__(self, q: Any, k: Any, v: Any, bias: Any, compute_log_sumexp: bool) -> tuple[Any, ...]:
        assert compute_log_sumexp
        if not self.works or (bias is not None and not self.takes_bias):
            raise RuntimeError("no valid execution plans built")
        output, lse = GENUINE(q, k, v, attn_mask=bias)
        return output, lse.unsqueeze(-1), None, None


def flash_without_bias(q: Any, k: Any, v: Any, scale: float | None = None) -> tuple[Any, ...]:
    return (*GENUINE(q, k, v, scale=scale), None)


@pytest.mark.parametrize(
    ("cudnn", "plain", "biased"),
    [
        (Cudnn(), "cudnn", "cudnn"),
        (Cudnn(takes_bias=False), "cudnn", "flash_on_cuda"),
        (Cudnn(works=False), "flash_on_cuda", "flash_on_cuda"),
    ],
)
def test_the_best_kernel_of_a_gpu_that_works_is_used(
    cudnn: Cudnn, plain: str, biased: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    operators = {
        "_scaled_dot_product_cudnn_attention": cudnn,
        "_scaled_dot_product_flash_attention": flash_without_bias,
    }
    q, k, v, mask, key_bias = inputs()
    monkeypatch.setattr(log_sum_exp, "_candidates", lambda q, biased: ("cudnn", "flash_on_cuda"))
    with monkeypatch.context() as patched:
        patched.setattr(torch.ops, "aten", SimpleNamespace(**operators))
        assert kernel_for(q) is log_sum_exp.KERNELS[plain]
        assert kernel_for(q, biased=True) is log_sum_exp.KERNELS[biased]
        found = attend_with_lse(q, k, v, mask=mask, key_bias=key_bias)
    close(found)
    assert not caplog.records


@pytest.mark.parametrize(
    ("capability", "biased", "expected"),
    [
        ((9, 0), False, ("cudnn", "flash_on_cuda")),
        ((8, 9), False, ("flash_on_cuda",)),
        ((8, 0), True, ("cudnn", "flash_on_cuda")),
        ((8, 0), False, ("flash_on_cuda",)),
        ((7, 5), False, ("flex",)),
        ((7, 5), True, ("flex",)),
    ],
)
def test_what_is_tried_depends_on_the_gpu(
    capability: tuple[int, int], biased: bool, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    queries = SimpleNamespace(device=torch.device("cuda"), is_cuda=True, dtype=torch.bfloat16)
    assert log_sum_exp._candidates(queries, biased) == expected
    single = SimpleNamespace(**{**vars(queries), "dtype": torch.float32})
    assert log_sum_exp._candidates(single, biased) == ("flex",)


@pytest.mark.parametrize(("device", "expected"), [("xpu", ("flex",)), ("mps", ())])
def test_what_is_tried_on_other_devices(device: str, expected: tuple[str, ...]) -> None:
    queries = SimpleNamespace(device=torch.device(device), is_cuda=False, dtype=torch.bfloat16)
    assert log_sum_exp._candidates(queries, biased=False) == expected


@pytest.fixture
def traced_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention by its own formula, traced as for a device but without generating code for it."""
    pytest.importorskip("torch.nn.attention.flex_attention", reason="torch has had FlexAttention since 2.5")
    monkeypatch.setattr(
        log_sum_exp, "_compiled", lambda function: torch.compile(function, backend="eager", fullgraph=True)
    )


@pytest.mark.usefixtures("traced_alone")
@pytest.mark.parametrize("biased", [False, True])
def test_flex_attention_gives_outputs_and_log_sum_exps_of_the_formula(biased: bool) -> None:
    q, k, v, mask, key_bias = inputs()
    bias = log_sum_exp._logit_bias(mask, key_bias, 2) if biased else None
    output, lse = log_sum_exp.flex(q, k, v, bias)
    logits = q.double() @ k.double().transpose(-1, -2) * 8**-0.5
    if biased:
        logits = (logits + key_bias.double()[:, None, None]).masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(output.double(), logits.softmax(-1) @ v.double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lse.double(), logits.logsumexp(-1), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("traced_alone")
def test_flex_attention_is_used_where_nothing_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sum_exp, "_candidates", lambda q, biased: ("flex",))
    q, k, v, mask, key_bias = inputs()
    assert kernel_for(q, biased=True) is log_sum_exp.flex
    close(attend_with_lse(q, k, v, mask=mask, key_bias=key_bias))


def test_without_a_compiler_the_formula_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(function: Any) -> Any:
        raise ImportError("no module named triton")

    monkeypatch.setattr(log_sum_exp, "_compiled", refused)
    monkeypatch.setattr(log_sum_exp, "_candidates", lambda q, biased: ("flex",))
    assert kernel_for(inputs()[0]) is by_logits
