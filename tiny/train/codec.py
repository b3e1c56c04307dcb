"""Train the codec: reconstruction from noisy latents, then fold the latents to a known spread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ..networks.codec import TinyCodec
from ..precision import autocast
from .clock import Stopwatch, paced
from .data.drawing import in_workers, short_clip
from .data.store import to_input
from .learning.optim import warm_cosine

logger = logging.getLogger(__name__)

LATENT_NOISE = 0.15
SINGLE_SHARE = 0.15
BATCH = 12
FEWEST = 24  # clips that it is trained on, however short the time is


def draw_frames(
    count: int, seed: int, *, scale: int = 1, pairs: float = 0.0, seconds: float = float("inf")
) -> Tensor:
    """Short clips uint8 [count,9,H,W,3] that the codec learns from, a share of them with two subjects.

    After `seconds` there are as many as were drawn until then, FEWEST at least.
    """
    jobs = [(5 * 10**8 + seed * 10**6 + index, scale, pairs) for index in range(count)]
    drawn, watch = [], Stopwatch(seconds)
    for frames in in_workers(short_clip, jobs):
        drawn.append(frames)
        if watch.over and len(drawn) >= FEWEST:
            break
    return torch.from_numpy(np.stack(drawn))


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours along rows and columns."""
    return x.diff(dim=-1), x.diff(dim=-2)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 and squared error of the pixels, L1 of their edges, of frames [B,3,T,H,W]."""
    loss = F.l1_loss(output, target) + F.mse_loss(output, target)
    return loss + 0.5 * sum(F.l1_loss(a, b) for a, b in zip(edges(output), edges(target)))


def codec_loss(codec: TinyCodec, frames: Tensor, generator: torch.Generator) -> Tensor:
    """Loss of the whole codec on frames [B,3,T,H,W].

    The latents are pulled to unit variance: without it the encoder drowns the decoder's noise by growing.
    """
    latents = codec.encode(frames)
    output = codec.decode(latents + noise_like(latents, 1.0, generator)).float()
    latents = latents.float()
    mean, square = latents.mean((0, 2, 3, 4)), latents.square().mean((0, 2, 3, 4))
    spread = mean.square().mean() + (square - 1).square().mean()
    return reconstruction_loss(output, frames) + 0.02 * spread


def decoder_loss(codec: TinyCodec, frames: Tensor, generator: torch.Generator) -> Tensor:
    """Loss of the decoder alone, for latents that have been settled."""
    with torch.no_grad():
        latents = codec.encode(frames)
    noise = noise_like(latents, 1 / codec.latent_scale.item(), generator)
    return reconstruction_loss(codec.decode(latents + noise).float(), frames)


def noise_like(
    latents: Tensor, spread: float, generator: torch.Generator, most: float = 2 * LATENT_NOISE
) -> Tensor:
    """Noise for latents of a spread, of another amount for each clip, at most `most` times the spread.

    What reads decoded pictures must forgive what sampling misses.
    """
    noise = torch.randn(latents.shape, generator=generator)
    amount = torch.rand(len(latents), 1, 1, 1, 1, generator=generator) * most * spread
    return (noise * amount).to(latents)


Loss = Callable[[TinyCodec, Tensor, torch.Generator], Tensor]


def optimize(
    codec: TinyCodec,
    parameters: Iterable[nn.Parameter],
    *,
    loss_of: Loss,
    frames: Tensor,
    steps: int,
    rate: float,
    seed: int,
    device: torch.device,
    log: Callable[..., None],
    progress: bool = True,
    name: str = "codec",
    watch: Stopwatch | None = None,
) -> None:
    """Train on clips uint8 [N,9,H,W,3] until steps or time are over; what a step sees depends on seed and step alone."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    frames = frames.to(device)
    bar = tqdm(paced(steps, watch or Stopwatch()), total=steps, desc=name, disable=not progress)
    for step, done in bar:
        generator = torch.Generator().manual_seed(seed * 10**7 + step)
        batch = frames[torch.randint(len(frames), (BATCH,), generator=generator).to(device)]
        if torch.rand((), generator=generator) < SINGLE_SHARE:
            batch = batch[:, :1].repeat(2, 1, 1, 1, 1)
        for group in optimizer.param_groups:
            group["lr"] = rate * warm_cosine(step, done)
        with autocast(device):
            loss = loss_of(codec, to_input(batch), generator)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            log(stage=name, step=step, loss=round(loss.item(), 5))
            bar.set_postfix(loss=f"{loss.item():.4f}")


