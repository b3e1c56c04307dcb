"""The embedded model's video codec: causal in time, 8x in space, 4x in time, 16 channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import CODEC, TinyCodecConfig

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
        # As a 2-D convolution over the stacked moments: several times faster on a CPU than conv3d.
        length = x.shape[2]
        padded = F.pad(x, (0, 0, 0, 0, self.past, 0)) if self.past else x
        moments = torch.cat([padded[:, :, first : first + length] for first in range(self.past + 1)], dim=1)
        images = moments.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        y = F.conv2d(images, self.weight.movedim(2, 1).flatten(1, 2), self.bias, padding=1)
        return rearrange(y, "(b t) c h w -> b c t h w", t=length)


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
        y: Tensor = x + self.conv2(F.silu(self.norm2(h)))
        return y


class PointLinear(nn.Linear):
    """Linear layer over the channels of each position."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Downsample(nn.Module):
    """Fold blocks of time x space x space positions into one."""

    def __init__(self, channels_in: int, channels_out: int, time: int, space: int) -> None:
        super().__init__()
        self.time, self.space = time, space
        self.project = PointLinear(channels_in * time * space**2, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(fold(x, self.time, self.space))
        return y


class Upsample(nn.Module):
    """Unfold a position into a block of time x space x space."""

    def __init__(self, channels_in: int, channels_out: int, time: int, space: int) -> None:
        super().__init__()
        self.time, self.space = time, space
        self.project = PointLinear(channels_in, channels_out * time * space**2)

    def forward(self, x: Tensor) -> Tensor:
        return unfold(self.project(x), self.time, self.space)


def _level(config: TinyCodecConfig, level: int) -> list[nn.Module]:
    width, time_kernel = config.widths[level], config.time_kernels[level]
    return [ResidualBlock(width, time_kernel) for _ in range(config.blocks[level])]


def _encoder(config: TinyCodecConfig) -> nn.Sequential:
    fine, coarse = config.widths
    return nn.Sequential(
        Downsample(3, fine, TIME_FACTOR, SPACE_FACTOR // 2),
        *_level(config, 0),
        Downsample(fine, coarse, 1, 2),
        *_level(config, 1),
        ChannelNorm(coarse),
        PointLinear(coarse, config.latent_channels),
    )


def _decoder(config: TinyCodecConfig) -> nn.Sequential:
    fine, coarse = config.widths
    return nn.Sequential(
        PointLinear(config.latent_channels, coarse),
        *_level(config, 1),
        Upsample(coarse, fine, 1, 2),
        *_level(config, 0),
        ChannelNorm(fine),
        Upsample(fine, 3, TIME_FACTOR, SPACE_FACTOR // 2),
    )


class TinyCodec(nn.Module):
    """Causal autoencoder: 1 + (T-1)/4 latents of 16 channels <-> T frames, deterministic in both directions.

    Buffers carry what sampling needs to know of the latents: `latent_scale`, a scalar (latents times it have
    unit variance), and `rgb_factors` [16,3] with `rgb_bias` [3], a linear preview of scaled latents in -1..1.
    """

    latent_scale: Tensor
    rgb_factors: Tensor
    rgb_bias: Tensor

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
        levels = zip(self.config.blocks, self.config.time_kernels)
        return sum(blocks * (kernel - 1) for blocks, kernel in levels)

    @property
    def reach_latents(self) -> int:
        """How many latents to each side, in space, either direction can see."""
        fine, coarse = self.config.blocks
        return math.ceil(2 * coarse + 2 * fine / 2)

    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames [B,3,4n+1,H,W] in -1..1 to latents [B,16,n+1,H/8,W/8]; raises as `check_frames`."""
        self.check_frames(frames)
        first = frames[:, :, :1].expand(-1, -1, TIME_FACTOR - 1, -1, -1)
        latents: Tensor = self.encoder(torch.cat([first, frames], dim=2))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B,16,L,h,w] to frames [B,3,4L-3,8h,8w], about -1..1; raises as `check_latents`."""
        self.check_latents(latents)
        frames: Tensor = self.decoder(latents)[:, :, TIME_FACTOR - 1 :]
        return frames

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
