"""A CLIP of open_clip in memory: loading, and preparing pictures as open_clip's transform does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .frames import as_frames, planes

MODELS_KEPT = 2
MORE = 8  # tokens, of a context in which a text that is cut off is seen to go on
INTERPOLATIONS = {"bilinear": "bilinear"}  # open_clip resizes with anything else bicubically


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A CLIP that is ready to encode.

    model: open_clip's module, in evaluation mode.
    tokenizer: turns texts into its tokens.
    preprocessing: open_clip's description of how pictures are prepared (size, mean, std, ...).
    device: where the model is.
    """

    model: Any
    tokenizer: Any
    preprocessing: Mapping[str, Any]
    device: torch.device

    @torch.inference_mode()
    def images(self, frames: Any, batch: int) -> NDArray[np.float32]:
        """Features [N,D] of frames [N,H,W,3], `batch` of them at once."""
        parts = []
        for part in torch.split(as_frames(frames), batch):
            prepared = prepare(planes(part.to(self.device)), self.preprocessing)
            parts.append(self.model.encode_image(prepared).float().cpu())
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features [M,D] of texts; what does not fit into the model's context is cut off."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        features: NDArray[np.float32] = self.model.encode_text(tokens).float().cpu().numpy()
        return features

    def is_cut(self, text: str) -> bool:
        """Whether a text has more tokens than the model reads: what it has in a longer context is then no padding."""
        length = self.tokenizer.context_length
        beyond, empty = (
            self.tokenizer([read], context_length=length + MORE)[0, length:] for read in (text, "")
        )
        return not torch.equal(beyond, empty)


@lru_cache(maxsize=MODELS_KEPT)
def load(
    model: str,
    file: Path,
    *,
    version: tuple[int, int],
    device: str,
    settings: tuple[tuple[str, Any], ...],
) -> ClipModel:
    """Load a CLIP, or take it from those that are kept.

    model: open_clip's name. file: its weights. version: time and size of the file, so that one that was written anew
    is loaded anew. settings: pairs of quick_gelu, mean, std, interpolation, resize_mode where they differ from the
    model's own. Raises ValueError for a file that does not hold the model.
    """
    import open_clip

    known = dict(settings)
    try:
        with safe_open(file, "pt"):
            pass
        loaded, _, _ = open_clip.create_model_and_transforms(
            model,
            pretrained=str(file),
            device=device,
            force_quick_gelu=known.get("quick_gelu", False),
            image_mean=known.get("mean"),
            image_std=known.get("std"),
            image_interpolation=known.get("interpolation"),
            image_resize_mode=known.get("resize_mode"),
        )
    except SafetensorError as error:
        raise ValueError(f"{file.name} is broken ({error}): copy or download it again.") from error
    except RuntimeError as error:
        if "load" not in str(error):
            raise
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"{file.name} does not hold weights of {model}: {detail}") from error
    return ClipModel(
        loaded.eval(), _tokenizer(model), open_clip.get_model_preprocess_cfg(loaded), torch.device(device)
    )


def _tokenizer(model: str) -> Any:
    """The model's tokenizer; one that lies in a hub is read from this machine's cache only."""
    import open_clip

    if "hf_tokenizer_name" not in open_clip.get_model_config(model)["text_cfg"]:
        return open_clip.get_tokenizer(model)
    try:
        return open_clip.get_tokenizer(model, local_files_only=True)
    except (OSError, ImportError) as error:
        raise FileNotFoundError(
            f"the tokenizer of {model} is not on this machine, and nothing is downloaded here. Run this once where "
            f"there is a network: python -c \"import open_clip; open_clip.get_tokenizer('{model}')\""
        ) from error


def prepare(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Do to images [N,3,H,W] in 0..1 what open_clip's transform does to pictures: resize, crop, normalise.

    preprocessing: open_clip's own (size, mean, std, interpolation, resize_mode, fill_color). Its resizing works
    on 8 bits; here the result is rounded to them once.
    """
    size = preprocessing["size"]
    height, width = size if isinstance(size, Sequence) else (size, size)
    target = _resized(images.shape[-2:], (height, width), preprocessing["resize_mode"])
    if images.shape[-2:] != target:
        mode = INTERPOLATIONS.get(preprocessing["interpolation"], "bicubic")
        images = F.interpolate(images, size=target, mode=mode, antialias=True)
    images = (images * 255).round().clamp(0, 255) / 255
    images = _centred(images, (height, width), preprocessing.get("fill_color", 0) / 255)
    mean, std = (images.new_tensor(preprocessing[key])[:, None, None] for key in ("mean", "std"))
    return (images - mean) / std


def _resized(shape: Sequence[int], size: tuple[int, int], mode: str) -> tuple[int, int]:
    """The height and width that a picture is resized to before it is cropped or padded."""
    if mode == "squash":
        return size
    ratios = [side / wanted for side, wanted in zip(shape, size)]
    if mode == "shortest" and size[0] == size[1]:  # torchvision's rule, which rounds down
        short = min(shape)
        height, width = (size[0] if side == short else int(size[0] * side / short) for side in shape)
        return height, width
    ratio = max(ratios) if mode == "longest" else min(ratios)
    height, width = (round(side / ratio) for side in shape)
    return height, width


def _centred(images: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """Crop or pad images [N,3,H,W] around their centre."""
    missing = [max(wanted - side, 0) for wanted, side in zip(size, images.shape[-2:])]
    if any(missing):
        top, left = (part // 2 for part in missing)
        images = F.pad(images, (left, missing[1] - left, top, missing[0] - top), value=fill)
    top, left = (round((side - wanted) / 2) for side, wanted in zip(images.shape[-2:], size))
    return images[..., top : top + size[0], left : left + size[1]]
