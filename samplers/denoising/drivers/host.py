"""Sections through ComfyUI's CFGGuider, so that model patches, wrappers, hooks, compilation and samplers of the host apply.

Imported only inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ....models.host import FramePackBaseModel
from ....models.kept_work import KeptWork
from ...techniques.wiring import techniques_of
from ..denoiser import SectionDenoiser
from ..evaluating.branch import Branch
from ..solvers import SOLVERS
from ..trace import solver_name
from .base import OnProgress, SectionTask, context_arguments
from .host_caches import limit_lazy_cache
from .host_checks import expect_usable, expect_whole_window, idle_nodes, overridden_attention
from .host_step import HostStep


class HostDriver:
    """Runs sections on a ComfyUI MODEL that FramePackModelLoader or FramePackTinyLoader made."""

    def __init__(self, model: Any) -> None:
        base = getattr(model, "model", None)
        if not isinstance(base, FramePackBaseModel):
            raise ValueError(
                f"model is a {type(base).__name__}, not a FramePack model; load the file with FramePack "
                "Model Loader instead of Load Diffusion Model."
            )
        expect_usable(model)
        self.model = model
        self._base = base
        self.config = base.diffusion_model.config
        self.device = model.load_device
        self.techniques = techniques_of(model.model_options)
        self.attachments: Mapping[str, Any] = model.attachments

    def to_model(self, latents: Tensor) -> Tensor:
        """VAE latents to the model's scale."""
        scaled: Tensor = self._base.process_latent_in(latents)
        return scaled

    def to_vae(self, latents: Tensor) -> Tensor:
        """The model's latents to the VAE's scale."""
        scaled: Tensor = self._base.process_latent_out(latents)
        return scaled

    def free_memory(self) -> None:
        """Give memory that is not in use back to the device."""
        comfy.model_management.soft_empty_cache()

    def progress(self, total_steps: int, *, pictures: bool = True) -> OnProgress:
        """The host's progress bar, with its preview where `pictures` are wanted, as a callback for the whole run."""
        if not pictures:
            bar = comfy.utils.ProgressBar(total_steps)
            return lambda done, x0, words: bar.update_absolute(done, total_steps)
        shown = slice(None) if self._preview_is_animated() else slice(-1, None)
        callback = latent_preview.prepare_callback(self.model, total_steps)
        return lambda done, x0, words: callback(done - 1, x0[:, :, shown], None, total_steps)

    def notices(self) -> list[str]:
        """What was wired before the sampler and changes nothing, or not everything."""
        return [*idle_nodes(self.model), *overridden_attention(self.model, self.techniques)]

    def _preview_is_animated(self) -> bool:
        """Whether all frames of x0 are of use: ComfyUI's own previewers show the first frame that they get.

        Other packs put previewers that play all of them, such as VideoHelperSuite's, in their place.
        """
        previewer = latent_preview.get_previewer(self.model.load_device, self._base.latent_format)
        return previewer is not None and type(previewer).__module__ != latent_preview.__name__

    def run(self, task: SectionTask) -> Tensor:
        """The section's latents [B, 16, T, H, W] in the model's scale, float32 on the CPU."""
        guider = FramePackGuider(self.model, task)
        # The guider takes the initial latent in the VAE's scale and gives the result back in it.
        latents = guider.sample(
            task.noise,
            self.to_vae(task.initial),
            host_sampler(task.solver, task.restarts),
            task.sigmas,
            callback=lambda step, x0, x, total: task.on_step(step, x0),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=task.seed,
        )
        return self.to_model(latents.float().cpu())


class FramePackGuider(comfy.samplers.CFGGuider):  # type: ignore[misc]  # the host has no types
    """A CFGGuider whose prediction is the section's denoiser; its conditionings are the section's texts."""

    model_options: dict[str, Any]

    def __init__(self, model: Any, task: SectionTask) -> None:
        super().__init__(model)
        expect_whole_window(model, task.noise.shape)
        self.model_options = comfy.model_patcher.create_model_options_clone(self.model_options)
        self.model_options["transformer_options"].update(_section_options(task, model.load_device))
        self.denoiser: SectionDenoiser = task.denoiser
        # Other nodes may set another scale for some steps.
        self.cfg = self._own_cfg = task.denoiser.cfg
        self._predicted: frozenset[UUID] = frozenset()
        self.inner_set_conds(
            {
                name: [[text.states, {**text.options, **_cond_options(text, task)}]]
                for name, text in task.denoiser.texts.items()
            }
        )

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] = {}, seed: int | None = None
    ) -> Tensor:
        """x0 of one step, for the host's samplers."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        step = HostStep(
            model=self.inner_model,
            conds=self.conds,
            x=x,
            sigma=timestep,
            model_options=model_options,
            predicted_before=self._predicted,
        )
        x0 = self.denoiser(x, timestep, step.evaluate, step.combine, cfg=self._changed_cfg())
        self._predicted = step.predicted
        return x0

    def _changed_cfg(self) -> float | None:
        """The scale of real guidance that another node has set for a step; None where none has."""
        return None if self.cfg == self._own_cfg else float(self.cfg)

    def outer_sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """The host's sampling of one section, once its step caches know the section's schedule."""
        limit_lazy_cache(self.model_options, sigmas)
        latents: Tensor = super().outer_sample(noise, latent_image, sampler, sigmas, *args, **kwargs)
        return latents


def host_sampler(solver: Any, restarts: tuple[int, ...] = ()) -> Any:
    """A SAMPLER for the guider: ours by name with its restarts, or the host's as it is. CFG++ samplers are refused."""
    if isinstance(solver, str):
        return comfy.samplers.KSAMPLER(SOLVERS[solver], extra_options={"restarts": restarts})
    name = solver_name(solver)
    if name.endswith("_cfg_pp"):
        raise ValueError(
            f"{name.removeprefix('sample_')} is a CFG++ sampler; it needs an unconditional prediction at "
            "every step, which guidance-distilled FramePack does not make: choose one without cfg_pp."
        )
    return solver


def _section_options(task: SectionTask, device: torch.device) -> dict[str, Any]:
    """What the section adds to transformer_options.

    Work is kept on a CPU alone, as the host hands every step new tensors, and where no hook changes weights in between.
    """
    options: dict[str, Any] = {"framepack_upstream_rounding": True} if task.upstream_rounding else {}
    hooked = any("hooks" in text.options for text in task.denoiser.texts.values())
    if device.type == "cpu" and not hooked:
        options["framepack_kept_work"] = KeptWork()
    return options


def _cond_options(text: Any, task: SectionTask) -> dict[str, Any]:
    """What BaseModel.extra_conds reads: pooled text, mask, and the packed context as the DiT's arguments.

    Every step replaces the context and the guidance by its own; here they let the host count the memory.
    """
    branch = Branch(text="", context=task.denoiser.context, distilled=0.0)
    options = {
        "pooled_output": text.pooled,
        "framepack_context": context_arguments(branch, 1, torch.device("cpu")),
    }
    return options if text.mask is None else {**options, "attention_mask": text.mask}
