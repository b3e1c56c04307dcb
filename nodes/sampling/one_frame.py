"""FramePack One Frame Sampler: the node around samplers.denoising.one_frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...models.files.one_frame import ATTACHMENT
from ...samplers.conditioning import Prompt, latent_samples, text_conditioning, vision_tokens
from ...samplers.context.one_frame import (
    FROM_LORA,
    MAX_CONTROLS,
    MAX_ROPE_BATCH,
    PRESETS,
    make_layout,
)
from ...samplers.denoising.drivers import driver_for
from ...samplers.denoising.one_frame import sample_one_frame
from ...samplers.guidance import Guidance
from ...samplers.settings import SampleInputs, SampleSettings
from .. import widgets
from ..notices import announce, with_notices
from ..types import ROOT, TRACE
from .inputs import masked_control
from .notices import wiring_notices
from .sampler_inputs import CFG, GUIDANCE_RESCALE, NEGATIVE, SAMPLER, SOLVER

REFERENCES = MAX_CONTROLS - 1


@widgets.advanced_widgets("no_post", "no_2x", "no_4x", "solver")
class FramePackOneFrameSampler:
    DISPLAY_NAME = "FramePack One Frame Sampler"
    SEARCH_ALIASES = ("single frame", "kisekaeichi", "1f-mc", "edit image", "outfit change", "hunyuan")
    DESCRIPTION = (
        "Generates one image with FramePack from a start image and up to eight references: editing, changing "
        "clothes, placing a character. Usually together with a LoRA that names its indices."
    )
    CATEGORY = f"{ROOT}/Sampling"
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT", TRACE)
    RETURN_NAMES = ("latent", "trace")
    OUTPUT_TOOLTIPS = (
        "One latent frame for each image, for VAE Decode.",
        "A record of indices, sigmas and guidance.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        references = {}
        for number in range(1, REFERENCES + 1):
            references[f"reference_{number}"] = (
                "LATENT",
                {"tooltip": f"Reference image {number} through VAE Encode, of the start image's size."},
            )
            references[f"mask_{number}"] = (
                "MASK",
                {
                    "tooltip": f"What of reference {number} is seen: white keeps, black drops. A mask from an alpha channel needs Invert Mask first."
                },
            )
        return {
            "required": {
                "model": (
                    "MODEL",
                    {
                        "tooltip": "A FramePack model (original files are usual here), with LoRA and technique nodes before it."
                    },
                ),
                "positive": ("CONDITIONING", {"tooltip": "What the image should show."}),
                "negative": NEGATIVE,
                "start_latent": (
                    "LATENT",
                    {"tooltip": "The image to change, through VAE Encode; the result has its size."},
                ),
                "preset": (
                    [*PRESETS, FROM_LORA],
                    {
                        "default": "basic",
                        "tooltip": "Where images and target lie on the model's time axis: the convention of the LoRA or pack you follow. from_lora takes the indices that a LoRA's file states.",
                    },
                ),
                "window": (
                    "INT",
                    {
                        **widgets.WINDOW,
                        "tooltip": "The window that the preset counts from; another value moves target and history.",
                    },
                ),
                "target_index": (
                    "INT",
                    {
                        "default": -1,
                        "min": -1,
                        "max": 1000,
                        "tooltip": "The frame that is generated; further away changes more. -1 is the preset's, LoRAs name their own.",
                    },
                ),
                "control_index": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Frames of start and references in order, such as 0;10, replacing the preset's from the left.",
                    },
                ),
                "no_post": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Leave out the empty frame after the images."},
                ),
                "no_2x": ("BOOLEAN", {"default": False, "tooltip": "Leave out the empty 2x history."}),
                "no_4x": ("BOOLEAN", {"default": False, "tooltip": "Leave out the empty 4x history."}),
                "rope_batch": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": MAX_ROPE_BATCH,
                        "tooltip": "How many images to make, the window growing by one for each, to find the index that suits.",
                    },
                ),
                "steps": (
                    "INT",
                    {**widgets.STEPS, "tooltip": "Denoising steps. Fewer are faster and rougher."},
                ),
                "distilled_guidance": (
                    "FLOAT",
                    {
                        **widgets.DISTILLED_GUIDANCE,
                        "tooltip": "Guidance built into the model, at no cost. Higher follows the prompt more closely.",
                    },
                ),
                "cfg": CFG,
                "guidance_rescale": GUIDANCE_RESCALE,
                "shift": (
                    "FLOAT",
                    {
                        **widgets.SHIFT,
                        "tooltip": "Higher spends more steps on composition, lower on detail; 0 is upstream's automatic value.",
                    },
                ),
                "solver": SOLVER,
                "upstream_rounding": (
                    "BOOLEAN",
                    {
                        **widgets.UPSTREAM_ROUNDING,
                        "tooltip": "Round timestep and guidance to bfloat16 as upstream FramePack does.",
                    },
                ),
                "seed": (
                    "INT",
                    {**widgets.SEED, "tooltip": "The noise, the same for every image of a rope batch."},
                ),
            },
            "optional": {
                "clip_vision_output": (
                    "CLIP_VISION_OUTPUT",
                    {
                        "tooltip": "An image through CLIP Vision Encode (SigLIP, crop none): the start image, or the first reference with PlusOne's presets."
                    },
                ),
                "start_mask": (
                    "MASK",
                    {"tooltip": "What of the start image is seen: white keeps, black drops."},
                ),
                **references,
                "sampler": SAMPLER,
                "sigmas": (
                    "SIGMAS",
                    {
                        "tooltip": "A schedule from 1 to 0 instead of steps and shift. Techniques still place their windows by shift."
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "unique_id": "UNIQUE_ID"},
        }

    def sample(
        self,
        model: Any,
        positive: Any,
        negative: Any,
        start_latent: Any,
        preset: str,
        window: int,
        target_index: int,
        control_index: str,
        no_post: bool,
        no_2x: bool,
        no_4x: bool,
        rope_batch: int,
        steps: int,
        distilled_guidance: float,
        cfg: float,
        guidance_rescale: float,
        shift: float,
        solver: str,
        upstream_rounding: bool,
        seed: int,
        clip_vision_output: Any = None,
        start_mask: Any = None,
        sampler: Any = None,
        sigmas: Any = None,
        prompt: Any = None,
        unique_id: Any = None,
        **references: Any,
    ) -> Any:
        settings = SampleSettings(
            layout="one_frame",
            window=window,
            steps=steps,
            shift=shift,
            seed=seed,
            upstream_rounding=upstream_rounding,
            guidance=Guidance(distilled=distilled_guidance, cfg=cfg, rescale=guidance_rescale),
        )
        driver, images = (
            driver_for(model),
            {"start_latent": (start_latent, start_mask), **_connected(references)},
        )
        layouts = [
            make_layout(
                preset,
                size,
                len(images),
                target=None if target_index < 0 else target_index,
                control_index=control_index,
                no_post=no_post,
                no_2x=no_2x,
                no_4x=no_4x,
                trained=driver.attachments.get(ATTACHMENT),
            )
            for size in range(window, window + rope_batch)
        ]
        start, config = latent_samples(start_latent, "start_latent", driver.config.in_channels), driver.config
        controls = [
            driver.to_model(masked_control(latent, mask, name, start))
            for name, (latent, mask) in images.items()
        ]
        connected = [name for name in images if name != "start_latent"]
        notices = [*driver.notices(), *wiring_notices(prompt, unique_id, start, connected)]
        announce(notices)
        latents, trace = sample_one_frame(
            driver=driver,
            layouts=layouts,
            controls=controls,
            prompt=Prompt(
                start=0.0,
                text="",
                conditioning=text_conditioning(positive, "positive", config, len(start)),
                change=0.0,
            ),
            inputs=SampleInputs(
                start=controls[0],
                has_start=True,
                negative=text_conditioning(negative, "negative", config, len(start)),
                image_embeds=vision_tokens(clip_vision_output, "clip_vision_output", config, len(start)),
            ),
            settings=settings,
            solver=solver if sampler is None else sampler,
            sigmas=sigmas,
        )
        result = {"samples": driver.to_vae(latents)}, {**trace, "notices": notices}
        return with_notices(result, notices)


def _connected(references: Mapping[str, Any]) -> dict[str, tuple[Any, Tensor | None]]:
    """The latent and mask of every reference that is connected, by the input's name in rising order."""
    return {
        f"reference_{number}": (references[f"reference_{number}"], references.get(f"mask_{number}"))
        for number in range(1, REFERENCES + 1)
        if references.get(f"reference_{number}") is not None
    }
