"""Rotary position embedding over frames, rows and columns, always in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import repeat
from torch import Tensor

GOLDEN = (5**0.5 - 1) / 2
# The kinds of devices whose products of complex numbers are known to be as quick as any.
COMPLEX_DEVICES = ("cpu", "cuda")


def axis_angles(positions: Tensor, dim: int, theta: float | Tensor) -> Tensor:
    """Rotation angles of positions along one axis: [...] -> [..., dim / 2], float32; theta goes with those."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim
    return positions.to(torch.float32)[..., None] * (1.0 / theta**exponents)


def head_thetas(theta: float, jitter: Tensor, heads: int, device: torch.device) -> Tensor:
    """A base of the rotation for every head [heads], float32: theta (1 + jitter e), with jitter 0-d and e in [-1, 1].

    e runs through the golden ratio's sequence from 0 on, which fills the range evenly whatever the number of heads.
    """
    turns = torch.arange(heads, dtype=torch.float32, device=device) * GOLDEN + 0.5
    return theta * (1 + jitter.to(device) * (2 * turns.frac() - 1))


def rope_map(
    indices: Tensor,
    *,
    height: int,
    width: int,
    axes_dim: tuple[int, ...],
    theta: float,
    device: torch.device,
    frame_theta: Tensor | None = None,
) -> Tensor:
    """Cosines and sines of a grid of tokens: frame indices [B, T] -> [B, T, H, W, D / 2, 2], float32.

    `frame_theta` [B, 1, 1] takes the place of theta along time.
    """
    frames = axis_angles(indices.to(device), axes_dim[0], theta if frame_theta is None else frame_theta)
    rows = axis_angles(torch.arange(height, device=device), axes_dim[1], theta)
    columns = axis_angles(torch.arange(width, device=device), axes_dim[2], theta)

    batch, length = indices.shape
    angles = torch.cat(
        (
            repeat(frames, "b t d -> b t h w d", h=height, w=width),
            repeat(rows, "h d -> b t h w d", b=batch, t=length, w=width),
            repeat(columns, "w d -> b t h w d", b=batch, t=length, h=height),
        ),
        dim=-1,
    )
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def identity_rope(length: int, like: Tensor) -> Tensor:
    """The rotation by nothing, for tokens without a place: [B, length, (H,) D / 2, 2] beside [B, L, (H,) D / 2, 2]."""
    shape = (like.shape[0], length, *like.shape[2:-1])
    return torch.stack((like.new_ones(shape), like.new_zeros(shape)), dim=-1)


def apply_rope(x: Tensor, pe: Tensor) -> Tensor:
    """Rotates neighbouring pairs of channels: x [B, L, H, D] by pe [B or 1, L, D / 2, 2], in float32.

    Where heads turn differently pe is [B or 1, L, H, D / 2, 2]. Complex numbers take one pass over memory; where they are
    not at hand, or a compiler would not fuse them, the products are written out, which gives the same numbers.
    """
    pairs = torch.unflatten(x.float(), -1, (-1, 2))
    turns = pe if pe.ndim == 5 else pe.unsqueeze(2)
    written_out = torch.compiler.is_compiling() or x.device.type not in COMPLEX_DEVICES
    rotated = _multiplied(pairs, turns) if written_out else _multiplied_as_complex(pairs, turns)
    return rotated.flatten(-2).to(x.dtype)


def _multiplied_as_complex(pairs: Tensor, turns: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))


def _multiplied(pairs: Tensor, turns: Tensor) -> Tensor:
    """The product of pairs [..., 2] read as complex numbers."""
    real, imaginary = pairs.unbind(-1)
    cos, sin = turns.unbind(-1)
    return torch.stack((real * cos - imaginary * sin, imaginary * cos + real * sin), dim=-1)


@dataclass(frozen=True)
class Rotation:
    """How a model rotates queries and keys.

    prepare: takes the rotations of all tokens as `apply_rope` knows them and the dtype of what will be rotated, and gives
        the table [B or 1, L, ...] that `apply` wants; called once where tokens stay the same.
    apply: rotates x [B, L, H, D] by such a table.
    """

    prepare: Callable[[Tensor, torch.dtype], Tensor]
    apply: Callable[[Tensor, Tensor], Tensor]


PLAIN_ROTATION = Rotation(prepare=lambda pe, dtype: pe, apply=apply_rope)
