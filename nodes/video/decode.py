"""FramePack Decode: a node that turns latents into frames and MP4 files, section by section."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...samplers.context.plan import FPS, MAX_WINDOW
from ...video.decode import Decode, Tiles, decode_video, vae_decoder, video_latents
from ...video.decoded import KEY, DecodedVideos
from ...video.growing import DecodeSettings, GrowingVideo
from ...video.kept_segments import kept_segments
from ...video.pieces import Piece, decode_pieces, frame_count
from ...video.segments import Encoding
from .. import widgets
from ..comfyui import inside_comfyui
from ..kept_records import REUSE, kept_records
from ..types import ROOT
from ..widgets import advanced_widgets
from .progress import section_progress
from .video_files import VideoFiles

logger = logging.getLogger(__name__)

OUTPUTS = ("both", "images", "video")


@advanced_widgets("window", "overlap", "tile_size", "tile_frames", "crf")
class FramePackDecode:
    DISPLAY_NAME = "FramePack Decode"
    SEARCH_ALIASES = ("vae decode", "save video", "mp4", "decode long video", "tiled decode", "video preview")
    DESCRIPTION = (
        "Decodes a video section by section as FramePack does, cross-fading where sections meet, and writes the "
        "MP4 while it goes on: the node plays it as it grows, and its length costs no memory."
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
                        "tooltip": "video writes the MP4, keeps no frames in memory and takes what an earlier run has decoded; images writes no file and decodes all frames; both does both.",
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
        settings = DecodeSettings(
            window=window,
            overlap=overlap,
            tiles=Tiles(side=tile_size, frames=tile_frames),
            encoding=Encoding.of(fps, crf),
        )
        pieces = decode_pieces(latents.shape[2], window, overlap)
        decode = vae_decoder(vae, settings.tiles)
        files = VideoFiles(
            prefix=filename_prefix,
            latents=latents,
            encoding=settings.encoding,
            metadata=_metadata(prompt, extra_pnginfo),
        )
        decoded = _decoded_before(samples, vae, settings, images=output != "video")
        if decoded is not None:
            return _written(decoded, files, output)
        if output == "images":
            return {"ui": {}, "result": (_decoded_images(decode, latents, pieces),)}
        with kept_records(samples.get(REUSE, False)) as store:
            kept, all_frames = kept_segments(store, vae, settings), output == "both"
            new = partial(GrowingVideo, decode, settings=settings, kept=kept, all_frames=all_frames)
            images = _decoded_videos(new, latents, pieces, files=files, all_frames=all_frames)
        return {"ui": files.shown(), "result": (images,)}


def _decoded_images(decode: Decode, latents: Tensor, pieces: list[Piece]) -> Tensor:
    """All frames of all videos."""
    batch = latents.shape[0]
    images = _Images(batch * frame_count(latents.shape[2]))
    section_done = section_progress(batch * len(pieces))
    for index in range(batch):
        for frames in decode_video(decode, latents[index : index + 1], pieces):
            images.append(frames)
            section_done(frames[-1])
    return images.whole


def _decoded_videos(
    new: Callable[[Tensor], GrowingVideo],
    latents: Tensor,
    pieces: list[Piece],
    *,
    files: VideoFiles,
    all_frames: bool,
) -> Tensor:
    """All frames of all videos, or the last one of each; the videos are written to files. `new` begins a video."""
    batch = latents.shape[0]
    images = _Images(batch * (frame_count(latents.shape[2]) if all_frames else 1))
    section_done = section_progress(batch * len(pieces))
    for index in range(batch):
        with files.new_video(index) as video:
            for settled in video.grow(new(latents[index : index + 1]), pieces):
                for stretch in settled if all_frames else ():
                    images.append(stretch.frames)
                section_done(None)
            if not all_frames:
                images.append(settled[-1].frames[-1:])
    return images.whole


def _decoded_before(
    samples: Any, vae: Any, settings: DecodeSettings, *, images: bool
) -> DecodedVideos | None:
    """What the sampler has decoded of this LATENT, if that serves here."""
    decoded = samples.get(KEY)
    if not isinstance(decoded, DecodedVideos):
        return None
    difference = decoded.difference(samples["samples"], vae, settings, images=images)
    if difference is None:
        return decoded
    logger.info("Decoding the video again: the sampler's preview was made with %s.", difference)
    return None


def _written(decoded: DecodedVideos, files: VideoFiles, output: str) -> dict[str, Any]:
    """The node's result from videos that are decoded already."""
    if output != "images":
        for index, segments in enumerate(decoded.videos):
            with files.new_video(index) as video:
                for segment in segments:
                    video.append(segment)
    return {
        "ui": files.shown(),
        "result": (decoded.last_frames if output == "video" else decoded.images,),
    }


class _Images:
    """Frames in memory that is taken once: joining them in the end would take it twice."""

    def __init__(self, count: int) -> None:
        self._count, self._filled = count, 0
        self.whole = torch.empty(0)

    def append(self, frames: Tensor) -> None:
        if not self._filled:
            self.whole = frames.new_empty(self._count, *frames.shape[1:])
        stop = self._filled + frames.shape[0]
        self.whole[self._filled : stop] = frames
        self._filled = stop


def _metadata(prompt: Any, extra_pnginfo: Any) -> dict[str, Any]:
    """The workflow, as ComfyUI's own SaveVideo keeps it, unless ComfyUI was started with --disable-metadata."""
    if inside_comfyui():
        from comfy.cli_args import args

        if args.disable_metadata:
            return {}
    return {**(extra_pnginfo or {}), **({} if prompt is None else {"prompt": prompt})}
