"""Two ways to run a section on a model: by direct calls, or inside ComfyUI through a CFGGuider."""

from __future__ import annotations

from typing import Any

from ....models.plain import PlainModel
from .base import Driver, OnProgress, SectionTask
from .plain import PlainDriver

__all__ = ["Driver", "OnProgress", "PlainDriver", "SectionTask", "driver_for"]


def driver_for(model: Any) -> Driver:
    """The driver for a MODEL: plain for the headless stand-in, the host's for anything else."""
    if isinstance(model, PlainModel):
        return PlainDriver(model)
    from .host import HostDriver

    return HostDriver(model)
