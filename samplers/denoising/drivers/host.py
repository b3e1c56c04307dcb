"""Sections through ComfyUI's CFGGuider, so that model patches, wrappers, hooks, compilation and samplers of the host apply.

Imported only inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ....models.host import FramePackBaseModel, context_conds
from ...guidance import combine_cfg
from ...techniques.wiring import techniques_of
from ..denoiser import Branch, SectionDenoiser
from ..solvers import SOLVERS
from ..trace import solver_name
from .base import OnProgress, SectionTask, attention_options, context_arguments

# Where other nodes hook into guidance, in model_options.
GUIDANCE_FUNCTIONS = {"sampler_pre_cfg_function", "sampler_cfg_function", "sampler_post_cfg_function"}


class HostDriver:
    """Runs sections on a ComfyUI MODEL that FramePackModelLoader or FramePackTinyLoader made."""

    def __init__(self, model: Any) -> None:
        base = getattr(model, "model", None)
        if not isinstance(base, FramePackBaseModel):
            raise ValueError(
                f"model is a {type(base).__name__}, not a FramePack model; load the file with FramePack "
                "Model Loader instead of Load Diffusion Model."
            )
        self._model = model
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

    def progress(self, total_steps: int, *, pictures: bool = True) -> OnProgress:
        """The host's progress bar, with its preview where `pictures` are wanted, as a callback for the whole run."""
        if not pictures:
            bar = comfy.utils.ProgressBar(total_steps)
            return lambda done, x0, words: bar.update_absolute(done, total_steps)
        shown = slice(None) if self._preview_is_animated() else slice(-1, None)
        callback = latent_preview.prepare_callback(self._model, total_steps)
        return lambda done, x0, words: callback(done - 1, x0[:, :, shown], None, total_steps)

    def _preview_is_animated(self) -> bool:
        """Whether all frames of x0 are of use: ComfyUI's own previewers show the first frame that they get.

        Other packs put previewers that play all of them, such as VideoHelperSuite's, in their place.
        """
        previewer = latent_preview.get_previewer(self._model.load_device, self._base.latent_format)
        return previewer is not None and type(previewer).__module__ != latent_preview.__name__

    def run(self, task: SectionTask) -> Tensor:
        """The section's latents [B, 16, T, H, W] in the model's scale, float32 on the CPU."""
        guider = FramePackGuider(self._model, task)
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
        if task.upstream_rounding:
            self.model_options = comfy.model_patcher.create_model_options_clone(self.model_options)
            self.model_options["transformer_options"]["framepack_upstream_rounding"] = True
        self.denoiser: SectionDenoiser = task.denoiser
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
        return self.denoiser(
            x,
            timestep,
            partial(self._evaluate, model_options),
            partial(self._combine, x=x, sigma=timestep, model_options=model_options),
        )

    def _evaluate(
        self, model_options: dict[str, Any], branches: Sequence[Branch], x: Tensor, sigma: Tensor
    ) -> list[Tensor]:
        conds = [
            [_with_context(cond, branch, x.device) for cond in self.conds[branch.text]] for branch in branches
        ]
        # All branches of a step attend alike; the first one's forward is the one to be measured.
        attention = attention_options(branches[0])
        if attention:
            options = {**model_options["transformer_options"], **attention}
            model_options = {**model_options, "transformer_options": options}
        evaluate = model_options.get("sampler_calc_cond_batch_function", _calc_cond_batch)
        predictions: list[Tensor] = evaluate(
            {
                "conds": conds,
                "input": x,
                "sigma": sigma,
                "model": self.inner_model,
                "model_options": model_options,
            }
        )
        return predictions

    def _combine(
        self,
        positive: Tensor,
        negative: Tensor,
        scale: float,
        *,
        x: Tensor,
        sigma: Tensor,
        model_options: dict[str, Any],
    ) -> Tensor:
        """Guidance as the host does it where other nodes installed functions for it, ours where they did not."""
        if not GUIDANCE_FUNCTIONS & model_options.keys():
            return combine_cfg(positive, negative, scale)
        conds = [self.conds["positive"], self.conds["negative"]]
        predictions = [positive, negative]
        for function in model_options.get("sampler_pre_cfg_function", []):
            predictions = function(
                {
                    "conds": conds,
                    "conds_out": predictions,
                    "cond_scale": scale,
                    "timestep": sigma,
                    "input": x,
                    "sigma": sigma,
                    "model": self.inner_model,
                    "model_options": model_options,
                }
            )
        guided: Tensor = comfy.samplers.cfg_function(
            self.inner_model,
            *predictions,
            scale,
            x,
            sigma,
            model_options=model_options,
            cond=conds[0],
            uncond=conds[1],
        )
        return guided


def _calc_cond_batch(given: dict[str, Any]) -> list[Tensor]:
    """The host's own evaluation, with the arguments that it gives to a function in its place."""
    predictions: list[Tensor] = comfy.samplers.calc_cond_batch(
        given["model"], given["conds"], given["input"], given["sigma"], given["model_options"]
    )
    return predictions


def _with_context(cond: dict[str, Any], branch: Branch, device: torch.device) -> dict[str, Any]:
    """A conditioning with a branch's packed past and guidance in place of its own."""
    own = context_conds(context_arguments(branch, 1, device))
    return {**cond, "model_conds": {**cond["model_conds"], **own}}


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
