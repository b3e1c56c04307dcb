"""What a forward cannot do without: its large products and its attention, as the quickest of torch's libraries computes them alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.layers.products import linear
from .sizes import Size

Product = tuple[int, int, int]  # rows, inputs, outputs


def products(size: Size) -> dict[Product, int]:
    """The matrix products of all blocks, with how often each is computed. The last block makes the window alone."""
    config = size.config
    dim, hidden = config.inner_dim, config.mlp_dim
    video, window = size.past_tokens + size.window_tokens, size.window_tokens
    every = video + size.condition_tokens
    counts: dict[Product, int] = {}

    def add(times: int, *shape: int) -> None:
        key = (shape[0], shape[1], shape[2])
        counts[key] = counts.get(key, 0) + times

    for rows in (video, size.condition_tokens):
        add(4 * config.num_layers, rows, dim, dim)
        add(config.num_layers, rows, dim, hidden)
        add(config.num_layers, rows, hidden, dim)
    whole = config.num_single_layers - 1
    for rows, blocks, projections in ((every, whole, 3), (window, 1, 1)):
        add(blocks * projections, rows, dim, dim)
        add(blocks, rows, dim, hidden)
        add(blocks, rows, dim + hidden, dim)
    add(2, every, dim, dim)
    return counts


def product_floor(size: Size, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """Computes all products of a forward."""
    weights: dict[tuple[int, int], Tensor] = {}
    rows: dict[tuple[int, int], Tensor] = {}
    counts = products(size)
    for number, inputs, outputs in counts:
        rows[number, inputs] = torch.randn(number, inputs, device=device, dtype=dtype)
        weights[outputs, inputs] = torch.randn(outputs, inputs, device=device, dtype=dtype)

    def compute() -> None:
        for (number, inputs, outputs), times in counts.items():
            for _ in range(times):
                linear(rows[number, inputs], weights[outputs, inputs])

    return compute


def attention_floor(size: Size, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """Computes all attention of a forward; the last block's for the window's rows."""
    config = size.config
    tokens = size.past_tokens + size.window_tokens + size.condition_tokens
    shape = (1, config.num_attention_heads, tokens, config.attention_head_dim)
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    attend = partial(F.scaled_dot_product_attention, key=k, value=v)
    blocks = config.num_layers + config.num_single_layers

    def compute() -> None:
        for _ in range(blocks - 1):
            attend(q)
        attend(q[:, :, : size.window_tokens])

    return compute
