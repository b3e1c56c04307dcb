"""FramePack Sampler: the node around samplers.denoising.sections."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...samplers.context.plan import plan_sections
from ...samplers.denoising.drivers import driver_for
from ...samplers.denoising.sections import sample_sections
from ...samplers.guidance import Guidance
from ...samplers.section_seeds import entry_seeds
from ...samplers.section_seeds import section_seeds as read_section_seeds
from ...samplers.settings import SampleSettings
from ...samplers.timeline.assignment import assign_prompts, frame_borders
from .. import widgets
from ..kept_records import REUSE, kept_records
from ..notices import with_notices
from ..types import ROOT, TRACE
from .inputs import count_sections, sample_inputs, sample_prompts
from .notices import announced_notices
from .run_progress import RunProgress
from .sampler_inputs import AUTOMATIC, sampler_inputs
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
        "All latent frames of the video, for FramePack Decode.",
        "A record of every section (frame indices, sigmas, guidance, prompt, time) for evaluators and plots.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return sampler_inputs()

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
        recent_frames: int = 1,
        loop: bool = False,
        section_seeds: str = "",
        reuse_sections: bool = True,
        colour_anchor: float = 0.0,
        padding: float = AUTOMATIC,
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
            recent_frames=recent_frames,
            colour_anchor=colour_anchor,
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
        prompts = sample_prompts(driver, positive, timeline, inputs.start)
        planned = plan_sections(
            layout,
            count,
            window,
            keeps_start=inputs.has_start,
            past_latent_frames=past,
            recent_frames=recent_frames,
            loop=loop,
            borders=frame_borders(prompts, past_latent_frames=past),
            padding=None if padding == AUTOMATIC else padding,
        )
        sections = assign_prompts(planned, prompts, past_latent_frames=past)
        seeds = {**entry_seeds(sections), **read_section_seeds(section_seeds, sections)}
        settings = replace(settings, section_seeds=seeds)
        notices = announced_notices(
            driver=driver,
            settings=settings,
            inputs=inputs,
            timeline=timeline,
            sections=sections,
            prompts=prompts,
            workflow=prompt,
            node=unique_id,
        )
        solve = solver if sampler is None else sampler
        with kept_records(reuse_sections) as store:
            preview = preview_of_run(
                driver=driver,
                sections=sections,
                inputs=inputs,
                vae=vae,
                decode=decode_behind(prompt, unique_id),
                store=store,
            )
            observer = RunProgress(driver, len(sections), preview, notices)
            latents, trace = sample_sections(
                driver,
                sections,
                inputs,
                settings,
                solver=solve,
                sigmas=sigmas,
                observer=observer,
                store=store,
            )
        latent = {"samples": driver.to_vae(latents), REUSE: reuse_sections}
        ui = {} if preview is None else preview.finish(latent)
        return with_notices((latent, {**trace, "notices": observer.notices}), observer.notices, ui)
