"""Attention that also gives the log-sum-exp of its logits, by which the attentions of groups of keys can be merged.

torch's fused kernels compute it, but only its internal operators return it. They are no public interface: each is tried once
against the plain formula, and where it is gone or gives something else, the next best is used instead, at last the formula.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)

# (q, k, v, bias) -> (output [B, H, Lq, D], log-sum-exp [B, H, Lq] in float32); bias [B or 1, 1, 1, Lk] float32 or None.
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]

HALF = (torch.float16, torch.bfloat16)
# The kinds of devices, besides CPUs, for which torch compiles FlexAttention.
FLEX_DEVICES = ("cuda", "xpu")
# Logits are formed for as many rows at a time as fit in these bytes.
LOGITS_BYTES = 2**29
# A logit that leaves nothing of a key beside others, and that half precision holds even times the root of a head's width.
MASKED_LOGIT = -1e3


def attend_with_lse(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, key_bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention output [B, H, Lq, D] and log-sum-exp of its logits [B, H, Lq] in float32.

    `mask` [B, 1, 1, Lk] is True where a key may be attended, `key_bias` [B or 1, Lk] is added to the logits. Fused kernels
    return both where they exist (CUDA from compute capability 8 on in half precision, the CPU without gradients);
    elsewhere the logits are formed.
    """
    bias = _logit_bias(mask, key_bias, q.shape[0])
    return kernel_for(q, biased=bias is not None)(q, k, v, bias)


def kernel_for(q: Tensor, *, biased: bool = False) -> Kernel:
    """The best kernel that works for queries of this device, dtype and width; `biased` where logits gain something."""
    names = _candidates(q, biased)
    name = choose_kernel(names, q.device.type, q.dtype, width=q.shape[-1], biased=biased)
    return KERNELS[name]


def _candidates(q: Tensor, biased: bool) -> tuple[str, ...]:
    """The fused kernels for queries like these, the quickest first.

    cuDNN's takes three fifths of the time of flash attention on Hopper, and takes a bias where flash attention needs
    channels for it; on older cards flash attention is as quick. FlexAttention, which has to be compiled first, is for what
    neither takes.
    """
    if q.device.type == "cpu":
        return () if torch.is_grad_enabled() else ("flash_on_cpu",)
    if q.device.type not in FLEX_DEVICES:
        return ()
    capability = torch.cuda.get_device_capability(q.device) if q.is_cuda else (0, 0)
    if q.dtype not in HALF or capability < (8, 0):
        return ("flex",)
    return ("cudnn", "flash_on_cuda") if biased or capability >= (9, 0) else ("flash_on_cuda",)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # untyped in torch
def choose_kernel(
    names: tuple[str, ...], device: str, dtype: torch.dtype, *, width: int, biased: bool
) -> str:
    """The first of the kernels that gives what the formula gives, else the formula; a compiler takes it as a constant."""
    return _choose_kernel(names, device, dtype, width=width, biased=biased)


@cache
def _choose_kernel(
    names: tuple[str, ...], device: str, dtype: torch.dtype, *, width: int, biased: bool
) -> str:
    q, k, v, bias = (part.to(device) for part in _probe(dtype, width))
    reasons = []
    for name in names:
        try:
            # Inside autocast the formula would round otherwise, and the kernel be judged by that.
            with torch.inference_mode(), torch.autocast(device, enabled=False):
                if _agrees(KERNELS[name], q=q, k=k, v=v, bias=bias if biased else None):
                    return name
            reasons.append(f"{name} gives other values than expected")
        except (AttributeError, ImportError, TypeError, ValueError, RuntimeError) as error:
            reasons.append(f"{name} fails with: {error}")
    if reasons:
        logger.warning("torch's fused attention cannot be used for gates here: %s", "; ".join(reasons))
    return "by_logits"


