"""Where a solver that reuses earlier predictions begins anew, because those were made under other settings.

UniPC extrapolates from the predictions of up to three steps. Across the edge of a technique's window these do not lie on
one curve, and what they extrapolate to is what neither setting asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, sqrt

import torch
from torch import Tensor

from ...models.attention.policy import AttentionPolicy
from ..context.history import Context
from ..techniques.base import NEGATIVE, POSITIVE, Step
from .denoiser import SectionDenoiser

JUMP = 1 / 3
# A jitter of heads that counts as one change of a whole setting; a third of it already lets solvers begin anew.
JITTER = 0.2


def restart_steps(denoiser: SectionDenoiser, sigmas: Tensor) -> tuple[int, ...]:
    """Indices of the steps at which a solver begins anew, for a section's schedule [steps + 1]; none where all is smooth.

    A setting (see `settings_at`) jumps where it changes by more than JUMP times the largest value that it has in the section,
    and by more than JUMP. So the edge of a window is a jump unless the window does next to nothing, and a curve over ten
    steps or more is none. After steps that moved nothing a solver begins anew too, and where techniques begin to act that
    wait for a first evaluation.
    """
    steps = [denoiser.step(sigma) for sigma in sigmas.tolist()[:-1]]
    resting = [denoiser.guidance(step).zero_velocity for step in steps]
    settings = [settings_at(denoiser, step) for step in steps]
    for step, setting in zip(steps, settings):
        setting["found"] = float(denoiser.acts_by_concept(step))
    first = resting.index(False) if False in resting else len(steps)
    for step, setting in list(zip(steps, settings))[first + 1 :]:
        setting["attended"] = float(denoiser.acts_by_attention(step))
    largest = {name: max(abs(setting.get(name, 0.0)) for setting in settings) for name in _names(settings)}
    return tuple(
        i
        for i in range(1, len(steps))
        if (resting[i - 1] and not resting[i])
        or any(
            abs(settings[i].get(name, 0.0) - settings[i - 1].get(name, 0.0)) > JUMP * max(1.0, most)
            for name, most in largest.items()
        )
    )


def _names(settings: list[dict[str, float]]) -> dict[str, None]:
    return dict.fromkeys(name for setting in settings for name in setting)


def settings_at(denoiser: SectionDenoiser, step: Step) -> dict[str, float]:
    """What a step's predictions depend on beside x and sigma, as numbers; a missing one is 0.

    The two scales of guidance, and where the negative prompt counts its rescale, and 1 for its projection; e^bias - 1 of
    each gated segment, the cap on the past and the scale of keys, both minus 1; the jitter of heads over JITTER; 1 for each
    prediction that techniques ask for; how far the packed past is from the section's own, relative to its size.
    """
    guidance = denoiser.guidance(step)
    settings = {"distilled": guidance.distilled, "cfg": guidance.cfg}
    if guidance.needs_negative:
        settings.update(rescale=guidance.rescale, zero_star=float(guidance.zero_star))
    settings.update(_attention_settings(denoiser.attention(step)))
    for prediction in denoiser.predictions(step, guidance):
        if prediction not in (POSITIVE, NEGATIVE):
            settings[f"prediction {prediction.name}"] = 1.0
    context = denoiser.context_at(step)
    if context is not denoiser.context:
        settings["past"] = _distance(denoiser.context, context)
    return settings


def _attention_settings(policy: AttentionPolicy | None) -> dict[str, float]:
    if policy is None:
        return {}
    numbers = policy.numbers
    settings = {f"weight {name}": exp(bias) - 1 for name, bias in numbers.biases.items()}
    settings.update({f"weight {name}": -1.0 for name in policy.dropped})
    if numbers.cap is not None:
        settings["cap"] = numbers.cap - 1
    if numbers.key_scale is not None:
        settings["key_scale"] = numbers.key_scale - 1
    if numbers.rope_jitter is not None:
        settings["rope_jitter"] = numbers.rope_jitter / JITTER
    for rule in policy.by_token:
        if rule.kind != "cap":
            settings[f"tokens by {rule.named_source}"] = (
                -1.0 if rule.bias is None else exp(rule.bias.item()) - 1
            )
    return settings


def _distance(own: Context, other: Context) -> float:
    """|other - own| / |own| over all latents and image tokens; 1 where other frames or tokens are packed."""
    if own.indices != other.indices or not (
        _equal(own.tokens, other.tokens) and _equal(own.kv_mask, other.kv_mask)
    ):
        return 1.0
    apart = size = 0.0
    for name in ("clean", "clean_2x", "clean_4x", "image_embeds"):
        before, after = getattr(own, name), getattr(other, name)
        if before is None:
            continue
        kept = after is not None and after.shape == before.shape
        size += before.float().square().sum().item()
        apart += (before.float() - (after.float() if kept else 0)).square().sum().item()
    return sqrt(apart / size) if size else float(apart > 0)


def _equal(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
