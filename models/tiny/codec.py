"""The embedded model's video codec: causal in time, 8x in space, 4x in time, 16 channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .config import CODEC, TinyCodecConfig

SPACE_FACTOR = 8
TIME_FACTOR = 4


def latents_of_frames(frames: int) -> int:
    """Latents that hold `frames` frames: the first frame alone, then four a latent; the rest is dropped."""
    return 1 + (frames - 1) // TIME_FACTOR


def frames_of_latents(latents: int) -> int:
    """Frames that `latents` latents decode to."""
    return TIME_FACTOR * latents - (TIME_FACTOR - 1)


def fold(x: Tensor, time: int, space: int) -> Tensor:
    """Move blocks of time x space x space positions into channels: [B,C,T,H,W] -> [B,C*t*s*s,T/t,H/s,W/s]."""
    return rearrange(x, "b c (t p) (h q) (w r) -> b (c p q r) t h w", p=time, q=space, r=space)


def unfold(x: Tensor, time: int, space: int) -> Tensor:
    """Undo `fold`: [B,C*t*s*s,T,H,W] -> [B,C,T*t,H*s,W*s]."""
    return rearrange(x, "b (c p q r) t h w -> b c (t p) (h q) (w r)", p=time, q=space, r=space)


class CausalConv(nn.Conv3d):
    """3-D convolution that sees the present and the past only; 3x3 in space, `time_kernel` in time."""

    def __init__(self, channels_in: int, channels_out: int, time_kernel: int = 1) -> None:
        super().__init__(channels_in, channels_out, (time_kernel, 3, 3), padding=(0, 1, 1))
        self.past = time_kernel - 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 0, 0, 0, self.past, 0)) if self.past else x)


class ChannelNorm(nn.Module):
    """RMS norm over the channels of each position: no statistics over time or space, so causal."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.weight


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity; the first one looks back in time."""

    def __init__(self, channels: int, time_kernel: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.conv1 = CausalConv(channels, channels, time_kernel)
        self.norm2 = ChannelNorm(channels)
        self.conv2 = CausalConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Downsample(nn.Module):
    """Halve time and space."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(channels_in * 8, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(fold(x, 2, 2))


class Upsample(nn.Module):
    """Double time and space."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(channels_in, channels_out * 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return unfold(self.project(x), 2, 2)


def _level(config: TinyCodecConfig, level: int) -> list[nn.Module]:
    width, time_kernel = config.widths[level], config.time_kernels[level]
    return [ResidualBlock(width, time_kernel) for _ in range(config.blocks[level])]


def _encoder(config: TinyCodecConfig) -> nn.Sequential:
    fine, middle, coarse = config.widths
    return nn.Sequential(
        CausalConv(12, fine), *_level(config, 0),
        Downsample(fine, middle), *_level(config, 1),
        Downsample(middle, coarse), *_level(config, 2),
        ChannelNorm(coarse), nn.SiLU(), CausalConv(coarse, config.latent_channels),
    )


def _decoder(config: TinyCodecConfig) -> nn.Sequential:
    fine, middle, coarse = config.widths
    return nn.Sequential(
        CausalConv(config.latent_channels, coarse), *_level(config, 2),
        Upsample(coarse, middle), *_level(config, 1),
        Upsample(middle, fine), *_level(config, 0),
        ChannelNorm(fine), nn.SiLU(), CausalConv(fine, 12),
    )


class TinyCodec(nn.Module):
    """Causal autoencoder: 1 + (T-1)/4 latents of 16 channels <-> T frames, deterministic in both directions.

    Buffers carry what sampling needs to know of the latents: `latent_scale`, a scalar (latents times it have
    unit variance), and `rgb_factors` [16,3] with `rgb_bias` [3], a linear preview of scaled latents in -1..1.
    """

    def __init__(self, config: TinyCodecConfig = CODEC) -> None:
        super().__init__()
        self.config = config
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)
        self.register_buffer("latent_scale", torch.tensor(config.latent_scale))
        self.register_buffer("rgb_factors", torch.zeros(config.latent_channels, 3))
        self.register_buffer("rgb_bias", torch.zeros(3))

    @property
    def past_latents(self) -> int:
        """How many earlier latents either direction can see."""
        steps_per_latent = (TIME_FACTOR, 2, 1)
        levels = zip(self.config.blocks, self.config.time_kernels, steps_per_latent)
        return math.ceil(sum(blocks * (kernel - 1) / steps for blocks, kernel, steps in levels))

    @property
    def reach_latents(self) -> int:
        """How many latents to each side, in space, either direction can see."""
        fine, middle, coarse = self.config.blocks
        return math.ceil((2 * coarse + 1) + 2 * middle / 2 + (2 * fine + 1) / 4)

    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B,3,4n+1,H,W] in -1..1 to latents [B,16,n+1,H/8,W/8]; raises as `check_frames`."""
        self.check_frames(frames)
        first = frames[:, :, :1].expand(-1, -1, TIME_FACTOR - 1, -1, -1)
        return self.encoder(fold(torch.cat([first, frames], dim=2), 1, 2))

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B,16,L,h,w] to frames [B,3,4L-3,8h,8w], about -1..1; raises as `check_latents`."""
        self.check_latents(latents)
        return unfold(self.decoder(latents), 1, 2)[:, :, TIME_FACTOR - 1:]

    def check_frames(self, frames: Tensor) -> None:
        """Raise ValueError unless frames are [B,3,4n+1,H,W] with H and W divisible by 8."""
        if frames.ndim != 5 or frames.shape[1] != 3:
            raise ValueError(f"The codec encodes frames [B,3,T,H,W], but got {list(frames.shape)}.")
        length, height, width = frames.shape[2:]
        if length % TIME_FACTOR != 1:
            kept = frames_of_latents(latents_of_frames(length))
            raise ValueError(f"The codec encodes 4n+1 frames, but got {length}: cut the video to {kept}.")
        if height % SPACE_FACTOR or width % SPACE_FACTOR:
            raise ValueError(
                f"The codec needs a width and height divisible by {SPACE_FACTOR}, but got {width}x{height}: "
                "resize or crop the images first."
            )

    def check_latents(self, latents: Tensor) -> None:
        """Raise ValueError unless latents are [B,16,L,h,w]."""
        if latents.ndim != 5 or latents.shape[1] != self.config.latent_channels:
            expected = f"[B,{self.config.latent_channels},T,H,W]"
            raise ValueError(
                f"The codec decodes latents {expected}, but got {list(latents.shape)}: "
                "use latents that were made with this model's VAE or sampler."
            )
