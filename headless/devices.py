"""Where the models of this process compute."""

from __future__ import annotations

import torch

from .workflows.errors import WorkflowError

DEVICE_HELP = (
    "where the model computes: cpu, cuda, cuda:1, mps or another device of torch ({default}); its VAE and encoders stay on "
    "the CPU"
)


def device_named(name: str) -> torch.device:
    """A device that torch has here; raises WorkflowError for another name, or where it has none of the kind."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise WorkflowError(
            f"--device is {name!r}, but torch cannot compute there ({reason}): leave it out for the CPU, or install a build "
            "of torch for the device."
        ) from error
    return device
