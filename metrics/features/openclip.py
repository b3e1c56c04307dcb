"""CLIP models through open_clip: from its registry with weights of this machine, or from a config and a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .base import as_frames, planes

MODELS_KEPT = 2
HUB_FILE = "open_clip_model.safetensors"
MODES = {"bilinear": "bilinear"}  # open_clip resizes with anything else bicubically


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A model, what turns texts into its tokens, and its preprocessing (size, mean, std, ...)."""

    model: Any
    tokenizer: Any
    preprocessing: Mapping[str, Any]


class OpenClipExtractor:
    """A CLIP of open_clip's registry with its own logit scale; texts are taken as they are, without templates.

    model: a name such as ViT-B-32. pretrained: one of its tags, whose weights must already be in the hub's cache
    on this machine (`cache_dir` names another one than the usual), or a .safetensors file. batch: frames encoded
    at once. Nothing is downloaded and nothing is unpickled. Models are loaded once for each name, weights and
    device; the last two stay in memory.
    Raises FileNotFoundError when there are no weights, ValueError when they cannot be used.
    """

    resolution = None

    def __init__(
        self,
        model: str = "ViT-B-32",
        pretrained: str | Path = "laion2b_s34b_b79k",
        device: str | torch.device = "cpu",
        *,
        batch: int = 32,
        cache_dir: str | Path | None = None,
        name: str = "",
    ) -> None:
        file, settings = _source(model, str(pretrained), cache_dir)
        version = (file.stat().st_mtime_ns, file.stat().st_size)
        self._loaded = _load(model, file, version, str(device), tuple(sorted(settings.items())))
        self.device, self.batch = torch.device(device), batch
        self.name = name or f"clip {model}/{Path(pretrained).stem if _is_file(pretrained) else pretrained}"
        self.logit_scale = math.exp(self._loaded.model.logit_scale.item())

    @classmethod
    def from_config(
        cls,
        config: str | Path,
        weights: str | Path,
        device: str | torch.device = "cpu",
        *,
        batch: int = 32,
        name: str = "",
    ) -> OpenClipExtractor:
        """A CLIP that open_clip's registry does not hold, from its description and its weights.

        config: open_clip's own JSON (embed_dim, vision_cfg, text_cfg); its file name without .json becomes the
        model's name. weights: a .safetensors file. Raises FileNotFoundError and ValueError as the class does.
        """
        import open_clip  # takes seconds

        config = Path(config).resolve()
        if not config.is_file():
            raise FileNotFoundError(f"the model description {config.name} does not exist at {config.parent}.")
        open_clip.add_model_config(config)
        if open_clip.get_model_config(config.stem) is None:
            raise ValueError(
                f"{config.name} is no open_clip config: embed_dim, vision_cfg, text_cfg are needed."
            )
        return cls(config.stem, weights, device, batch=batch, name=name)

    @torch.inference_mode()
    def images(self, frames: Any) -> NDArray[np.float32]:
        """Features [N,D] of frames [N,H,W,3], prepared as open_clip prepares pictures."""
        parts = []
        for part in as_frames(frames).split(self.batch):
            prepared = prepare(planes(part.to(self.device)), self._loaded.preprocessing)
            parts.append(self._loaded.model.encode_image(prepared).float().cpu())
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features [M,D] of texts; what does not fit into the model's context is cut off."""
        tokens = self._loaded.tokenizer(list(texts)).to(self.device)
        return self._loaded.model.encode_text(tokens).float().cpu().numpy()


