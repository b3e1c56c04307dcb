"""The sampler's preview: sections are decoded as soon as they are finished, and shown as a growing video."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ...samplers.context.plan import Section
from ...samplers.denoising.drivers import Driver
from ...samplers.settings import SampleInputs
from ...samplers.store.folder import RecordStore
from ...video.decode import SPACE_FACTOR, Tiles, vae_decoder
from ...video.decoded import KEY, DecodedVideos, fingerprint
from ...video.growing import DecodeSettings, GrowingVideo
from ...video.kept_segments import kept_segments
from ...video.pieces import Stretch, frame_count
from ...video.segments import Encoding
from ..video.decode import FramePackDecode
from ..video.growing_files import GrowingFiles
from ..workflow.graph import WorkflowGraph


class SectionPreview:
    """Decodes and shows the videos of a run while they are sampled.

    `samples` [B, 16, T, h, w] has the size of the finished latents; its values are not read. With `keep_images` all frames
    are decoded and stay in memory for the node behind the sampler; else what was decoded in an earlier run is taken from `store`.
    """

    def __init__(
        self,
        vae: Any,
        settings: DecodeSettings,
        samples: Tensor,
        *,
        keep_images: bool = False,
        store: RecordStore | None = None,
    ) -> None:
        decode = vae_decoder(vae, settings.tiles)
        self._vae, self._settings, self._keep_images = vae, settings, keep_images
        kept = kept_segments(store, vae, settings)
        self._videos = [
            GrowingVideo(decode, torch.zeros_like(samples[:1]), settings, kept, all_frames=keep_images)
            for _ in range(samples.shape[0])
        ]
        self._length = frame_count(samples.shape[2])
        self._images: Tensor | None = None
        height, width = samples.shape[-2:]
        self._files = GrowingFiles("FramePack_preview", (SPACE_FACTOR * width, SPACE_FACTOR * height))

    def add(self, start: int, samples: Tensor) -> None:
        """Take in samples [B, 16, n, h, w] from latent frame `start` on."""
        for number, video in enumerate(self._videos):
            for stretch in video.add(start, samples[number : number + 1]):
                self._keep(number, stretch)

    def show(self, *, settled: bool = False) -> None:
        """Show what is there; `settled` leaves out the end that the next section changes, which may not be decoded yet."""
        for number, video in enumerate(self._videos):
            if segments := video.segments if settled else video.so_far():
                self._files.show(number, segments)

    def finish(self, latent: dict[str, Any]) -> dict[str, Any]:
        """Let the finished videos travel with the finished latent; give the `ui` that plays them."""
        self._files.remove_replaced()
        latent[KEY] = self._decoded(latent["samples"])
        return self._files.shown()

    def _decoded(self, samples: Tensor) -> DecodedVideos:
        """The finished videos, to travel with the finished samples."""
        images = cast(Tensor, self._images)
        each = images.shape[0] // len(self._videos)
        return DecodedVideos(
            content=fingerprint(samples),
            vae=weakref.ref(self._vae),
            settings=self._settings,
            videos=[tuple(video.segments) for video in self._videos],
            last_frames=images[each - 1 :: each],
            images=images if self._keep_images else None,
        )

    def _keep(self, number: int, stretch: Stretch) -> None:
        """Keep a stretch's frames, or its last one alone."""
        count = self._length if self._keep_images else 1
        if self._images is None:
            self._images = stretch.frames.new_empty(len(self._videos) * count, *stretch.frames.shape[1:])
        if self._keep_images:
            first = number * count + stretch.start
            self._images[first : first + stretch.frames.shape[0]] = stretch.frames
        elif stretch.start + stretch.frames.shape[0] == self._length:
            self._images[number] = stretch.frames[-1]


def preview_of_run(
    *,
    driver: Driver,
    sections: Sequence[Section],
    inputs: SampleInputs,
    vae: Any,
    decode: Mapping[str, Any],
    store: RecordStore | None = None,
) -> SectionPreview | None:
    """A preview that knows what the video begins with; None without a VAE.

    `decode` holds the inputs of the FramePack Decode behind the sampler; what is decoded is kept in `store`. Raises ValueError for a VAE that does not fit.
    """
    if vae is None:
        return None
    batch, channels, _, *size = inputs.start.shape
    samples = torch.empty(batch, channels, max(section.latents[1] for section in sections), *size)
    settings = preview_settings(decode, window=max(section.window for section in sections))
    keep_images = decode.get("output", "video") != "video"
    preview = SectionPreview(vae, settings, samples, keep_images=keep_images, store=store)
    if inputs.past_video is not None:
        preview.add(0, driver.to_vae(inputs.past_video))
    elif inputs.has_start:
        preview.add(0, driver.to_vae(inputs.start))
    return preview


def decode_behind(prompt: Mapping[str, Any] | None, node_id: str | None) -> Mapping[str, Any]:
    """The inputs of the first FramePack Decode that gets the latent of this node straight; none where there is none.

    `prompt` is the queued workflow in API format.
    """
    decode = WorkflowGraph(prompt).target(node_id, 0, frozenset({FramePackDecode.__name__}), "samples")
    inputs: Mapping[str, Any] = {} if decode is None else decode["inputs"]
    return inputs


def preview_settings(inputs: Mapping[str, Any], window: int) -> DecodeSettings:
    """How the preview is decoded: as a FramePack Decode with these inputs does, so that it need not do it again.

    What is missing or linked takes the node's defaults, window and overlap those of the sampler. Sections do not come in
    the order of the video in each layout, so the overlap is at most a window. Raises ValueError for values that have no meaning.
    """
    required = FramePackDecode.INPUT_TYPES()["required"]
    values = {name: required[name][1]["default"] for name in ("tile_size", "tile_frames", "fps", "crf")}
    values |= {"window": window, "overlap": window}
    values |= {name: inputs[name] for name in values if isinstance(inputs.get(name), int | float)}
    return DecodeSettings(
        window=values["window"],
        overlap=min(values["overlap"], values["window"]),
        tiles=Tiles(side=values["tile_size"], frames=values["tile_frames"]),
        encoding=Encoding.of(values["fps"], values["crf"]),
    )
