"""Core nodes for videos: loading, taking apart, putting together and saving."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from ..files import folders, media
from .files import in_input_folder, saved_file


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
        return file is None or in_input_folder(file)

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
        encoded = media.encode_video(parts.images, parts.frame_rate)
        with folders.current().new_file(filename_prefix, ".mp4", video.get_dimensions(), grows=True) as file:
            media.write_encoded(file.path, encoded, {"prompt": prompt} if prompt else None)
        return {"ui": {"images": [saved_file(file.path)], "animated": (True,)}}
