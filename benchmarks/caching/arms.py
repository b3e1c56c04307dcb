"""What the study of step caches compares: the uncached sampler, the pack's cache in its modes, and ComfyUI's own caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ...samplers.techniques.base import Technique
from ...samplers.techniques.presets import PRESETS
from ...samplers.techniques.schedule.step_cache import StepCache
from ...samplers.techniques.wiring import with_technique

# The embedded model's ratios at the study's 12 steps, measured on episodes of seeds 0 to 3.
TINY_MAGNITUDES = "0.949, 0.950, 0.961, 0.945, 0.950, 0.945, 0.942, 0.926, 0.905, 0.871, 0.794"


@dataclass(frozen=True)
class CacheArm:
    """One row of the study.

    name: what the table calls it.
    cache: the pack's step cache; None for none.
    host: the name of a node of ComfyUI that is put behind the techniques, with its threshold; None for none.
    """

    name: str
    cache: StepCache | None = None
    host: tuple[str, float] | None = None

    def model(self, model: Any) -> Any:
        """A clone of the MODEL with the preset balanced and the cache."""
        techniques: tuple[Technique, ...] = (*PRESETS["balanced"], *([self.cache] if self.cache else ()))
        for technique in techniques:
            model = with_technique(model, technique)
        return model if self.host is None else _behind_node(model, *self.host)


def _behind_node(model: Any, name: str, threshold: float) -> Any:
    """The MODEL behind EasyCache or LazyCache with their other settings as they come; in ComfyUI alone."""
    execute: Callable[..., Any] = getattr(
        import_module("comfy_extras.nodes_easycache"), f"{name}Node"
    ).execute
    return execute(model, threshold, 0.15, 0.95, False).args[0]


UNCACHED = CacheArm("uncached")
OWN = (
    CacheArm("history 0.2 (default)", StepCache()),
    CacheArm("history 0.25", StepCache(threshold=0.25)),
    CacheArm("history 0.2, switch cached too", StepCache(dense=0)),
    CacheArm("history 0.2, no correction", StepCache(correction="none")),
    CacheArm("history 0.2, recorded", StepCache(correction="recorded")),
    CacheArm("magcache 0.2", StepCache(mode="magcache", threshold=0.2, magnitudes=TINY_MAGNITUDES)),
    CacheArm("teacache 0.3", StepCache(mode="teacache", threshold=0.3)),
    CacheArm("first_block 0.25", StepCache(mode="first_block", threshold=0.25)),
)
# ComfyUI's own, at the thresholds with which they save most in untreated sections without losing more.
HOST = (
    CacheArm("EasyCache 0.3", host=("EasyCache", 0.3)),
    CacheArm("LazyCache 0.6", host=("LazyCache", 0.6)),
)
