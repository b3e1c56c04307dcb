"""The mathematics of LoRA, LoHa and LoKr: from the parts of a module to the difference of its weight [rows, columns]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Product = Callable[[Tensors], Tensor]


def kind_of(parts: Iterable[str]) -> str | None:
    """lora, loha, lokr or diff, where all that it needs is there."""
    present = set(parts)
    found = (name for name, kind in KINDS.items() if any(need <= present for need in kind.needs))
    return next(found, None)


def extra_parts(parts: Iterable[str]) -> set[str]:
    """The parts that a change of its kind does not use."""
    kind = kind_of(parts)
    needed = next((need for need in KINDS[kind].needs if need <= set(parts)), set()) if kind else set()
    return set(parts) - needed - {"alpha", "dora_scale", "magnitude", "diff_b", "up_bias"}


def product_of(parts: Iterable[str]) -> Product:
    """How the parts of a known kind make the difference of a weight."""
    return KINDS[cast(str, kind_of(parts))].product


def dense(parts: Tensors) -> Tensor:
    """The difference of the weight in float32 [rows, columns], at strength 1."""
    return product_of(parts)({part: value.float() for part, value in parts.items()}) * scale_of(parts)


def size_of(parts: Tensors) -> tuple[int, ...] | None:
    """The shape of that difference without computing it; None where the parts do not fit each other."""
    sketch = {part: torch.empty(value.shape, device="meta") for part, value in parts.items()}
    try:
        return tuple(product_of(parts)(sketch).shape)
    except (RuntimeError, IndexError):
        return None


def scale_of(parts: Tensors) -> float:
    """alpha / rank; 1 where there is no alpha, or nothing of lower rank for it to scale."""
    ranked = [parts[part] for part in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b") if part in parts]
    return float(parts["alpha"].item()) / ranked[0].shape[0] if "alpha" in parts and ranked else 1.0


def lora_product(parts: Tensors) -> Tensor:
    """LoRA (arXiv 2106.09685): up [out, r] times down [r, in]."""
    return parts["up"].flatten(1) @ parts["down"].flatten(1)


def loha_product(parts: Tensors) -> Tensor:
    """FedPara (arXiv 2108.06098): two low-rank products, multiplied element by element."""
    first, second = (parts[f"{name}_a"] @ parts[f"{name}_b"].flatten(1) for name in ("hada_w1", "hada_w2"))
    return first * second


def lokr_product(parts: Tensors) -> Tensor:
    """LyCORIS (arXiv 2309.14859): the Kronecker product of two matrices, each whole or a low-rank product."""
    left, right = (
        parts[name] if name in parts else parts[f"{name}_a"] @ parts[f"{name}_b"].flatten(1)
        for name in ("lokr_w1", "lokr_w2")
    )
    return torch.kron(left, right.flatten(1))


def whole_difference(parts: Tensors) -> Tensor:
    """A difference stored as such, flattened to [out, in]."""
    return parts["diff"].reshape(parts["diff"].shape[0], -1)


class Kind(NamedTuple):
    """A kind of change: the sets of parts of which one must be there, and how its parts make the difference of a weight."""

    needs: tuple[set[str], ...]
    product: Product


KINDS = {
    "lora": Kind(({"down", "up"},), lora_product),
    "loha": Kind(({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},), loha_product),
    "lokr": Kind(
        tuple(
            left | right
            for left in ({"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"})
            for right in ({"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"})
        ),
        lokr_product,
    ),
    "diff": Kind(({"diff"},), whole_difference),
}