def _probe(dtype: torch.dtype, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Small q, k, v [1, 2, L, width] and a bias [1, 1, 1, 7] that are always the same."""
    q, k, v = (
        (seed + torch.arange(2 * length * width, dtype=torch.float32) * seed).sin().view(1, 2, length, width)
        for seed, length in ((1.3, 5), (2.1, 7), (3.7, 7))
    )
    return q.to(dtype), k.to(dtype), v.to(dtype), torch.linspace(-2, 0, 7).view(1, 1, 1, 7)


def _agrees(kernel: Kernel, *, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> bool:
    """Whether a kernel gives outputs and log-sum-exps of the right shape, dtype and value."""
    output, lse = kernel(q, k, v, bias)
    expected_output, expected_lse = by_logits(q, k, v, bias)
    return (
        (output.shape, output.dtype, lse.shape) == (expected_output.shape, q.dtype, expected_lse.shape)
        and torch.allclose(output.float(), expected_output.float(), atol=0.02, rtol=0.02)
        and torch.allclose(lse.float(), expected_lse, atol=0.02, rtol=0.02)
    )


def cudnn(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """cuDNN's attention on CUDA, which gives log-sum-exps [B, H, Lq, 1]."""
    added = None if bias is None else bias.to(q.dtype)
    output, lse = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, added, True)[:2]
    return output, lse.view(q.shape[:3])


def flash_on_cuda(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Flash attention on CUDA. It takes no mask, so a bias goes into channels of its own (see bias_in_channels)."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention
    if bias is None:
        output, lse = flash(q, k, v)[:2]
        return output, lse
    output, lse = flash(*bias_in_channels(q, k, v, bias), scale=q.shape[-1] ** -0.5)[:2]
    return output[..., : v.shape[-1]], lse


def flash_on_cpu(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Flash attention on the CPU."""
    added = None if bias is None else bias.to(q.dtype)
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=added)
    return output, lse


def flex(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """FlexAttention, compiled for the device."""
    from torch.nn.attention import flex_attention

    def added(logit: Tensor, batch: Tensor, *head_row_key: Tensor) -> Tensor:
        return logit if bias is None else logit + bias[batch % bias.shape[0], 0, 0, head_row_key[-1]]

    # Versions of torch before 2.9 ask for the log-sum-exp in another way.
    request = getattr(flex_attention, "AuxRequest", None)
    asked: dict[str, Any] = {"return_lse": True} if request is None else {"return_aux": request(lse=True)}
    output, found = _compiled(flex_attention.flex_attention)(q, k, v, added, **asked)
    return output, found if isinstance(found, Tensor) else found.lse


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


def by_logits(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The formula itself, on any device, for as many rows at a time as fit LOGITS_BYTES."""
    rows = max(1, LOGITS_BYTES // (4 * q.shape[0] * q.shape[1] * k.shape[2]))
    parts = [_softmax_of_logits(part, k, v, bias) for part in torch.split(q, rows, dim=2)]
    return torch.cat([output for output, _ in parts], dim=2), torch.cat([lse for _, lse in parts], dim=2)


KERNELS: dict[str, Kernel] = {
    "cudnn": cudnn,
    "flash_on_cuda": flash_on_cuda,
    "flash_on_cpu": flash_on_cpu,
    "flex": flex,
    "by_logits": by_logits,
}


def _softmax_of_logits(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    logits = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias
    return F.softmax(logits, dim=-1).to(v.dtype) @ v, torch.logsumexp(logits, dim=-1)


def _logit_bias(mask: Tensor | None, key_bias: Tensor | None, batch: int) -> Tensor | None:
    """Mask and bias as one bias [B or 1, 1, 1, Lk] in float32; a batch that repeats gets the bias repeated."""
    masked = None if mask is None else torch.where(mask, 0.0, MASKED_LOGIT)
    if key_bias is None:
        return masked
    bias = key_bias.float()[:, None, None]
    if bias.shape[0] > 1:
        bias = bias.repeat(batch // bias.shape[0], 1, 1, 1)
    return bias if masked is None else bias + masked


def bias_in_channels(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v with eight channels more, in which q k^T gains sqrt(D) times a bias [B or 1, 1, 1, Lk]; v gains zeros.

    So a kernel that takes no mask adds the bias when it is given the scale D^-0.5. Three channels of q are 1, and k's sum
    to the bias there, which in half precision holds it to about 24 bits.
    """
    rest = (bias[..., 0, :] * q.shape[-1] ** 0.5).expand(k.shape[0], k.shape[1], -1)
    channels = []
    for _ in range(3):
        channels.append(rest.to(k.dtype))
        rest = rest - channels[-1].float()
    key_channels = torch.stack([*channels, *[torch.zeros_like(channels[0])] * 5], dim=-1)
    query_channels = q.new_zeros(*q.shape[:3], 8)
    query_channels[..., :3] = 1
    return (
        torch.cat((q, query_channels), dim=-1),
        torch.cat((k, key_channels), dim=-1),
        torch.cat((v, torch.zeros_like(key_channels)), dim=-1),
    )
