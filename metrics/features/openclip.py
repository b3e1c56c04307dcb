"""CLIP models through open_clip: from its registry with weights of this machine, or from a config and a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

HUB_FILE = "open_clip_model.safetensors"


class OpenClipExtractor:
    """A CLIP of open_clip's registry with its own logit scale; texts are taken as they are, without templates.

    model: a name such as ViT-B-32. pretrained: one of its tags, whose weights must already be in the hub's cache
    on this machine (`cache_dir` names another one than the usual), or a .safetensors file. batch: frames encoded
    at once. Nothing is downloaded and nothing is unpickled. Models are loaded once for each name, weights and
    device; the last two stay in memory.
    Raises FileNotFoundError when there are no weights, ValueError when they cannot be used.
    """

    resolution: int | None = None

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
        from .clip_model import load

        file, settings = _source(model, str(pretrained), cache_dir)
        version = (file.stat().st_mtime_ns, file.stat().st_size)
        self._clip = load(
            model, file, version=version, device=str(device), settings=tuple(sorted(settings.items()))
        )
        self.batch = batch
        self.name = name or f"clip {model}/{Path(pretrained).stem if _is_file(pretrained) else pretrained}"
        self.logit_scale = math.exp(self._clip.model.logit_scale.item())

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

    def images(self, frames: Any) -> NDArray[np.float32]:
        """Features [N,D] of frames [N,H,W,3], prepared as open_clip prepares pictures."""
        return self._clip.images(frames, self.batch)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features [M,D] of texts; what does not fit into the model's context is cut off."""
        return self._clip.texts(texts)

    def truncated(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that are longer than the model's context, and are cut off there."""
        return [text for text in texts if self._clip.is_cut(text)]


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
