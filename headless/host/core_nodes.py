"""The few core nodes of ComfyUI that the examples use, with ComfyUI's ids, inputs and behaviour.

They only exist outside ComfyUI. CLIP, VAE and CLIP_VISION are whatever a loader of this pack returns: the
methods called here are the ones that ComfyUI's own nodes call.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from ..files import folders, media

MAX_SIDE = 16384


def _in_input_folder(name: str) -> bool | str:
    """True, or why this file of the input folder cannot be read."""
    try:
        folders.current().input_file(name)
    except ValueError as error:
        return str(error)
    return True


class LoadImage:
    """A picture of the input folder and its transparency."""

    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": (folders.current().input_files(media.IMAGE_EXTENSIONS), {"image_upload": True})
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None) -> bool | str:
        # A linked name is None: known only when it runs.
        return image is None or _in_input_folder(image)

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        return media.load_image(folders.current().input_file(image))


class ImageFromBatch:
    """Some images of several; an index or a length beyond them stops at the last one."""

    CATEGORY = "image/batch"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "frombatch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE",),
                "batch_index": ("INT", {"default": 0, "min": 0, "max": 4095}),
                "length": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }

    def frombatch(self, image: torch.Tensor, batch_index: int, length: int) -> tuple[torch.Tensor]:
        first = min(batch_index, image.shape[0] - 1)
        return (image[first : first + length].clone(),)


class LoadVideo:
    """A video of the input folder."""

    CATEGORY = "image/video"
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "file": (folders.current().input_files(media.VIDEO_EXTENSIONS), {"video_upload": True})
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None) -> bool | str:
        # A linked name is None: known only when it runs.
        return file is None or _in_input_folder(file)

    def load(self, file: str) -> tuple[media.Video]:
        images, fps = media.read_video(folders.current().input_file(file))
        return (media.Video(images, Fraction(fps)),)


class GetVideoComponents:
    """Frames, sound and frame rate of a video; sound is left to ComfyUI."""

    CATEGORY = "image/video"
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT")
    RETURN_NAMES = ("images", "audio", "fps")
    FUNCTION = "take_apart"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"video": ("VIDEO",)}}

    def take_apart(self, video: Any) -> tuple[torch.Tensor, Any, float]:
        parts = video.get_components()
        return parts.images, parts.audio, float(parts.frame_rate)


class CLIPTextEncode:
    """A prompt as conditioning."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"text": ("STRING", {"multiline": True, "dynamicPrompts": True}), "clip": ("CLIP",)}
        }

    def encode(self, text: str, clip: Any) -> tuple[list]:
        return (clip.encode_from_tokens_scheduled(clip.tokenize(text)),)


class ConditioningZeroOut:
    """Conditioning of the same shape that says nothing."""

    CATEGORY = "advanced/conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "zero_out"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def zero_out(self, conditioning: list) -> tuple[list]:
        return ([[torch.zeros_like(text), self._zeroed(extras)] for text, extras in conditioning],)

    @staticmethod
    def _zeroed(extras: dict[str, Any]) -> dict[str, Any]:
        pooled = extras.get("pooled_output")
        return dict(extras) if pooled is None else {**extras, "pooled_output": torch.zeros_like(pooled)}


class VAEEncode:
    """Images as a latent."""

    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"pixels": ("IMAGE",), "vae": ("VAE",)}}

    def encode(self, pixels: torch.Tensor, vae: Any) -> tuple[dict[str, torch.Tensor]]:
        return ({"samples": vae.encode(pixels[..., :3])},)


def _one_batch(images: torch.Tensor) -> torch.Tensor:
    """[B,T,H,W,C] of a video VAE as [B*T,H,W,C]."""
    return images.flatten(0, 1) if images.ndim == 5 else images


class VAEDecode:
    """A latent as images, the frames of all videos one after another."""

    CATEGORY = "latent"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

    def decode(self, samples: dict[str, torch.Tensor], vae: Any) -> tuple[torch.Tensor]:
        return (_one_batch(vae.decode(samples["samples"])),)


