"""What the pack asks of ComfyUI's step caches, EasyCache and LazyCache, so that they fit a section of FramePack."""

from __future__ import annotations

from math import ceil, inf
from typing import Any
from uuid import UUID

from torch import Tensor

# The part of a section's steps, from the first on, in which LazyCache may skip.
LAZY_CACHE_SHARE = 0.75


def limit_lazy_cache(model_options: dict[str, Any], sigmas: Tensor) -> None:
    """Keep LazyCache from skipping the last quarter of a section's steps, unless its end_percent is 1.

    It reuses x0 - x, which is sigma times the velocity; late steps halve sigma, so that the reused difference is twice too
    large. EasyCache reuses the velocity itself. sigmas [steps + 1].
    """
    cache = model_options["transformer_options"].get("easycache")
    if getattr(cache, "name", None) != "LazyCache" or cache.end_percent >= 1:
        return
    last = sigmas[ceil(LAZY_CACHE_SHARE * (len(sigmas) - 1))]
    cache.end_t = max(cache.end_t, float(last))


def fill_easy_cache(model_options: dict[str, Any], before: frozenset[UUID], now: frozenset[UUID]) -> None:
    """Make EasyCache evaluate a step that predicts something that the step before did not predict.

    before, now: the conditionings of the two steps.
    """
    cache = model_options["transformer_options"].get("easycache")
    if getattr(cache, "uuid_cache_diffs", None) and not now <= before:
        cache.cumulative_change_rate = inf
