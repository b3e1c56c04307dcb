"""Attention for some query rows at a time, for devices on which all of them together do not fit."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from .joint import AttentionFunction


def in_rows(attention: AttentionFunction, rows: int | None) -> AttentionFunction:
    """`attention` for at most `rows` query rows at a time; without a number it is the same function, untouched.

    A row's output depends on no other row, so only the rounding of a kernel can differ.
    """
    return attention if rows is None else partial(_in_rows, attention=attention, rows=rows)


def _in_rows(
    q: Tensor, k: Tensor, v: Tensor, *, attention: AttentionFunction, rows: int, **arguments: Any
) -> Tensor:
    return torch.cat([attention(part, k, v, **arguments) for part in torch.split(q, rows, dim=2)], dim=1)
