"""RAFT as an estimator of optical flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Raft:
    """RAFT (Teed and Deng 2020, arXiv 2003.12039) through torchvision, with weights from a local file.

    weights: a .safetensors file with the state dict of torchvision's raft_small or raft_large.
    Raises FileNotFoundError or ValueError for the file.
    """

    side = 256

    def __init__(
        self, weights: str | Path, variant: str = "small", device: str | torch.device = "cpu"
    ) -> None:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from torchvision.models.optical_flow import raft_large, raft_small

        builders = {"small": raft_small, "large": raft_large}
        if variant not in builders:
            raise ValueError(f"RAFT has no variant {variant!r}: take small or large.")
        model, self.name, self.device = builders[variant](), f"RAFT {variant}", torch.device(device)
        file = Path(weights)
        remedy = f"write the state dict of torchvision's raft_{variant} with safetensors.torch.save_file"
        if file.suffix != ".safetensors" or not file.is_file():
            raise FileNotFoundError(f"RAFT needs a .safetensors file, {file} is none: {remedy}.")
        try:
            model.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            detail = " ".join(str(error).split())[:200]
            raise ValueError(f"{file.name} does not hold RAFT {variant} ({detail}): {remedy}.") from error
        self.model = model.to(device).eval()

    def displacement(self, first: Tensor, second: Tensor) -> Tensor:
        """Displacement [N,2,h,w] in px, x before y, from first to second, both [N,3,h,w] in 0..1."""
        import torch
        import torch.nn.functional as F

        height, width = first.shape[-2:]
        # RAFT takes multiples of 8 from 128 px on.
        size = tuple(max(8 * round(side / 8), 128) for side in (height, width))
        pair = [
            F.interpolate(images.to(self.device), size=size, mode="bilinear", antialias=True) * 2 - 1
            for images in (first, second)
        ]
        with torch.inference_mode():
            found = self.model(*pair)[-1]
        flow = F.interpolate(found, size=(height, width), mode="bilinear", antialias=True)
        return flow * flow.new_tensor([width / size[1], height / size[0]])[:, None, None]
