"""What beside its inputs decides on a result: code, versions, device, precision."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACK = Path(__file__).resolve().parents[2]
ROOMS = ("models", "samplers", "tiny", "video")
PACKAGES = ("framepack-transitions", "numpy", "xformers", "sageattention", "flash-attn", "triton")
# Options of ComfyUI's command line that change how numbers are computed.
HOST_OPTIONS = re.compile(r"fp\d|bf16|force_|use_|fast|deterministic|dont_upcast|supports_fp8")
PRECISION = (
    "cuda.matmul.allow_tf32",
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
    "cudnn.enabled",
    "cudnn.allow_tf32",
    "cudnn.benchmark",
    "cudnn.deterministic",
    "mkldnn.enabled",
)


def source_of(*rooms: str) -> str:
    """A digest of the contents of all source files of some of the pack's folders."""
    hasher = hashlib.blake2b(digest_size=32)
    for file in sorted(file for room in rooms for file in (PACK / room).rglob("*.py")):
        data = file.read_bytes()
        hasher.update(f"{file.relative_to(PACK).as_posix()} {len(data)} ".encode())
        hasher.update(data)
    return hasher.hexdigest()


# Read when the code is: files that are replaced later are not what runs.
SOURCE = source_of(*ROOMS)


def environment(device: torch.device) -> dict[str, Any]:
    """All of it for a computation on `device`, by name."""
    return {
        "source": SOURCE,
        "versions": versions(),
        "device": device_name(device),
        "precision": precision(),
        "attention": attention_back_ends(),
        "threads": torch.get_num_threads(),
        "host options": host_options(),
    }


def versions() -> dict[str, str | None]:
    """The versions of Python, PyTorch, the host and the pack, and of packages that compute attention."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "host": _host_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def _host_version() -> str | None:
    """ComfyUI's version; None outside of it."""
    if "comfy.model_patcher" not in sys.modules:
        return None
    try:
        from comfyui_version import __version__
    except ImportError:  # a host that does not say it
        return "unknown"
    return str(__version__)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def device_name(device: torch.device) -> list[str]:
    """The kind of device and of the chip, and what the CPU can do."""
    names = [device.type, platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return [*names, torch.cuda.get_device_name(device)] if device.type == "cuda" else names


def precision() -> dict[str, Any]:
    """PyTorch's switches that trade precision for speed."""
    flags = {name: _flag(name) for name in PRECISION}
    return {
        **flags,
        "float32 matmul": torch.get_float32_matmul_precision(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _flag(name: str) -> Any:
    value: Any = torch.backends
    try:
        for part in name.split("."):
            value = getattr(value, part)
    except (AttributeError, RuntimeError) as error:  # not in this version, or set in another way
        return type(error).__name__
    return value


def attention_back_ends() -> dict[str, Any]:
    """What computes attention: PyTorch's back ends that may be used, and the host's choice."""
    backends = ("flash", "mem_efficient", "math", "cudnn")
    allowed = {name: _flag(f"cuda.{name}_sdp_enabled") for name in backends}
    module = sys.modules.get("comfy.ldm.modules.attention")
    chosen = getattr(module, "optimized_attention", None)
    return {
        **{name: _called(flag) for name, flag in allowed.items()},
        "host": getattr(chosen, "__name__", None),
    }


def _called(flag: Any) -> Any:
    return flag() if callable(flag) else flag


def host_options() -> dict[str, Any]:
    """The options of ComfyUI's command line that change how numbers are computed; none outside of it."""
    options = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    return {
        name: value
        if value is None or isinstance(value, bool | int | float | str)
        else sorted(map(str, value))
        for name, value in (vars(options) if options is not None else {}).items()
        if HOST_OPTIONS.match(name)
    }
