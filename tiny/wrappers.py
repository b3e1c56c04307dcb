"""The embedded model as CLIP, VAE and CLIP_VISION: what core nodes call, without the host.

All of them compute where their weights are, on a CPU with one thread, and give float32 tensors on the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .networks import tiling
from .networks.codec import SPACE_FACTOR, TIME_FACTOR, TinyCodec, frames_of_latents, latents_of_frames
from .networks.text import TinyText, token_ids
from .networks.vision import TinyVisionTower, prepare_images
from .threads import one_thread
from .vocabulary import warn_of_unknown_words

logger = logging.getLogger(__name__)

TOKENS_KEY = "tiny"


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _returned(x: Tensor) -> Tensor:
    return x.detach().to("cpu", torch.float32)


def _rgb(images: Tensor, owner: str) -> Tensor:
    """Check images [...,H,W,3 or 4] and drop the alpha channel."""
    if images.ndim < 4 or images.shape[-1] not in (3, 4) or not images.numel():
        raise ValueError(
            f"{owner} takes at least one image [T,H,W,3], with or without a fourth channel for alpha, "
            f"but got {list(images.shape)}: convert them to RGB."
        )
    return images[..., :3]


class TinyClip:
    """The text encoder as ComfyUI's CLIP."""

    def __init__(self, encoder: TinyText) -> None:
        self.encoder = encoder

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the tiny text encoder has no {name}: it takes no LoRA, hooks or layer choice; use Load LoRA (Model Only) "
            "(LoraLoaderModelOnly), or wire CLIP past the node that changes it."
        )

    def clone(self, **options: Any) -> TinyClip:
        """Give another handle on the same weights; `options` are what hosts say of their own memory."""
        return TinyClip(self.encoder)

    def tokenize(self, text: str, return_word_ids: bool = False, **options: Any) -> dict[str, list[int]]:
        """Turn text into token ids, at most 77; emphasis such as (word:1.2) is read as plain text.

        Words that the model has not learned are named in a warning.
        """
        warn_of_unknown_words(text)
        return {TOKENS_KEY: token_ids(text, self.encoder.config.max_tokens)}

    @torch.no_grad()
    @one_thread()
    def encode_from_tokens(
        self, tokens: Mapping[str, list[int]], return_pooled: bool = False, return_dict: bool = False
    ) -> Any:
        """Encode tokens to states [1,L,128], with the pooled vector [1,128] beside it or all in a dict."""
        ids = torch.tensor([tokens[TOKENS_KEY]], device=_device(self.encoder))
        cond, pooled = (_returned(x) for x in self.encoder(ids))
        if return_dict:
            mask = torch.ones(ids.shape, dtype=torch.long)
            return {"cond": cond, "pooled_output": pooled, "attention_mask": mask}
        return (cond, pooled) if return_pooled else cond

    def encode_from_tokens_scheduled(
        self,
        tokens: Mapping[str, list[int]],
        unprojected: bool = False,
        add_dict: Mapping[str, Any] | None = None,
        show_pbar: bool = True,
    ) -> list[list[Any]]:
        """Encode tokens to a CONDITIONING: [[states, {"pooled_output", "attention_mask", **add_dict}]]."""
        extras = self.encode_from_tokens(tokens, return_dict=True)
        return [[extras.pop("cond"), {**extras, **(add_dict or {})}]]

    def encode(self, text: str) -> Tensor:
        """Encode text to states [1,L,128]."""
        states: Tensor = self.encode_from_tokens(self.tokenize(text))
        return states


class TinyVAE:
    """The codec as ComfyUI's VAE: a batch of images is one video, latents are [B,16,T,H,W] and unscaled."""

    def __init__(self, codec: TinyCodec) -> None:
        self.codec = codec

    @torch.no_grad()
    @one_thread()
    def encode(self, pixels: Tensor) -> Tensor:
        """Encode pixels [T,H,W,3] (one video) or [B,T,H,W,3] in 0..1 to latents [B,16,1+(T-1)//4,H/8,W/8].

        Frames beyond the last full latent are dropped with a warning. Raises ValueError when the channels or
        the size do not fit.
        """
        return _returned(self.codec.encode(self._to_frames(pixels)))

    @torch.no_grad()
    @one_thread()
    def encode_tiled(
        self,
        pixels: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """Encode as `encode` does, in tiles of so many pixels and frames.

        Tiles are read with all that the codec sees around them, so the result is that of `encode` and the
        overlaps have no effect.
        """
        factors = (TIME_FACTOR, SPACE_FACTOR, SPACE_FACTOR)
        time, height, width = (
            size and size // factor for size, factor in zip((tile_t, tile_y, tile_x), factors)
        )
        return _returned(tiling.encode_tiled(self.codec, self._to_frames(pixels), (time, height, width)))

    @torch.no_grad()
    @one_thread()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B,16,L,h,w] to images [B,4L-3,8h,8w,3] in 0..1."""
        return self._to_pixels(self.codec.decode(self._to_device(latents)))

    @torch.no_grad()
    @one_thread()
    def decode_tiled(
        self,
        latents: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """Decode as `decode` does, in tiles of so many latents; the overlaps have no effect, as above."""
        tile = (tile_t, tile_y, tile_x)
        return self._to_pixels(tiling.decode_tiled(self.codec, self._to_device(latents), tile))

    def spacial_compression_encode(self) -> int:
        """Pixels a latent covers along a side."""
        return SPACE_FACTOR

    def spacial_compression_decode(self) -> int:
        """Pixels a latent covers along a side."""
        return SPACE_FACTOR

    def temporal_compression_decode(self) -> int:
        """Frames a latent holds, but for the first."""
        return TIME_FACTOR

    def _to_frames(self, pixels: Tensor) -> Tensor:
        pixels = _rgb(pixels, "The embedded VAE")
        video = pixels if pixels.ndim == 5 else pixels[None]
        kept = frames_of_latents(latents_of_frames(video.shape[1]))
        if kept != video.shape[1]:
            logger.warning(
                "The VAE encodes 4n+1 frames: the last %d of %d are dropped.",
                video.shape[1] - kept,
                video.shape[1],
            )
        return self._to_device(video[:, :kept].movedim(-1, 1)) * 2 - 1

    def _to_device(self, x: Tensor) -> Tensor:
        return x.to(_device(self.codec), torch.float32)

    def _to_pixels(self, frames: Tensor) -> Tensor:
        return ((_returned(frames) + 1) / 2).clamp(0, 1).movedim(1, -1)


@dataclass
class VisionOutput:
    """What CLIPVisionEncode gives; its fields are attributes and items, as in ComfyUI."""

    last_hidden_state: Tensor
    penultimate_hidden_states: Tensor
    image_embeds: Tensor
    mm_projected: None = None

    def __getitem__(self, name: str) -> Tensor | None:
        value: Tensor | None = getattr(self, name)
        return value


class TinyVision:
    """The vision tower as ComfyUI's CLIP_VISION."""

    def __init__(self, tower: TinyVisionTower) -> None:
        self.tower = tower

    @torch.no_grad()
    @one_thread()
    def encode_image(self, image: Tensor, crop: bool = True) -> VisionOutput:
        """Encode images [B,H,W,3] in 0..1 to 16 tokens each; `crop` keeps the centre square only.

        Raises ValueError when the images are not RGB.
        """
        images = _rgb(image, "The embedded vision tower").to(_device(self.tower), torch.float32)
        tokens, penultimate, pooled = self.tower(prepare_images(images, self.tower.config.size, crop))
        return VisionOutput(_returned(tokens), _returned(penultimate), _returned(pooled))
