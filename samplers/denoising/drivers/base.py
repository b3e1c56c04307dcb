"""The drivers' protocol and its task, and how a branch becomes the model's arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ....models.config import FramePackConfig
from ....models.kept_work import KeptWork, once
from ...techniques.base import Technique
from ..denoiser import SectionDenoiser
from ..evaluating.branch import Branch

OnStep = Callable[[int, Tensor], None]
# Takes the steps that are done, x0, and words about the section by their kind.
OnProgress = Callable[[int, Tensor, Mapping[str, str]], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class SectionTask:
    """What a driver needs to denoise one section. Latents are [B, 16, T, H, W] in the model's scale.

    denoiser: predicts x0.
    noise: the noise to start from.
    initial: latents that the first sigma mixes with the noise; zeros for none.
    sigmas: the noise levels, float32 [steps + 1] falling to 0.
    solver: a name in SOLVERS or a SAMPLER of the host.
    seed: for stochastic solvers.
    on_step: called with the step's number from 0 and x0 after every solver step.
    upstream_rounding: whether timestep and guidance are rounded to bfloat16 as upstream does.
    restarts: the steps at which our solvers use no prediction from before.
    """

    denoiser: SectionDenoiser
    noise: Tensor
    initial: Tensor
    sigmas: Tensor
    solver: Any
    seed: int
    on_step: OnStep
    upstream_rounding: bool = False
    restarts: tuple[int, ...] = ()


class Driver(Protocol):
    """Runs sections on one model."""

    model: Any
    config: FramePackConfig
    device: torch.device
    techniques: tuple[Technique, ...]
    attachments: Mapping[str, Any]

    def to_model(self, latents: Tensor) -> Tensor:
        """VAE latents to the model's scale."""

    def to_vae(self, latents: Tensor) -> Tensor:
        """The model's latents to the VAE's scale."""

    def free_memory(self) -> None:
        """Give memory that is not in use back to the device."""

    def progress(self, total_steps: int, *, pictures: bool = True) -> OnProgress:
        """A callback for the whole run; without `pictures` none of x0 is shown."""

    def notices(self) -> list[str]:
        """Sentences about what the MODEL carries and FramePack makes nothing of."""

    def run(self, task: SectionTask) -> Tensor:
        """The section's latents [B, 16, T, H, W] in the model's scale, float32 on the CPU."""


def context_arguments(
    branch: Branch, batch: int, device: torch.device, work: KeptWork | None = None
) -> dict[str, Tensor]:
    """The DiT's keyword arguments for a branch: guidance, indices, tiers and image tokens. Absent tiers are left out.

    Guidance is an integer in thousandths: ComfyUI casts every floating condition to the model's dtype, and bfloat16
    would turn 10000 into 9984. Indices are integers for the same reason, [B, n].
    """
    context, indices = branch.context, branch.context.indices
    arguments = {
        "guidance": torch.full((batch,), round(branch.distilled * 1000), dtype=torch.int64, device=device),
        "latent_indices": once(work, _row, indices.target, batch, device),
    }
    if context.image_embeds is not None:
        arguments["image_embeds"] = context.image_embeds
    tiers = (
        ("clean_latents", "clean_latent_indices", context.clean, indices.clean),
        ("clean_latents_2x", "clean_latent_2x_indices", context.clean_2x, indices.clean_2x),
        ("clean_latents_4x", "clean_latent_4x_indices", context.clean_4x, indices.clean_4x),
    )
    for latents_name, indices_name, latents, positions in tiers:
        if latents is not None:
            arguments[latents_name] = latents
            arguments[indices_name] = once(work, _row, positions, batch, device)
    return arguments


def attention_options(branch: Branch) -> dict[str, Any]:
    """The entries of transformer_options for a branch's attention; none where the model attends as it is."""
    options = {
        "framepack_attention": branch.attention,
        "framepack_attention_rows": branch.attention_rows,
        "framepack_tokens": branch.context.tokens,
        "framepack_kv_mask": branch.context.kv_mask,
        "framepack_probe": branch.probe,
        "framepack_cache": branch.cache,
        "framepack_signal": branch.signal,
    }
    return {name: value for name, value in options.items() if value}


def _row(indices: tuple[int, ...], batch: int, device: torch.device) -> Tensor:
    return torch.tensor(indices, dtype=torch.int64, device=device).expand(batch, -1)
