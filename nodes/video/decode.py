"""FramePack Decode: a node that turns latents into frames and MP4 files, section by section."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from ...samplers.context.plan import FPS, MAX_WINDOW
from ...samplers.progress import report
from ...video.decode import (
    SPACE_FACTOR,
    Tiles,
    decode_pieces,
    decode_video,
    frame_count,
    vae_decoder,
    video_latents,
)
from ...video.writing import VideoWriter, to_bytes
from .. import widgets
from ..output import OutputFile, new_output
from ..runtime import inside_comfyui
from ..types import ROOT

OUTPUTS = ("both", "images", "video")
PREVIEW_SIDE = 512


class FramePackDecode:
    DISPLAY_NAME = "FramePack Decode"
    DESCRIPTION = (
        "Decodes a video section by section as FramePack does, cross-fading where sections meet, and writes the "
        "MP4 while it goes on: the file can be watched as it grows, and its length costs no memory."
    )
    CATEGORY = f"{ROOT}/Video"
    FUNCTION = "decode"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_TOOLTIPS = ("All frames, one video after another; with output video only the last frame of each.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent of FramePack Sampler, of either layout."}),
                "vae": ("VAE", {"tooltip": "HunyuanVideo's VAE, or the one of FramePack Tiny Loader."}),
                "window": (
                    "INT",
                    {
                        **widgets.WINDOW,
                        "tooltip": "Latent frames decoded at a time; the sampler's window is FramePack's choice. Smaller takes less memory and more time, and the file grows in smaller steps.",
                    },
                ),
                "overlap": (
                    "INT",
                    {
                        "default": 9,
                        "min": 1,
                        "max": MAX_WINDOW,
                        "tooltip": "Latent frames decoded once more for the cross-fade; FramePack takes a whole window, which doubles the time. Smaller is faster, and seams may show.",
                    },
                ),
                "tile_size": (
                    "INT",
                    {
                        "default": 256,
                        "min": 0,
                        "max": 4096,
                        "step": 32,
                        "tooltip": "Side of the tiles in pixels. Smaller takes less memory and may show seams; 0 decodes whole frames.",
                    },
                ),
                "tile_frames": (
                    "INT",
                    {
                        "default": 64,
                        "min": 0,
                        "max": 4096,
                        "step": 4,
                        "tooltip": "Frames in a tile. Smaller takes less memory and may let motion stutter; 0 decodes all of a section at once.",
                    },
                ),
                "output": (
                    list(OUTPUTS),
                    {
                        "default": "both",
                        "tooltip": "video writes the MP4 and keeps no frames in memory; images writes no file; both does both.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": FPS,
                        "min": 1.0,
                        "max": 120.0,
                        "step": 0.01,
                        "tooltip": "Frames per second of the MP4. Higher plays faster; FramePack was trained at 30.",
                    },
                ),
                "crf": (
                    "INT",
                    {
                        "default": 16,
                        "min": 0,
                        "max": 51,
                        "tooltip": "Compression of the MP4. Higher gives smaller files and coarser pictures; 0 loses least.",
                    },
                ),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "video/FramePack",
                        "tooltip": "Folder and name of the MP4 below ComfyUI's output folder; a number is added.",
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def decode(
        self,
        samples: Any,
        vae: Any,
        window: int,
        overlap: int,
        tile_size: int,
        tile_frames: int,
        output: str,
        fps: float,
        crf: int,
        filename_prefix: str,
        prompt: Any = None,
        extra_pnginfo: Any = None,
    ) -> dict[str, Any]:
        latents = video_latents(samples, "samples")
        decode = vae_decoder(vae, Tiles(tile_size, tile_frames))
        pieces = decode_pieces(latents.shape[2], window, overlap)
        size = tuple(SPACE_FACTOR * side for side in reversed(latents.shape[-2:]))
        length = frame_count(latents.shape[2])
        images = _Images(latents.shape[0] * (1 if output == "video" else length))
        progress, files = _progress(latents.shape[0] * len(pieces)), []
        for video in latents.split(1):
            with ExitStack() as stack:
                writer = None
                if output != "images":
                    file = stack.enter_context(new_output(filename_prefix, ".mp4", size))
                    metadata = _metadata(prompt, extra_pnginfo)
                    writer = stack.enter_context(VideoWriter(file.path, fps, crf=crf, metadata=metadata))
                    files.append(file)
                for frames in decode_video(decode, video, pieces):
                    if writer is not None:
                        writer.write(frames)
                    if output != "video":
                        images.append(frames)
                    progress(frames[-1])
                if output == "video":
                    images.append(frames[-1:])
        return {"ui": _shown(files), "result": (images.tensor,)}


class _Images:
    """Frames gathered in memory that is taken once, as joining them in the end would take it twice."""

    def __init__(self, count: int) -> None:
        self._count, self._filled = count, 0
        self.tensor: Tensor | None = None

    def append(self, frames: Tensor) -> None:
        if self.tensor is None:
            self.tensor = frames.new_empty(self._count, *frames.shape[1:])
        stop = self._filled + frames.shape[0]
        self.tensor[self._filled : stop] = frames
        self._filled = stop


def _shown(files: list[OutputFile]) -> dict[str, Any]:
    return {"images": [file.shown() for file in files], "animated": (True,)} if files else {}


def _metadata(prompt: Any, extra_pnginfo: Any) -> dict[str, Any]:
    """The workflow, as ComfyUI's own SaveVideo keeps it, unless the host was told to keep none."""
    if inside_comfyui():
        from comfy.cli_args import args

        if args.disable_metadata:
            return {}
    return {**(extra_pnginfo or {}), **({} if prompt is None else {"prompt": prompt})}


def _progress(total: int) -> Callable[[Tensor], None]:
    """A callback for every finished section: it shows the last frame, and stops the run where the user wants that."""
    done = 0
    bar = None
    if inside_comfyui():
        import comfy.utils

        bar = comfy.utils.ProgressBar(total)

    def section_done(frame: Tensor) -> None:
        nonlocal done
        done += 1
        if bar is None:
            report(done, total)
        else:
            bar.update_absolute(done, total, ("JPEG", _picture(frame), PREVIEW_SIDE))

    return section_done


def _picture(frame: Tensor) -> Any:
    from PIL import Image

    return Image.fromarray(to_bytes(frame))
