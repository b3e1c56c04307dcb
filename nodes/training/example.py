"""FramePack Training Example: the node around training.making.adding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models.config import FramePackConfig
from ...samplers.conditioning import latent_samples, text_conditioning, vision_tokens
from ...samplers.denoising.drivers import Driver, driver_for
from ...samplers.timeline.syntaxes.spans import PromptSpan
from ...samplers.timeline.timeline import Timeline, TimelineEntry
from ...training.dataset import ALL_LAYOUTS
from ...training.files import described_shares
from ...training.making.adding import Added, Place, add_clip, add_picture
from ...training.making.labelling import Take
from ...training.musubi.texts import TextCache
from ...training.one_frame import ONE_FRAME_LAYOUTS
from .. import widgets
from ..types import ROOT, TIMELINE
from .folders import FOLDER, dataset_folder

SIDE = 16  # pixels that both sides are multiples of


class FramePackTrainingExample:
    DISPLAY_NAME = "FramePack Training Example"
    SEARCH_ALIASES = ("train", "lora", "dataset", "musubi", "musubi-tuner", "caption", "finetune")
    DESCRIPTION = (
        "Cuts a clip into training examples with a caption for every section, and writes them as musubi-tuner reads them: "
        "latents, image tokens and encoded captions."
    )
    CATEGORY = f"{ROOT}/Training"
    FUNCTION = "add"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("folder", "report")
    OUTPUT_TOOLTIPS = (
        "The folder of the examples, for FramePack Error Bank.",
        "The examples of the clip, each with its kind and caption, and what the folder comes to.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (
                    "MODEL",
                    {
                        "tooltip": "The FramePack model that the LoRA is for. Only the sizes and the scale that it expects are read; it is not run."
                    },
                ),
                "images": (
                    "IMAGE",
                    {
                        "tooltip": "The clip at 30 frames a second; both sides multiples of 16. With a one-frame layout the picture that is to be made."
                    },
                ),
                "timeline": (
                    TIMELINE,
                    {
                        "tooltip": "What the clip shows and from when on, from FramePack Prompt Timeline: the caption of each section. A wrong time teaches that prompts change nothing."
                    },
                ),
                "vae": ("VAE", {"tooltip": "Encodes the clip: HunyuanVideo's VAE."}),
                "clip_vision": (
                    "CLIP_VISION",
                    {"tooltip": "Encodes the first picture: SigLIP, from Load CLIP Vision."},
                ),
                "layout": (
                    list(ALL_LAYOUTS),
                    {
                        "default": "f1",
                        "tooltip": "The kind of model that is trained: f1 or original decide what a section remembers. one_frame, kisekaeichi and 1f_mc make one picture from controls.",
                    },
                ),
                "window": (
                    "INT",
                    {
                        **widgets.WINDOW,
                        "tooltip": "Latent frames of a section. Another value than the sampler's trains for sections of another length.",
                    },
                ),
                "folder": (
                    "STRING",
                    {
                        **FOLDER,
                        "tooltip": "The folder below ComfyUI's output folder that the examples are added to. One folder is for one layout and window.",
                    },
                ),
                "name": (
                    "STRING",
                    {
                        "default": "clip",
                        "tooltip": "What the clip's examples are called. Examples of a clip that has the name already are replaced.",
                    },
                ),
            },
            "optional": {
                "controls": (
                    "IMAGE",
                    {
                        "tooltip": "For one-frame layouts: the pictures that the other is made from, in the order of their indices, as one batch of its size."
                    },
                ),
            },
        }

    def add(
        self,
        model: Any,
        images: Tensor,
        timeline: Timeline,
        vae: Any,
        clip_vision: Any,
        layout: str,
        window: int,
        folder: str,
        name: str,
        controls: Tensor | None = None,
    ) -> tuple[str, str]:
        height, width = images.shape[1:3]
        _check_pictures(images, controls, one_frame=layout in ONE_FRAME_LAYOUTS, layout=layout)
        place = Place(root=dataset_folder(folder), layout=layout, window=window, size=(width, height))
        encoder = _Encoder(driver_for(model), vae, clip_vision)
        if layout in ONE_FRAME_LAYOUTS:
            added = _add_picture(place, name, encoder, timeline, images=images, controls=controls)
        else:
            added = _add_clip(place, name, encoder, timeline, images=images)
        return str(place.root), _report(added, place.root)


class _Encoder:
    """Turns pictures and prompts into what training reads, in the scale and sizes of a model."""

    def __init__(self, driver: Driver, vae: Any, clip_vision: Any) -> None:
        self._driver, self._vae, self._clip_vision = driver, vae, clip_vision

    @property
    def config(self) -> FramePackConfig:
        return self._driver.config

    def latents(self, images: Tensor, name: str) -> Tensor:
        """Latents [1, 16, L, H, W] of pictures [T, H, W, 3], as the frames of one video."""
        samples = latent_samples(
            {"samples": self._vae.encode(images[..., :3])}, name, self.config.in_channels
        )
        return self._driver.to_model(samples)

    def tokens(self, image: Tensor) -> Tensor:
        """Image tokens [1, N, D] of a picture [1, H, W, 3]."""
        output = self._clip_vision.encode_image(image[..., :3], crop=False)
        tokens = vision_tokens(output, "clip_vision", self.config, 1)
        if tokens is None:
            raise ValueError("clip_vision gives no image tokens; connect Load CLIP Vision with SigLIP.")
        return tokens.float()

    def text(self, entry: TimelineEntry) -> TextCache:
        """The encoded caption of a timeline's entry."""
        text = text_conditioning(entry.conditioning, f"the prompt at {entry.start:g} s", self.config, 1)
        return TextCache(caption=entry.prompt, states=text.states, pooled=text.pooled)


