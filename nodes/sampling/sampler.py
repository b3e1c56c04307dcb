"""FramePack Sampler: the node around samplers.denoising.sections."""

from __future__ import annotations

from typing import Any

from ...samplers.context.plan import LAYOUTS, plan_sections
from ...samplers.denoising.drivers import driver_for
from ...samplers.denoising.sections import sample_sections
from ...samplers.denoising.solvers import SOLVERS
from ...samplers.guidance import Guidance
from ...samplers.settings import EMBED_INTERPOLATIONS, SampleSettings
from ...samplers.timeline.assignment import assign_prompts
from .. import widgets
from ..notices import with_notices
from ..types import ROOT, TIMELINE, TRACE
from .inputs import count_sections, sample_inputs, sample_prompts
from .notices import logged_notices
from .run_progress import RunProgress
from .section_preview import decode_behind, preview_of_run


@widgets.advanced_widgets("solver", "embed_interpolation", "start_embed_strength", "measure_memory")
class FramePackTransitionsSampler:
    DISPLAY_NAME = "FramePack Sampler"
    SEARCH_ALIASES = ("hunyuan video", "long video", "image to video", "i2v", "extend video", "transition")
    DESCRIPTION = (
        "Generates a long video section by section with FramePack, each section from a packed memory of the "
        "ones before it. Takes a MODEL of FramePack Model Loader or FramePack Tiny Loader."
    )
    CATEGORY = f"{ROOT}/Sampling"
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT", TRACE)
    RETURN_NAMES = ("latent", "trace")
    OUTPUT_TOOLTIPS = (
        "All latent frames of the video, for VAE Decode (Tiled).",
        "A record of every section (frame indices, sigmas, guidance, prompt, time) for evaluators and plots.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (
                    "MODEL",
                    {
                        "tooltip": "A FramePack model, with the technique nodes you want between loader and sampler."
                    },
                ),
                "positive": (
                    "CONDITIONING",
                    {"tooltip": "The prompt; with a timeline, the prompt until its first entry."},
                ),
                "negative": ("CONDITIONING", {"tooltip": "What to avoid; only read when cfg is not 1."}),
                "start_latent": (
                    "LATENT",
                    {
                        "tooltip": "The start image through VAE Encode. An empty latent means text to video; its size is then the video's size."
                    },
                ),
                "layout": (
                    list(LAYOUTS),
                    {
                        "default": "f1",
                        "tooltip": "f1 generates forward (FramePack F1 files); original generates backwards from the end (FramePackI2V files). It must match the model file.",
                    },
                ),
                "seconds": (
                    "FLOAT",
                    {
                        **widgets.SECONDS,
                        "tooltip": "Length of the video at 30 frames per second, rounded to whole sections. More seconds mean more sections, not more GPU memory.",
                    },
                ),
                "latent_frames": (
                    "INT",
                    {
                        **widgets.LATENT_FRAMES,
                        "tooltip": "Length in generated latent frames (4 video frames each), rounded up to whole sections; 0 uses seconds.",
                    },
                ),
                "window": (
                    "INT",
                    {
                        **widgets.WINDOW,
                        "tooltip": "Latent frames per section. FramePack was trained with 9; smaller windows react to prompts sooner but drift more.",
                    },
                ),
                "steps": (
                    "INT",
                    {
                        **widgets.STEPS,
                        "tooltip": "Denoising steps per section. Fewer are faster and rougher.",
                    },
                ),
                "distilled_guidance": (
                    "FLOAT",
                    {
                        **widgets.DISTILLED_GUIDANCE,
                        "tooltip": "Guidance built into the model, at no cost. Higher follows the prompt more closely, lower gives softer motion.",
                    },
                ),
                "cfg": (
                    "FLOAT",
                    {
                        **widgets.CFG,
                        "tooltip": "Real classifier-free guidance. Anything but 1 uses the negative prompt and doubles the time.",
                    },
                ),
                "guidance_rescale": (
                    "FLOAT",
                    {
                        **widgets.GUIDANCE_RESCALE,
                        "tooltip": "Pulls the contrast back to normal when cfg is high; 0 is off.",
                    },
                ),
                "shift": (
                    "FLOAT",
                    {
                        **widgets.SHIFT,
                        "tooltip": "Higher spends more steps on composition, lower on detail; 0 is upstream's automatic value (7 at usual sizes).",
                    },
                ),
                "solver": (
                    list(SOLVERS),
                    {
                        "default": "unipc_bh1",
                        "tooltip": "unipc_bh1 is upstream's; euler is the simplest. A connected SAMPLER replaces it.",
                    },
                ),
                "denoise": (
                    "FLOAT",
                    {
                        **widgets.DENOISE,
                        "tooltip": "Strength against initial_latent: lower keeps more of it. Must be 1 without one.",
                    },
                ),
                "upstream_rounding": (
                    "BOOLEAN",
                    {
                        **widgets.UPSTREAM_ROUNDING,
                        "tooltip": "Round timestep and guidance to bfloat16 as upstream FramePack does, to reproduce its videos more closely.",
                    },
                ),
                "seed": (
                    "INT",
                    {
                        **widgets.SEED,
                        "tooltip": "The noise of all sections. The same seed and settings give the same video.",
                    },
                ),
            },
            "optional": {
                "clip_vision_output": (
                    "CLIP_VISION_OUTPUT",
                    {"tooltip": "The start image through CLIP Vision Encode (SigLIP, crop none)."},
                ),
                "end_latent": (
                    "LATENT",
                    {
                        "tooltip": "An image the video should end on, through VAE Encode. Only for layout original."
                    },
                ),
                "end_clip_vision_output": (
                    "CLIP_VISION_OUTPUT",
                    {
                        "tooltip": "The end image through CLIP Vision Encode; sections move from the start image's tokens to these."
                    },
                ),
                "initial_latent": (
                    "LATENT",
                    {
                        "tooltip": "A video to start from (video to video), aligned with the result; needs denoise below 1, or sigmas that start below 1."
                    },
                ),
                "sampler": (
                    "SAMPLER",
                    {"tooltip": "Any sampler of ComfyUI instead of solver; CFG++ samplers are refused."},
                ),
                "sigmas": (
                    "SIGMAS",
                    {
                        "tooltip": "A schedule down to 0 for every section, instead of steps, shift and denoise. Techniques still place their windows by shift."
                    },
                ),
                "timeline": (
                    TIMELINE,
                    {"tooltip": "Prompts over time; a switch lands on the nearest section border."},
                ),
                "past_latent": (
                    "LATENT",
                    {
                        "tooltip": "A video to go on from, through VAE Encode or from another FramePack Sampler. The result is that video with seconds of new video behind it; timeline times count from where it ends. f1 remembers its last frames; original has room for start_latent only. An empty start_latent takes the video's last frame."
                    },
                ),
                "embed_interpolation": (
                    list(EMBED_INTERPOLATIONS),
                    {
                        "default": "linear",
                        "tooltip": "How start and end image tokens mix when both are connected: linear moves from start to end along the video, weighted_average keeps one mixture.",
                    },
                ),
                "start_embed_strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "Share of the start image's tokens with weighted_average; without end tokens it multiplies the start image's: lower follows the image less. Not read with linear and both images.",
                    },
                ),
                "measure_memory": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Record in the trace how much of its attention every section pays to the packed memory, for the evaluators' inertia. The video stays the same; on the tiny model it takes a tenth longer.",
                    },
                ),
                "vae": (
                    "VAE",
                    {
                        "tooltip": "Shows the video while it is sampled: each finished section is decoded at once, and FramePack Decode behind it, with the same VAE, takes over what is decoded. The video stays the same; on a small card the model makes room for the VAE after each section."
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
        layout: str,
        seconds: float,
        latent_frames: int,
        window: int,
        steps: int,
        distilled_guidance: float,
        cfg: float,
        guidance_rescale: float,
        shift: float,
        solver: str,
        denoise: float,
        upstream_rounding: bool,
        seed: int,
        clip_vision_output: Any = None,
        end_latent: Any = None,
        end_clip_vision_output: Any = None,
        initial_latent: Any = None,
        sampler: Any = None,
        sigmas: Any = None,
        timeline: Any = None,
        past_latent: Any = None,
        embed_interpolation: str = "linear",
        start_embed_strength: float = 1.0,
        measure_memory: bool = False,
        vae: Any = None,
        prompt: Any = None,
        unique_id: Any = None,
    ) -> Any:
        settings = SampleSettings(
            layout=layout,
            window=window,
            steps=steps,
            shift=shift,
            denoise=denoise,
            seed=seed,
            guidance=Guidance(distilled=distilled_guidance, cfg=cfg, rescale=guidance_rescale),
            upstream_rounding=upstream_rounding,
            embed_interpolation=embed_interpolation,
            start_embed_strength=start_embed_strength,
            measure_memory=measure_memory,
        )
        count = count_sections(seconds, latent_frames, window)
        driver = driver_for(model)
        inputs = sample_inputs(
            driver,
            negative=negative,
            start_latent=start_latent,
            clip_vision_output=clip_vision_output,
            end_latent=end_latent,
            end_clip_vision_output=end_clip_vision_output,
            initial_latent=initial_latent,
            past_latent=past_latent,
        )
        past = inputs.past_latent_frames
        planned = plan_sections(layout, count, window, keeps_start=inputs.has_start, past_latent_frames=past)
        prompts = sample_prompts(driver, positive, timeline, inputs.start)
        sections = assign_prompts(planned, prompts, past_latent_frames=past)
        notices = logged_notices(
            driver=driver,
            settings=settings,
            inputs=inputs,
            timeline=timeline,
            sections=sections,
            prompts=prompts,
            workflow=prompt,
            node=unique_id,
        )
        preview = preview_of_run(driver, sections, inputs, vae, decode_behind(prompt, unique_id))
        solve, observer = solver if sampler is None else sampler, RunProgress(driver, count, preview)
        latents, trace = sample_sections(
            driver, sections, inputs, settings, solver=solve, sigmas=sigmas, observer=observer
        )
        latent = {"samples": driver.to_vae(latents)}
        ui = {} if preview is None else preview.finish(latent)
        return with_notices((latent, {**trace, "notices": notices}), notices, ui)