def train_codec(
    codec: TinyCodec,
    *,
    frames: Tensor,
    steps: int,
    rate: float,
    seed: int,
    device: torch.device,
    log: Callable[..., None],
    progress: bool = True,
    watch: Stopwatch | None = None,
) -> None:
    """Train both directions and settle the latents' scale."""
    codec.to(device).train().requires_grad_(True)
    optimize(
        codec,
        codec.parameters(),
        loss_of=codec_loss,
        frames=frames,
        steps=steps,
        rate=rate,
        seed=seed,
        device=device,
        log=log,
        progress=progress,
        watch=watch,
    )
    codec.eval()
    settle(codec, frames[:400], device)


def train_decoder(
    codec: TinyCodec,
    *,
    frames: Tensor,
    steps: int,
    rate: float,
    seed: int,
    device: torch.device,
    log: Callable[..., None],
    progress: bool = True,
    watch: Stopwatch | None = None,
) -> None:
    """Go on with the decoder alone: the pictures get better and the latents stay as they are."""
    codec.to(device).requires_grad_(False)
    parameters = codec.decoder.requires_grad_(True).parameters()
    optimize(
        codec,
        parameters,
        loss_of=decoder_loss,
        frames=frames,
        steps=steps,
        rate=rate,
        seed=seed + 1,
        device=device,
        log=log,
        progress=progress,
        name="decoder",
        watch=watch,
    )
    codec.requires_grad_(False)


@torch.no_grad()
def settle(codec: TinyCodec, frames: Tensor, device: torch.device) -> None:
    """Give every latent channel mean 0 and spread 1 / latent_scale, and fit the preview.

    Both are folded into the last layer of the encoder and the first of the decoder: the codec stays the same.
    """
    latents = torch.cat([codec.encode(to_input(part).to(device)) for part in torch.split(frames, 25)])
    mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    factor = 1 / (std * codec.latent_scale)
    last, first = (cast(nn.Linear, layer) for layer in (codec.encoder[-1], codec.decoder[0]))
    first.bias.add_(first.weight @ mean)
    first.weight /= factor
    last.weight *= factor[:, None]
    last.bias.copy_((last.bias - mean) * factor)
    fit_preview(codec, (latents - mean[:, None, None, None]) / std[:, None, None, None], frames)


def fit_preview(codec: TinyCodec, latents: Tensor, frames: Tensor) -> None:
    """Least squares from scaled latents [N,16,T,8,8] to the mean colours of their blocks in -1..1.

    By singular values, which a channel without any content does not disturb; torch has that on the CPU alone.
    """
    video = to_input(frames).to(latents)
    colours = F.avg_pool3d(video[:, :, 1:], (4, 8, 8))
    inputs, wanted = (part.movedim(1, -1).flatten(0, -2).cpu() for part in (latents[:, :, 1:], colours))
    inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, wanted, driver="gelsd").solution
    codec.rgb_factors.copy_(solution[:-1])
    codec.rgb_bias.copy_(solution[-1])


@torch.no_grad()
def psnr(codec: TinyCodec, frames: Tensor, device: torch.device) -> float:
    """Peak signal-to-noise ratio in dB of clips uint8 through the codec."""
    video = to_input(frames).to(device)
    error = F.mse_loss(codec.decode(codec.encode(video)).clamp(-1, 1), video)
    return float(10 * torch.log10(4 / error))
