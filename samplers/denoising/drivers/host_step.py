"""One step of a section inside ComfyUI: its predictions, and the guidance functions that other nodes installed.

Imported only inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

import comfy.samplers
import torch
from torch import Tensor

from ....models.foreign import naming_misfits
from ....models.host import STEP_CONTEXT, context_conds
from ...guidance import combine_cfg
from ..evaluating.branch import Branch
from .base import attention_options, context_arguments
from .host_caches import fill_easy_cache
from .host_checks import REPLACED_EVALUATION, guidance_functions

Cond = list[dict[str, Any]]


class HostStep:
    """Evaluates the branches of a step and combines the guided ones, as ComfyUI's own guider would.

    Guidance functions get two conditionings, the positive and the negative one (None where nothing is guided), with the
    packed past, the distilled guidance and the attention of the step. What techniques ask for beside these two is
    evaluated without them.

    model: the host's BaseModel.
    conds: the processed conditionings by name, without the packed past.
    x: [B, 16, T, H, W].
    sigma: [B].
    model_options: the run's.
    predicted_before: the conditionings of the step before, by uuid.

    `predicted` holds those of this step once it is evaluated.
    """

    def __init__(
        self,
        *,
        model: Any,
        conds: Mapping[str, Cond],
        x: Tensor,
        sigma: Tensor,
        model_options: dict[str, Any],
        predicted_before: frozenset[UUID],
    ) -> None:
        self.predicted = predicted_before
        self._model = model
        self._conds = conds
        self._x = x
        self._sigma = sigma
        self._options = model_options
        self._guided: list[Cond | None] = []
        self._negative: Tensor | None = None
        self._context: dict[str, Tensor] = {}

    def evaluate(self, branches: Sequence[Branch], x: Tensor, sigma: Tensor) -> list[Tensor]:
        """x0 [B, 16, T, H, W] of every branch; those that are asked for something else are none of the step's own."""
        if branches[0].is_asked:
            conds = [self._cond(branch) for branch in branches]
            return self._calculate(conds, _with_attention(self._options, branches[0]))
        self._context = context_arguments(branches[0], 1, x.device)
        # All branches of a step attend alike; the first one's forward is the one to be measured. What guidance functions
        # evaluate by themselves is neither measured nor cached.
        measured = _with_attention(self._options, branches[0])
        self._options = _with_attention(self._options, replace(branches[0], probe=None, cache=None))
        conds = [self._cond(branch) for branch in branches]
        guided = sum(branch.guided for branch in branches)
        self._guided = [*conds[:guided]] if guided == 2 else [conds[0], self._unguided_negative(branches[0])]
        before, self.predicted = self.predicted, _uuids([*conds, *self._guided])
        fill_easy_cache(self._options, before, self.predicted)
        with self._step_context():
            return self._predictions(conds, guided, measured)

    def combine(self, positive: Tensor, negative: Tensor | None, scale: float) -> Tensor:
        """Guidance with the functions of other nodes where there are any, the pack's own where there are none."""
        if not guidance_functions(self._options):
            return combine_cfg(positive, negative, scale)
        if negative is None:
            # Zeros are what the host gives for a conditioning that it does not evaluate.
            negative = torch.zeros_like(positive) if self._negative is None else self._negative
        with self._step_context(), naming_misfits(guidance_functions(self._options)):
            return self._call_functions([positive, negative], scale)

    def _predictions(self, conds: list[Cond], guided: int, options: dict[str, Any]) -> list[Tensor]:
        """x0 of all conditionings; keeps that of a negative one that the step itself does not need."""
        others = conds[guided:]
        evaluate = options.get(REPLACED_EVALUATION)
        if evaluate is None:
            negative = [self._guided[1]] if guided == 1 and self._guided[1] else []
            predictions = self._calculate([*conds, *negative], options)
            self._negative = predictions[len(conds)] if negative else None
            return predictions[: len(conds)]
        # It may run the model in ways of its own, which a step cache could not tell apart.
        uncached = {**options["transformer_options"]}
        uncached.pop("framepack_cache", None)
        with naming_misfits([evaluate]):
            pair = evaluate(
                {
                    "conds": self._guided,
                    "input": self._x,
                    "sigma": self._sigma,
                    "model": self._model,
                    "model_options": {**options, "transformer_options": uncached},
                }
            )
        self._negative = pair[1]
        return [*pair[:guided], *(self._calculate(others, self._options) if others else [])]

    def _calculate(self, conds: list[Cond], options: dict[str, Any]) -> list[Tensor]:
        predictions: list[Tensor] = comfy.samplers.calc_cond_batch(
            self._model, conds, self._x, self._sigma, options
        )
        return predictions

    def _call_functions(self, predictions: list[Tensor], scale: float) -> Tensor:
        for function in self._options.get("sampler_pre_cfg_function", []):
            predictions = function(
                {
                    "conds": self._guided,
                    "conds_out": predictions,
                    "cond_scale": scale,
                    "timestep": self._sigma,
                    "input": self._x,
                    "sigma": self._sigma,
                    "model": self._model,
                    "model_options": self._options,
                }
            )
        guided: Tensor = comfy.samplers.cfg_function(
            self._model,
            *predictions[:2],
            scale,
            self._x,
            self._sigma,
            model_options=self._options,
            cond=self._guided[0],
            uncond=self._guided[1],
        )
        return guided

    def _unguided_negative(self, positive: Branch) -> Cond | None:
        """The negative conditioning of a step without real guidance, where another node wants its prediction too."""
        if not self._options.get("disable_cfg1_optimization", False):
            return None
        return self._cond(replace(positive, text="negative", past="full", probe=None))

    def _cond(self, branch: Branch) -> Cond:
        """A conditioning with a branch's packed past and guidance in place of its own.

        Step caches of other nodes tell predictions apart by the uuid, so each past has its own, and what is only compared.
        """
        own = context_conds(context_arguments(branch, 1, self._x.device))
        part = "compared" if branch.compared else branch.past
        return [
            {
                **cond,
                "model_conds": {**cond["model_conds"], **own},
                "uuid": cond["uuid"] if part == "full" else uuid5(cond["uuid"], part),
            }
            for cond in self._conds[branch.text]
        ]

    @contextmanager
    def _step_context(self) -> Iterator[None]:
        """Lets nodes that encode a conditioning of their own in a step do so with the step's packed past."""
        token = STEP_CONTEXT.set(self._context)
        try:
            yield
        finally:
            STEP_CONTEXT.reset(token)


def _uuids(conds: Sequence[Cond | None]) -> frozenset[UUID]:
    return frozenset(part["uuid"] for cond in conds for part in cond or ())


def _with_attention(model_options: dict[str, Any], branch: Branch) -> dict[str, Any]:
    """The options with a branch's attention; the same ones where it attends as the model does."""
    attention = attention_options(branch)
    if not attention:
        return model_options
    return {**model_options, "transformer_options": {**model_options["transformer_options"], **attention}}
