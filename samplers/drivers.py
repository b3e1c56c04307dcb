"""How a section runs. `plain` calls the model directly; inside ComfyUI, host.py runs it through a CFGGuider."""
from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Protocol, Sequence

import torch
from torch import Tensor

from ..models.config import FramePackConfig
from ..models.plain import PlainModel
from .conditioning import TextConditioning
from .denoise import Branch, SectionDenoiser
from .history import Context
from .progress import report
from .solvers import SOLVERS
from .techniques.base import Technique, techniques_of

OnStep = Callable[[int, Tensor], None]


@dataclass(frozen=True, eq=False)
class SectionTask:
    """Everything that a driver needs to denoise one section. Latents are in the model's scale.

    `initial` is mixed with the noise by the first sigma (zeros for a section from nothing); `solver` is a name in
    SOLVERS or a SAMPLER of the host; `on_step(step, x0)` is called after every solver step.
    """

    denoiser: SectionDenoiser
    noise: Tensor
    initial: Tensor
    sigmas: Tensor
    solver: Any
    seed: int
    on_step: OnStep
    upstream_rounding: bool = False


class Driver(Protocol):
    """Runs sections on one model."""

    config: FramePackConfig
    device: torch.device
    techniques: tuple[Technique, ...]

    def to_model(self, latents: Tensor) -> Tensor:
        """VAE latents to the model's scale."""

    def to_vae(self, latents: Tensor) -> Tensor:
        """The model's latents to the VAE's scale."""

    def progress(self, total_steps: int) -> Callable[[int, Tensor], None]:
        """A callback (steps done, x0) for the whole run."""

    def run(self, task: SectionTask) -> Tensor:
        """The section's latents [B, 16, T, H, W] in the model's scale, float32 on the CPU."""


def driver_for(model: Any) -> Driver:
    """The driver for a MODEL: plain for the headless stand-in, the host's for anything else."""
    if isinstance(model, PlainModel):
        return PlainDriver(model)
    from .host import HostDriver

    return HostDriver(model)


class PlainDriver:
    """Calls the model directly, without ComfyUI."""

    def __init__(self, model: PlainModel) -> None:
        self._model = model
        self._dit = model.model.diffusion_model
        self.config = self._dit.config
        self.device = model.load_device
        self.techniques = techniques_of(model.model_options)

    def to_model(self, latents: Tensor) -> Tensor:
        return self._model.model.process_latent_in(latents)

    def to_vae(self, latents: Tensor) -> Tensor:
        return self._model.model.process_latent_out(latents)

    def progress(self, total_steps: int) -> Callable[[int, Tensor], None]:
        return lambda done, x0: report(done, total_steps, {"x0": x0})

    def run(self, task: SectionTask) -> Tensor:
        if not isinstance(task.solver, str):
            raise ValueError(f"a SAMPLER of ComfyUI ({type(task.solver).__name__}) cannot run outside ComfyUI; "
                             "disconnect it, or queue the workflow to a server.")
        device = self.device
        sigmas = task.sigmas.to(device)
        x = task.noise.to(device) * sigmas[0] + task.initial.to(device) * (1 - sigmas[0])
        evaluate = partial(self._evaluate, _Inputs(task, device))
        model = lambda x, sigma: task.denoiser(x, sigma, evaluate)  # noqa: E731
        callback = lambda state: task.on_step(state["i"], state["denoised"])  # noqa: E731
        return SOLVERS[task.solver](model, x, sigmas, callback=callback).float().cpu()

    def _evaluate(self, inputs: _Inputs, branches: Sequence[Branch], x: Tensor, sigma: Tensor) -> list[Tensor]:
        return [x - sigma.view(-1, 1, 1, 1, 1) * self._velocity(inputs, branch, x, sigma) for branch in branches]

    def _velocity(self, inputs: _Inputs, branch: Branch, x: Tensor, sigma: Tensor) -> Tensor:
        text = inputs.texts[branch.text]
        return self._dit(
            x.to(self._model.compute_dtype), sigma.float() * 1000, text.states, attention_mask=text.mask, y=text.pooled,
            transformer_options={**inputs.options, "framepack_attention": branch.attention}, **context_arguments(branch, x.shape[0], x.device),
        ).to(x.dtype)


class _Inputs:
    """What stays the same over a section's steps, moved to the device once."""

    def __init__(self, task: SectionTask, device: torch.device) -> None:
        self.texts = {name: _text_to(text, device) for name, text in task.denoiser.texts.items()}
        self.options = {"framepack_upstream_rounding": task.upstream_rounding}


def context_arguments(branch: Branch, batch: int, device: torch.device) -> dict[str, Tensor]:
    """The DiT's keyword arguments for a branch: guidance, indices, tiers and image tokens. Absent tiers are left out.

    Guidance is an integer in thousandths: ComfyUI casts every floating condition to the model's dtype, and bfloat16
    would turn 10000 into 9984. Indices are integers for the same reason, [B, n].
    """
    context, indices = branch.context, branch.context.indices
    arguments = {
        "guidance": torch.full((batch,), round(branch.distilled * 1000), dtype=torch.int64, device=device),
        "latent_indices": _row(indices.target, batch, device),
    }
    if context.image_embeds is not None:
        arguments["image_embeds"] = context.image_embeds
    tiers = (("clean_latents", "clean_latent_indices", context.clean, indices.clean),
             ("clean_latents_2x", "clean_latent_2x_indices", context.clean_2x, indices.clean_2x),
             ("clean_latents_4x", "clean_latent_4x_indices", context.clean_4x, indices.clean_4x))
    for latents_name, indices_name, latents, positions in tiers:
        if latents is not None:
            arguments[latents_name] = latents
            arguments[indices_name] = _row(positions, batch, device)
    return arguments


def _row(indices: tuple[int, ...], batch: int, device: torch.device) -> Tensor:
    return torch.tensor(indices, dtype=torch.int64, device=device).expand(batch, -1)


def _text_to(text: TextConditioning, device: torch.device) -> TextConditioning:
    mask = None if text.mask is None else text.mask.to(device)
    return TextConditioning(text.states.to(device), text.pooled.to(device), mask, text.options)
