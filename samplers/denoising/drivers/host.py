"""Sections through ComfyUI's CFGGuider, so that model patches, wrappers, hooks, compilation and samplers of the host apply.

Imported only inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from .base import SectionTask, attention_options, context_arguments

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
        self.attachments = model.attachments

    def to_model(self, latents: Tensor) -> Tensor:
        return self._base.process_latent_in(latents)

    def to_vae(self, latents: Tensor) -> Tensor:
        return self._base.process_latent_out(latents)

    def progress(self, total_steps: int) -> Callable[[int, Tensor], None]:
        callback = latent_preview.prepare_callback(self._model, total_steps)
        return lambda done, x0: callback(done - 1, x0, None, total_steps)

    def run(self, task: SectionTask) -> Tensor:
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


class FramePackGuider(comfy.samplers.CFGGuider):
    """A CFGGuider whose prediction is the section's denoiser; its conditionings are the section's texts."""

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
        comfy.model_management.throw_exception_if_processing_interrupted()
        return self.denoiser(
            x,
            timestep,
            partial(self._evaluate, model_options),
            partial(self._combine, x, timestep, model_options),
        )

    def _evaluate(
        self, model_options: dict[str, Any], branches: Sequence[Branch], x: Tensor, sigma: Tensor
    ) -> list[Tensor]:
        conds = [
            [self._with_context(cond, branch, x) for cond in self.conds[branch.text]] for branch in branches
        ]
        # All branches of a step attend alike; the first one's forward is the one to be measured.
        attention = attention_options(branches[0])
        if attention:
            options = {**model_options["transformer_options"], **attention}
            model_options = {**model_options, "transformer_options": options}
        evaluate = model_options.get("sampler_calc_cond_batch_function")
        if evaluate is None:
            return comfy.samplers.calc_cond_batch(self.inner_model, conds, x, sigma, model_options)
        return evaluate(
            {
                "conds": conds,
                "input": x,
                "sigma": sigma,
                "model": self.inner_model,
                "model_options": model_options,
            }
        )

    def _with_context(self, cond: dict[str, Any], branch: Branch, x: Tensor) -> dict[str, Any]:
        own = context_conds(context_arguments(branch, 1, x.device))
        return {**cond, "model_conds": {**cond["model_conds"], **own}}

    def _combine(
        self,
        x: Tensor,
        sigma: Tensor,
        model_options: dict[str, Any],
        positive: Tensor,
        negative: Tensor,
        scale: float,
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
        return comfy.samplers.cfg_function(
            self.inner_model,
            *predictions,
            scale,
            x,
            sigma,
            model_options=model_options,
            cond=conds[0],
            uncond=conds[1],
        )


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
