"""The learned perceptual distance LPIPS, where its library and weights are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Perceptual(Protocol):
    """A distance of pictures; `name` is what reports call it."""

    @property
    def name(self) -> str: ...

    def distance(self, first: Tensor, second: Tensor) -> NDArray[np.float32]:
        """Distances [N] between images [N,3,h,w] in 0..1."""


class Lpips:
    """LPIPS (Zhang et al. 2018, arXiv 1801.03924) through the library `lpips`, version 0.1.

    weights: a .safetensors file with the state dict of lpips.LPIPS(net=net); the library itself would download
    a part of them and unpickle the rest. net: alex, vgg or squeeze.
    Raises ModuleNotFoundError without the library, FileNotFoundError or ValueError for the file.
    """

    def __init__(self, weights: str | Path, net: str = "alex", device: str | torch.device = "cpu") -> None:
        try:
            import lpips
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "LPIPS needs the library lpips, which is not installed: run `python -m pip install lpips`, or "
                "leave `perceptual` out, then distances of features take its place."
            ) from error
        model = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, verbose=False)
        _fill(model, Path(weights), net)
        self.model, self.device, self.name = model.to(device).eval(), device, f"LPIPS {net}"

    def distance(self, first: Tensor, second: Tensor) -> NDArray[np.float32]:
        """Distances [N] between images [N,3,h,w] in 0..1; raises ValueError when they are under 32 px."""
        if min(first.shape[-2:]) < 32:
            height, width = first.shape[-2:]
            raise ValueError(f"LPIPS needs pictures of 32 px or more a side, but got {height}x{width}.")
        import torch

        with torch.inference_mode():
            distances = self.model(first.to(self.device), second.to(self.device), normalize=True)
        result: NDArray[np.float32] = distances.flatten().float().cpu().numpy()
        return result


def _fill(model: Any, file: Path, net: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    remedy = (
        "where there is a network, write it with safetensors.torch.save_model("
        f"lpips.LPIPS(net='{net}'), '{file.stem}.safetensors')"
    )
    if file.suffix != ".safetensors" or not file.is_file():
        raise FileNotFoundError(f"LPIPS needs a .safetensors file, {file} is none: {remedy}.")
    try:
        load_model(model, file)
    except SafetensorError as error:
        raise ValueError(f"{file.name} is broken ({error}): {remedy}.") from error
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"{file.name} does not hold LPIPS of {net} ({detail}): {remedy}.") from error
