"""The pieces of work that are timed beside one another, by what the table calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...models.attention.joint import PAST
from ...models.attention.policy import AttentionPolicy
from ...models.attention.probe import Probe
from ...models.dit import FramePackDiT
from ...models.kept_work import KeptWork
from .floor import attention_floor, product_floor
from .fp8 import can_multiply, fp8_copy
from .peer import peer_inputs, peer_of
from .sizes import Size, random_inputs, random_model, same_weights, without_past

Work = Callable[[], object]

PRODUCTS, ATTENTION = "floor: products", "floor: attention"
FORWARD, PEER, IN_FP8 = "forward", "diffusers", "products in fp8"


def policies() -> dict[str, AttentionPolicy]:
    """What gates do to attention, with values of the size that presets have."""
    far, near = frozenset({"4x", "2x"}), frozenset({"start", "last"})
    return {
        "gate": AttentionPolicy(biases=((frozenset(PAST), torch.tensor(-1.0)),)),
        "gate with two weights": AttentionPolicy(
            biases=((far, torch.tensor(-1.0)), (near, torch.tensor(-2.0)))
        ),
        "cap on the past": AttentionPolicy(cap=torch.tensor(0.1)),
        "past dropped from attention": AttentionPolicy(dropped=frozenset(PAST)),
    }


def works_of(
    size: Size, *, device: torch.device, dtype: torch.dtype, peer: bool, compiled: bool
) -> dict[str, Work]:
    """Everything that is timed, in the order of the table; raises PeerMissingError."""
    dit, inputs = random_model(size, device, dtype), random_inputs(size, device, dtype)
    works: dict[str, Work] = {
        PRODUCTS: product_floor(size, device, dtype),
        ATTENTION: attention_floor(size, device, dtype),
    }
    if peer:
        works[PEER] = partial(peer_of(dit, dtype), **peer_inputs(inputs))
    works.update(_own_works(dit, inputs))
    if can_multiply(device):
        works[IN_FP8] = partial(fp8_copy(dit), **inputs)
    if compiled:
        works.update(_compiled_works(compiled_copy(dit), inputs))
    return works


def difference(works: Mapping[str, Work], name: str) -> float:
    """How far the prediction of one piece of work lies from that of the plain forward, as a share of the latter's norm."""
    own, plain = (cast(Tensor, works[key]()).float() for key in (name, FORWARD))
    return float((own - plain).norm() / plain.norm())


def _own_works(dit: FramePackDiT, inputs: dict[str, Any]) -> Iterator[tuple[str, Work]]:
    yield FORWARD, partial(dit, **inputs)
    yield "forward within a section", _with(dit, inputs, framepack_kept_work=KeptWork())
    for name, policy in policies().items():
        yield name, _with(dit, inputs, framepack_attention=policy)
    yield "past never packed", partial(dit, **without_past(inputs))
    yield "memory measured", _with(dit, inputs, framepack_probe=Probe())


def _compiled_works(dit: FramePackDiT, inputs: dict[str, Any]) -> Iterator[tuple[str, Work]]:
    yield "blocks compiled", partial(dit, **inputs)
    yield "blocks compiled, gate", _with(dit, inputs, framepack_attention=policies()["gate"])


def _with(dit: nn.Module, inputs: dict[str, Any], **options: Any) -> Work:
    return partial(dit, **inputs, transformer_options=options)


def compiled_copy(dit: FramePackDiT) -> FramePackDiT:
    """A transformer of the same weights whose blocks are compiled one by one, as nodes for compilation do it."""
    copy = same_weights(dit)
    for block in (*copy.transformer_blocks, *copy.single_transformer_blocks):
        block.compile()
    return copy
