"""On what something was measured."""

from __future__ import annotations

import platform
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .timing import clock_for

CPU_INFO = Path("/proc/cpuinfo")


def machine(device: torch.device) -> dict[str, str | int]:
    """The machine, its threads, the versions and the day."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "clock": "processor time" if clock_for(device) is time.process_time else "wall",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "diffusers", "framepack-transitions")},
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