class VAEDecodeTiled:
    """VAEDecode in overlapping tiles; sizes are in pixels and frames."""

    CATEGORY = "_for_testing"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT",),
                "vae": ("VAE",),
                "tile_size": ("INT", {"default": 512, "min": 64, "max": 4096, "step": 32}),
                "overlap": ("INT", {"default": 64, "min": 0, "max": 4096, "step": 32}),
                "temporal_size": ("INT", {"default": 64, "min": 8, "max": 4096, "step": 4}),
                "temporal_overlap": ("INT", {"default": 8, "min": 4, "max": 4096, "step": 4}),
            }
        }

    def decode(
        self,
        samples: dict[str, torch.Tensor],
        vae: Any,
        tile_size: int,
        overlap: int = 64,
        temporal_size: int = 64,
        temporal_overlap: int = 8,
    ) -> tuple[torch.Tensor]:
        pixels = vae.spacial_compression_decode()
        side = tile_size // pixels
        times = self._times(vae.temporal_compression_decode(), temporal_size, temporal_overlap)
        images = vae.decode_tiled(
            samples["samples"],
            tile_x=side,
            tile_y=side,
            overlap=min(overlap, tile_size // 4) // pixels,
            **times,
        )
        return (_one_batch(images),)

    @staticmethod
    def _times(frames: int | None, size: int, overlap: int) -> dict[str, int | None]:
        """Temporal tile and overlap in latent frames; `frames` is how many frames one of them stands for."""
        if frames is None:
            return {"tile_t": None, "overlap_t": None}
        if size < 2 * overlap:
            overlap //= 2
        tile = max(2, size // frames)
        return {"tile_t": tile, "overlap_t": max(1, min(tile // 2, overlap // frames))}


class CLIPVisionEncode:
    """What a vision model sees in an image."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"clip_vision": ("CLIP_VISION",), "image": ("IMAGE",), "crop": (["center", "none"],)}
        }

    def encode(self, clip_vision: Any, image: torch.Tensor, crop: str) -> tuple[Any]:
        return (clip_vision.encode_image(image, crop=crop == "center"),)


class EmptyHunyuanLatentVideo:
    """A latent of zeros for a video of this size and length in frames."""

    CATEGORY = "latent/video"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "width": ("INT", {"default": 848, "min": 16, "max": MAX_SIDE, "step": 16}),
                "height": ("INT", {"default": 480, "min": 16, "max": MAX_SIDE, "step": 16}),
                "length": ("INT", {"default": 25, "min": 1, "max": MAX_SIDE, "step": 4}),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }

    def generate(
        self, width: int, height: int, length: int, batch_size: int = 1
    ) -> tuple[dict[str, torch.Tensor]]:
        return ({"samples": torch.zeros(batch_size, 16, (length - 1) // 4 + 1, height // 8, width // 8)},)


class CreateVideo:
    """Images at a frame rate; sound is left to ComfyUI."""

    CATEGORY = "image/video"
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "create"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE",),
                "fps": ("FLOAT", {"default": 30.0, "min": 1.0, "max": 120.0, "step": 1.0}),
            },
            "optional": {"audio": ("AUDIO",)},
        }

    def create(self, images: torch.Tensor, fps: float, audio: Any = None) -> tuple[media.Video]:
        if audio is not None:
            raise ValueError(
                "sound cannot be added outside ComfyUI; remove the link to audio or use --server"
            )
        return (media.Video(images, Fraction(fps)),)


def _saved(path: Path, kind: str = "output") -> dict[str, str]:
    """How ComfyUI names a file that a node has written."""
    folder = path.parent.relative_to(folders.current().output.resolve())
    return {"filename": path.name, "subfolder": "" if folder == Path() else folder.as_posix(), "type": kind}


class SaveVideo:
    """An MP4 file in the output folder."""

    CATEGORY = "image/video"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "video": ("VIDEO",),
                "filename_prefix": ("STRING", {"default": "video/ComfyUI"}),
                "format": (["auto", "mp4"], {"default": "auto"}),
                "codec": (["auto", "h264"], {"default": "auto"}),
            },
            "hidden": {"prompt": "PROMPT"},
        }

    def save(
        self, video: Any, filename_prefix: str, format: str, codec: str, prompt: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        parts = video.get_components()
        with folders.current().new_file(filename_prefix, ".mp4", video.get_dimensions()) as file:
            media.write_video(
                file.unfinished, parts.images, parts.frame_rate, {"prompt": prompt} if prompt else None
            )
        return {"ui": {"images": [_saved(file.path)], "animated": (True,)}}


class SaveImage:
    """PNG files in the output folder."""

    CATEGORY = "image"
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    KIND = "output"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT"},
        }

    def save_images(
        self, images: torch.Tensor, filename_prefix: str = "ComfyUI", prompt: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        size = (images.shape[2], images.shape[1])
        saved = []
        for number, image in enumerate(images):
            prefix = filename_prefix.replace("%batch_num%", str(number))
            with folders.current().new_file(prefix, ".png", size) as file:
                media.save_png(file.unfinished, image, {"prompt": prompt} if prompt else None)
            saved.append(_saved(file.path, self.KIND))
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    """PNG files in the folder `previews` of the output folder."""

    KIND = "temp"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT"}}

    def save_images(self, images: torch.Tensor, prompt: dict[str, Any] | None = None) -> dict[str, Any]:
        return super().save_images(images, f"{folders.PREVIEWS}/ComfyUI", prompt)


class PreviewAny:
    """Any value as text."""

    CATEGORY = "utils"
    RETURN_TYPES = ()
    FUNCTION = "main"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"source": ("*", {})}}

    def main(self, source: Any = None) -> dict[str, Any]:
        return {"ui": {"text": (_as_text(source),)}}


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        return str(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    node.__name__: node
    for node in (
        LoadImage,
        ImageFromBatch,
        LoadVideo,
        GetVideoComponents,
        CLIPTextEncode,
        ConditioningZeroOut,
        VAEEncode,
        VAEDecode,
        VAEDecodeTiled,
        CLIPVisionEncode,
        EmptyHunyuanLatentVideo,
        CreateVideo,
        SaveVideo,
        SaveImage,
        PreviewImage,
        PreviewAny,
    )
}
