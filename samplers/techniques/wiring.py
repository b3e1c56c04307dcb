"""Techniques on a MODEL: how nodes put them there, with the objects that they need, and how the sampler finds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...models.attention.blocks import block_set, check_blocks
from ...models.config import FramePackConfig
from .base import AttachmentKey, Technique

OPTION = "framepack_techniques"


def techniques_of(model_options: dict[str, Any]) -> tuple[Technique, ...]:
    """The techniques on a MODEL in wired order."""
    return tuple(model_options.get("transformer_options", {}).get(OPTION, ()))


def framepack_config(model: Any) -> FramePackConfig:
    """The architecture of a MODEL. Raises ValueError for one that is no FramePack model."""
    config = getattr(getattr(model.model, "diffusion_model", None), "config", None)
    if not isinstance(config, FramePackConfig):
        raise ValueError(
            f"model is a {type(model.model).__name__}, not a FramePack model; load the file with FramePack "
            "Model Loader, and wire technique nodes after it."
        )
    return config


def with_technique(model: Any, technique: Technique, **objects: Any) -> Any:
    """A clone of a MODEL with one technique more.

    `objects` that are not None are attached to the clone; the technique's field of the same name becomes the key. Raises
    ValueError for a model of another kind, or one that lacks the technique's blocks, and TypeError for an object that
    the technique has no such field for.
    """
    if unknown := objects.keys() - technique.attachment_names():
        raise TypeError(f"{type(technique).__name__} has no field for an attached {min(unknown)}.")
    check_blocks(block_set(getattr(technique, "blocks", "")), framepack_config(model))
    clone = model.clone()
    options = clone.model_options["transformer_options"]
    wired = options.get(OPTION, ())
    keys: dict[str, Any] = {}
    for name, value in objects.items():
        if value is not None:
            keys[name] = AttachmentKey(f"{OPTION}/{len(wired)}/{name}")
            clone.attachments[keys[name]] = value
    options[OPTION] = [*wired, replace(technique, **keys)]
    return clone
