"""The frames of an episode in the order of generation: backward, time runs backward in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ....tiny.wrappers import TinyVAE


def shared_frames(vae: TinyVAE, latents: Tensor, forward: bool) -> np.ndarray:
    """Frames [B,T,64,64,3] until the switch is met, of latents [B,16,L,8,8] behind the start image's.

    A frame is decoded behind those before it in time. Backward these are not there yet, and the first one is held instead.
    """
    if forward:
        frames: np.ndarray = vae.decode(latents).numpy()
        return frames
    later = latents[:, :, 1:]
    held = later[:, :, :1].repeat(1, 1, vae.codec.past_latents, 1, 1)
    decoded: np.ndarray = vae.decode(torch.cat([held, later], dim=2)).numpy()
    return decoded[:, : -4 * later.shape[2] - 1 : -1]


def frames_at_switch(
    vae: TinyVAE, latents: Tensor, after: int, forward: bool
) -> tuple[np.ndarray | None, np.ndarray]:
    """The frames [B,T,64,64,3] until the switch is met, and those from there on, of a whole video's latents [B,16,L,8,8].

    `after` of the latents are after the switch in time. Forward the first frames are None: they are those of `shared_frames`.
    """
    if forward:
        decoded = vae.decode(latents[:, :, -(after + vae.codec.past_latents) :])
        return None, decoded[:, -4 * after :].numpy()
    # The start image's own frame is nobody's work.
    backward = vae.decode(latents).numpy()[:, :0:-1]
    shared, treated = np.split(backward, [4 * after], axis=1)
    return shared, treated


def decoded_videos(vae: TinyVAE, latents: Tensor) -> Iterator[np.ndarray]:
    """The frames [T,64,64,3] of one video after another, of latents [B,16,L,8,8], decoded as they are asked for."""
    for number in range(latents.shape[0]):
        with torch.inference_mode():
            frames: np.ndarray = vae.decode(latents[number : number + 1])[0].numpy()
        yield frames
