"""The products of linear layers in float32 on a CPU, by the quicker one of the two libraries that torch brings.

torch multiplies such matrices with MKL, which leaves the wide vector units of other makers' processors unused; on an AMD EPYC
with AVX-512 oneDNN takes half the time. Without AVX-512 MKL is the quicker one, but for GELU, which oneDNN gives in the same
pass. torch itself reaches oneDNN's product in compiled graphs alone. The operator is no public interface: it is tried once
against the plain formula, and where it is gone or gives something else, torch's own product is used.
"""

from __future__ import annotations

import logging
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)

# Below as many multiplications the call itself takes longer than is won.
FEWEST = 2**20


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., inputs] times weight [outputs, inputs], with a bias [outputs] added: torch.nn.functional.linear."""
    if _takes_onednn(x, weight) and _has_avx512():  # in this order: a graph is compiled without the second
        return _onednn(x, weight, bias, "none")
    return F.linear(x, weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU, in its tanh approximation, of what `linear` gives."""
    if _takes_onednn(x, weight):
        return _onednn(x, weight, bias, "gelu")
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def _has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def _takes_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether a product can be oneDNN's and is worth the call: it gives no gradients, and torch sends other dtypes there by itself."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() * weight.shape[0] < FEWEST:
        return False
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return onednn_works()


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "tanh")
    return product


@cache
def onednn_works() -> bool:
    """Whether oneDNN's product, with and without GELU, is there and gives what the plain formula gives."""
    x, weight, bias = (torch.arange(n, dtype=torch.float32).mul(1.3).sin() for n in (48, 56, 7))
    x, weight = x.view(2, 3, 8), weight.view(7, 8)
    expected = F.linear(x, weight, bias)
    try:
        with torch.inference_mode():
            found = _onednn(x, weight, bias, "none"), _onednn(x, weight, bias, "gelu")
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        logger.info("oneDNN's product cannot be used here: %s", error)
        return False
    return torch.allclose(found[0], expected, atol=1e-5) and torch.allclose(
        found[1], F.gelu(expected, approximate="tanh"), atol=1e-5
    )
