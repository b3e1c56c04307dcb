"""Sections by direct calls of the model, without ComfyUI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ....models.config import FramePackConfig
from ....models.kept_work import KeptWork
from ....models.plain import PlainModel
from ...conditioning import TextConditioning
from ...progress import report
from ...techniques.wiring import techniques_of
from ..evaluating.branch import Branch
from ..solvers import SOLVERS
from .base import OnProgress, SectionTask, attention_options, context_arguments


class PlainDriver:
    """Runs sections on the headless stand-in for MODEL."""

    def __init__(self, model: PlainModel) -> None:
        self.model = model
        self._dit = model.model.diffusion_model
        self.config = cast("FramePackConfig", self._dit.config)
        self.device = model.load_device
        self.techniques = techniques_of(model.model_options)
        self.attachments: Mapping[str, Any] = model.attachments

    def to_model(self, latents: Tensor) -> Tensor:
        """VAE latents to the model's scale."""
        return self.model.model.process_latent_in(latents)

    def to_vae(self, latents: Tensor) -> Tensor:
        """The model's latents to the VAE's scale."""
        return self.model.model.process_latent_out(latents)

    def free_memory(self) -> None:
        """Give memory that is not in use back to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def progress(self, total_steps: int, *, pictures: bool = True) -> OnProgress:
        """A callback that reports to progress.progress_reporting; who listens there may show pictures or not."""
        return lambda done, x0, words: report(done, total_steps, {**words, "x0": x0})

    def notices(self) -> list[str]:
        """Nothing: outside ComfyUI a model carries only what this pack reads."""
        return []

    def run(self, task: SectionTask) -> Tensor:
        """The section's latents [B, 16, T, H, W] in the model's scale, float32 on the CPU.

        Raises ValueError for a SAMPLER of the host.
        """
        if not isinstance(task.solver, str):
            raise ValueError(
                f"a SAMPLER of ComfyUI ({type(task.solver).__name__}) cannot run outside ComfyUI; "
                "disconnect it, or queue the workflow to a server."
            )
        device = self.device
        sigmas = task.sigmas.to(device)
        x = task.noise.to(device) * sigmas[0] + task.initial.to(device) * (1 - sigmas[0])
        evaluate = partial(self._evaluate, _Inputs(task, self.model.model_options, device))
        model = lambda x, sigma: task.denoiser(x, sigma, evaluate)  # noqa: E731
        callback = lambda state: task.on_step(state["i"], state["denoised"])  # noqa: E731
        solve = SOLVERS[task.solver]
        return solve(model, x, sigmas, callback=callback, restarts=task.restarts).float().cpu()

    def _evaluate(
        self, inputs: _Inputs, branches: Sequence[Branch], x: Tensor, sigma: Tensor
    ) -> list[Tensor]:
        velocities = (self._velocity(inputs, numbered, x, sigma) for numbered in enumerate(branches))
        return [x - sigma.view(-1, 1, 1, 1, 1) * velocity for velocity in velocities]

    def _velocity(self, inputs: _Inputs, numbered: tuple[int, Branch], x: Tensor, sigma: Tensor) -> Tensor:
        """The velocity of a branch; its number is told to the model as the host tells it."""
        number, branch = numbered
        text = inputs.texts[branch.text]
        velocity: Tensor = self._dit(
            x.to(self.model.compute_dtype),
            sigma.float() * 1000,
            text.states,
            attention_mask=text.mask,
            y=text.pooled,
            transformer_options={
                **inputs.options,
                **attention_options(branch),
                "cond_or_uncond": [number],
            },
            **context_arguments(branch, x.shape[0], x.device, inputs.work),
        )
        return velocity.to(x.dtype)


class _Inputs:
    """What stays the same over a section's steps, moved to the device once."""

    def __init__(self, task: SectionTask, model_options: dict[str, Any], device: torch.device) -> None:
        self.texts = {name: _text_to(text, device) for name, text in task.denoiser.texts.items()}
        self.work = KeptWork()
        self.options = {
            **model_options["transformer_options"],
            "framepack_upstream_rounding": task.upstream_rounding,
            "framepack_kept_work": self.work,
        }


def _text_to(text: TextConditioning, device: torch.device) -> TextConditioning:
    mask = None if text.mask is None else text.mask.to(device)
    return replace(text, states=text.states.to(device), pooled=text.pooled.to(device), mask=mask)