def _check_pictures(images: Tensor, controls: Tensor | None, *, one_frame: bool, layout: str) -> None:
    height, width = images.shape[1:3]
    if height % SIDE or width % SIDE:
        raise ValueError(
            f"images are {width}x{height}; both sides must be multiples of {SIDE}: use FramePack Resolution and Upscale Image."
        )
    if one_frame and len(images) > 1:
        raise ValueError(
            f"images holds {len(images)} frames, layout {layout} needs the one that is to be made."
        )
    if one_frame != (controls is not None):
        raise ValueError(
            f"layout {layout} needs controls, the pictures that the other is made from; connect them."
            if one_frame
            else f"controls are for one-frame layouts, but layout is {layout}; disconnect them."
        )
    if controls is not None and controls.shape[1:3] != images.shape[1:3]:
        raise ValueError(
            f"controls are {controls.shape[2]}x{controls.shape[1]}, images {width}x{height}; bring them to one size."
        )


def _add_clip(place: Place, name: str, encoder: _Encoder, timeline: Timeline, *, images: Tensor) -> Added:
    def encode(take: Take) -> tuple[Tensor, Tensor]:
        frames = images[take.first : take.first + take.frames]
        return encoder.latents(frames, "the encoded clip"), encoder.tokens(frames[:1])

    texts = {entry.prompt: encoder.text(entry) for entry in timeline.entries}
    return add_clip(place, name, _spans(timeline.entries), len(images), encode=encode, texts=texts)


def _add_picture(
    place: Place, name: str, encoder: _Encoder, timeline: Timeline, *, images: Tensor, controls: Tensor | None
) -> Added:
    others = [] if controls is None else list(torch.split(controls, 1))
    return add_picture(
        place,
        name,
        encoder.text(timeline.entries[0]),
        target=encoder.latents(images, "the encoded picture"),
        controls=[encoder.latents(other, "an encoded control") for other in others],
        image_embeds=encoder.tokens(others[0]),
    )


def _spans(entries: Sequence[TimelineEntry]) -> list[PromptSpan]:
    """The prompts of a timeline; one that repeats the prompt before it changes nothing."""
    before = [None, *(entry.prompt for entry in entries)]
    return [
        PromptSpan(entry.start, entry.prompt, sham=entry.prompt == earlier)
        for entry, earlier in zip(entries, before)
    ]


def _report(added: Added, root: Path) -> str:
    lines = [f"{example.name}: {example.kind}: {example.caption}" for example in added.examples]
    return "\n".join([*lines, *added.remarks, f"All of {root}:", *described_shares(added.dataset)])