def prepare(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Do to images [N,3,H,W] in 0..1 what open_clip's transform does to pictures: resize, crop, normalise.

    preprocessing: open_clip's own (size, mean, std, interpolation, resize_mode, fill_color). Its resizing works
    on 8 bits; here the result is rounded to them once.
    """
    size = preprocessing["size"]
    height, width = size if isinstance(size, Sequence) else (size, size)
    target = _resized(images.shape[-2:], (height, width), preprocessing["resize_mode"])
    if images.shape[-2:] != target:
        mode = MODES.get(preprocessing["interpolation"], "bicubic")
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
        return tuple(size[0] if side == short else int(size[0] * side / short) for side in shape)
    ratio = max(ratios) if mode == "longest" else min(ratios)
    return tuple(round(side / ratio) for side in shape)


def _centred(images: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """Crop or pad images [N,3,H,W] around their centre."""
    missing = [max(wanted - side, 0) for wanted, side in zip(size, images.shape[-2:])]
    if any(missing):
        top, left = (part // 2 for part in missing)
        images = F.pad(images, (left, missing[1] - left, top, missing[0] - top), value=fill)
    top, left = (round((side - wanted) / 2) for side, wanted in zip(images.shape[-2:], size))
    return images[..., top : top + size[0], left : left + size[1]]


def _is_file(pretrained: str | Path) -> bool:
    return Path(pretrained).suffix != "" or Path(pretrained).is_file()


def _source(model: str, pretrained: str, cache_dir: str | Path | None) -> tuple[Path, dict[str, Any]]:
    """The file of the weights, and the settings that open_clip knows for a tag but not for a file."""
    import open_clip

    config = open_clip.get_model_config(model) if ":" not in model else None
    if config is None:
        near = get_close_matches(model, open_clip.list_models()) or open_clip.list_models()
        raise ValueError(f"open_clip has no model {model!r}: take for example {', '.join(near[:3])}.")
    if "hf_model_name" in config["text_cfg"]:
        raise ValueError(
            f"{model} takes its text tower from a hub, and nothing is downloaded here: take another model."
        )
    if _is_file(pretrained):
        return _local_file(Path(pretrained)), {}
    return _cached_file(model, pretrained, cache_dir)


def _local_file(file: Path) -> Path:
    if file.suffix != ".safetensors":
        raise ValueError(
            f"{file.name} is no .safetensors file, and other formats can run code when they are read: "
            "convert it with safetensors.torch.save_file on a machine where you trust it."
        )
    if not file.is_file():
        raise FileNotFoundError(f"the weights {file} do not exist: correct the path, or give a tag.")
    return file.resolve()


def _cached_file(model: str, tag: str, cache_dir: str | Path | None) -> tuple[Path, dict[str, Any]]:
    import open_clip
    from open_clip.pretrained import hf_hub_download

    known = open_clip.get_pretrained_cfg(model, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise ValueError(
            f"{model} has no weights {tag!r}; there are: {tags}. A file must end in .safetensors."
        )
    repository, _, name = known.get("hf_hub", "").rpartition("/")
    # A repository may hold pickled weights beside safe ones: only the safe ones are looked for.
    for candidate in dict.fromkeys([*([Path(name).stem + ".safetensors"] if name else []), HUB_FILE]):
        try:
            file = hf_hub_download(repository, candidate, cache_dir=cache_dir, local_files_only=True)
        except (OSError, ValueError):
            continue
        settings = {"quick_gelu": bool(known.get("quick_gelu"))}
        keys = ("mean", "std", "interpolation", "resize_mode")
        return Path(file), settings | {key: known[key] for key in keys if known.get(key) is not None}
    raise FileNotFoundError(
        f"the weights {tag} of {model} are not on this machine as a .safetensors file, and nothing is downloaded "
        "here. Run this once where there is a network: python -c "
        f"\"import open_clip; open_clip.create_model('{model}', '{tag}')\" - or give a .safetensors file, or use "
        "other features (pixel, tiny)."
    )


@lru_cache(maxsize=MODELS_KEPT)
def _load(
    model: str, file: Path, version: tuple[int, int], device: str, settings: tuple[tuple[str, Any], ...]
) -> _Loaded:
    """Build a model; `version` makes a file that was written anew another one."""
    import open_clip

    given = dict(settings)
    try:
        with safe_open(file, "pt"):
            pass
        loaded, _, _ = open_clip.create_model_and_transforms(
            model,
            pretrained=str(file),
            device=device,
            force_quick_gelu=given.get("quick_gelu", False),
            image_mean=given.get("mean"),
            image_std=given.get("std"),
            image_interpolation=given.get("interpolation"),
            image_resize_mode=given.get("resize_mode"),
        )
    except SafetensorError as error:
        raise ValueError(f"{file.name} is broken ({error}): copy or download it again.") from error
    except RuntimeError as error:
        if "load" not in str(error):
            raise
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"{file.name} does not hold weights of {model}: {detail}") from error
    return _Loaded(loaded.eval(), _tokenizer(model), open_clip.get_model_preprocess_cfg(loaded))


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
