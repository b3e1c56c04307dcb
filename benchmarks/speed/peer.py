"""The same model in diffusers, with the same weights and the same inputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ...models.dit import FramePackDiT

NAMES = {
    "x": "hidden_states",
    "timestep": "timestep",
    "context": "encoder_hidden_states",
    "y": "pooled_projections",
    "guidance": "guidance",
    "image_embeds": "image_embeds",
    "latent_indices": "indices_latents",
    "clean_latents": "latents_clean",
    "clean_latent_indices": "indices_latents_clean",
    "clean_latents_2x": "latents_history_2x",
    "clean_latent_2x_indices": "indices_latents_history_2x",
    "clean_latents_4x": "latents_history_4x",
    "clean_latent_4x_indices": "indices_latents_history_4x",
}


# Diffusers passes attention an argument that torch has had since this version.
OLDEST_TORCH = (2, 5)


class PeerMissingError(RuntimeError):
    """diffusers is not installed, is too old to know FramePack, or is too new for this torch."""


def peer_class() -> Any:
    """diffusers' FramePack transformer; raises PeerMissingError."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        raise PeerMissingError(
            f"diffusers, which this pack is compared with, needs torch 2.5 or newer, but this is {torch.__version__}: install "
            "a newer torch, or leave diffusers out with --no-peer."
        )
    try:
        from diffusers import HunyuanVideoFramepackTransformer3DModel
    except ImportError as error:
        raise PeerMissingError(
            "diffusers 0.36 or newer, which this pack is compared with, is not installed: install it with "
            "`pip install diffusers`, or leave it out with --no-peer."
        ) from error
    return HunyuanVideoFramepackTransformer3DModel


def peer_of(dit: FramePackDiT, dtype: torch.dtype) -> nn.Module:
    """diffusers' model around the very weights of `dit`, all of `dtype`; raises PeerMissingError."""
    with torch.device("meta"):
        peer: nn.Module = peer_class()(**dataclasses.asdict(dit.config))
    weights = {name: weight.to(dtype) for name, weight in dit.state_dict().items()}
    peer.load_state_dict(weights, assign=True)
    return peer.eval().requires_grad_(False)


def peer_inputs(inputs: dict[str, Tensor]) -> dict[str, Any]:
    """Our arguments under the names of diffusers."""
    context = inputs["context"]
    mask = torch.ones(context.shape[:2], dtype=torch.long, device=context.device)
    return {
        **{NAMES[name]: value for name, value in inputs.items()},
        "encoder_attention_mask": mask,
        "return_dict": False,
    }
