"""Sentences about images that VAE Encode and CLIP Vision Encode do not take as one might expect."""

from __future__ import annotations

from typing import Any

from ...samplers.context.plan import FPS
from .graph import WorkflowGraph
from .images import Images, images_of

ENCODERS = frozenset({"VAEEncode", "VAEEncodeTiled"})
SAME_RATE = 0.01  # how far a rate may be from FramePack's and count as the same, as a share


def encoded_images(graph: WorkflowGraph, node: Any, name: str) -> Images | None:
    """The images that VAE Encode made a node's LATENT input of; None where it comes from another node."""
    encoder = graph.source(graph.step(node), name)
    if encoder is None or encoder.get("class_type") not in ENCODERS:
        return None
    return images_of(graph, graph.source(encoder, "pixels"))


def picture_notices(graph: WorkflowGraph, node: Any, name: str) -> list[str]:
    """A sentence where a LATENT input that should hold one picture was made of several images."""
    images = encoded_images(graph, node, name)
    notice = None if images is None or images.count is None else kept_frames(images.count)
    return [] if notice is None else [f"{name}: {notice}"]


def video_notices(graph: WorkflowGraph, node: Any, name: str) -> list[str]:
    """Sentences where a LATENT input that should hold a video lacks its last frames, or has another rate."""
    images = encoded_images(graph, node, name)
    if images is None:
        return []
    notices = [None if images.count is None else kept_frames(images.count), _rate(images)]
    return [f"{name}: {notice}" for notice in notices if notice is not None]


def crop_notices(graph: WorkflowGraph, node: Any, name: str, size: tuple[int, int]) -> list[str]:
    """A sentence where CLIP Vision Encode cuts the sides off an image that is not square.

    `size` is the height and width of the image, in any unit.
    """
    encoder = graph.source(graph.step(node), name)
    if encoder is None or encoder.get("class_type") != "CLIPVisionEncode" or size[0] == size[1]:
        return []
    if encoder["inputs"].get("crop") != "center":
        return []
    return [
        f"{name}: CLIP Vision Encode crops the image to its middle, so the model does not see its sides; set crop to none."
    ]


def kept_frames(count: int) -> str | None:
    """A sentence where VAE Encode keeps fewer than `count` images: it makes latents of 1, 5, 9 ... frames; else None."""
    kept = 1 + 4 * ((count - 1) // 4)
    if kept == count:
        return None
    if kept == 1:
        return (
            f"VAE Encode takes {count} images as the frames of one video and keeps only the first; encode them one by "
            "one, and join the latents with Latent Batch for a video of each."
        )
    return (
        f"VAE Encode keeps {kept} of {count} frames (always 4n + 1), so that the last {count - kept} are left out; take "
        f"{kept} frames with Image From Batch, and the start image from these."
    )


def _rate(images: Images) -> str | None:
    """A sentence where frames do not follow one another as FramePack's do, else None."""
    timing = images.timing
    if timing is None:
        return None
    if not timing.constant:
        return (
            f"{images.file} has a variable frame rate, {timing.fps:.4g} fps on average, but all frames are taken at "
            f"{FPS:g} fps, so that it plays unevenly; convert it to a constant {FPS:g} fps first."
        )
    if abs(timing.fps / FPS - 1) <= SAME_RATE:
        return None
    speed = FPS / timing.fps
    return (
        f"{images.file} has {timing.fps:.4g} fps, but its frames are taken at {FPS:g} fps, so that it plays "
        f"{speed:.3g} times as fast; convert it to {FPS:g} fps first."
    )
