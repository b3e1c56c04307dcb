"""Ranges and defaults of the widgets that several nodes share; each node says what they mean to it."""

from __future__ import annotations

from ..samplers.context.plan import MAX_WINDOW

MAX_BLEND = 32  # sections
SECONDS = {"default": 5.0, "min": 0.1, "max": 600.0, "step": 0.1}
WINDOW = {"default": 9, "min": 1, "max": MAX_WINDOW}
STEPS = {"default": 25, "min": 1, "max": 1000}
DISTILLED_GUIDANCE = {"default": 10.0, "min": 0.0, "max": 100.0, "step": 0.1}
CFG = {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.1}
GUIDANCE_RESCALE = {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.05}
SHIFT = {"default": 0.0, "min": 0.0, "max": 100.0, "step": 0.1}
SEED = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}
