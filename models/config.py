"""What a FramePack transformer looks like: the fields of diffusers' configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any

METADATA_KEY = "framepack_config"

# (rope axes in frames, rows, columns) by head dimension, where a published model settles them.
KNOWN_ROPE_AXES = {128: (16, 56, 56)}


@dataclass(frozen=True, kw_only=True)
class FramePackConfig:
    """Shape of a FramePack transformer; the defaults are the published 13B model.

    Raises ValueError for a shape that the network cannot have. Names: diffusers'
    HunyuanVideoFramepackTransformer3DModel.
    """

    in_channels: int = 16
    out_channels: int = 16
    num_attention_heads: int = 24
    attention_head_dim: int = 128
    num_layers: int = 20
    num_single_layers: int = 40
    num_refiner_layers: int = 2
    mlp_ratio: float = 4.0
    patch_size: int = 2
    patch_size_t: int = 1
    qk_norm: str = "rms_norm"
    guidance_embeds: bool = True
    text_embed_dim: int = 4096
    pooled_projection_dim: int = 768
    rope_theta: float = 256.0
    rope_axes_dim: tuple[int, ...] = (16, 56, 56)
    image_condition_type: str | None = None
    has_image_proj: bool = True
    image_proj_dim: int = 1152
    has_clean_x_embedder: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "rope_axes_dim", tuple(self.rope_axes_dim))
        if len(self.rope_axes_dim) != 3 or any(axis % 2 for axis in self.rope_axes_dim):
            raise ValueError(f"rope_axes_dim must be three even numbers, got {self.rope_axes_dim}")
        if self.num_attention_heads == 0:
            raise ValueError("num_attention_heads is 0; a network needs at least one")
        if sum(self.rope_axes_dim) != self.attention_head_dim:
            raise ValueError(
                f"rope_axes_dim {self.rope_axes_dim} sums to {sum(self.rope_axes_dim)}, "
                f"but attention_head_dim is {self.attention_head_dim}; they must be equal"
            )
        if (self.patch_size_t, self.patch_size) != (1, 2):
            raise ValueError(f"FramePack's patch is 1x2x2, got {self.patch_size_t}, {self.patch_size}")
        if self.qk_norm != "rms_norm":
            raise ValueError(f"FramePack's qk_norm is 'rms_norm', got {self.qk_norm!r}")
        if self.image_condition_type is not None:
            raise ValueError(f"FramePack has no image_condition_type, got {self.image_condition_type!r}")

    @property
    def inner_dim(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def mlp_dim(self) -> int:
        # Rounded first: a ratio that was read off a weight may fall a hair short of a whole number.
        return int(round(self.inner_dim * self.mlp_ratio, 6))

    def to_json(self) -> str:
        """The fields as a JSON object, for a safetensors header."""
        return json.dumps(asdict(self))

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> FramePackConfig:
        """A config from a mapping of fields; names that begin with "_" (diffusers' own) are skipped."""
        given = {name: value for name, value in values.items() if not name.startswith("_")}
        unknown = sorted(set(given) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown FramePack config fields: {', '.join(unknown)}")
        return cls(**given)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> FramePackConfig | None:
        """The config that metadata states as JSON under "framepack_config"; None where it does not."""
        text = metadata.get(METADATA_KEY)
        return None if text is None else cls.from_fields(parse_fields(text))

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Any], metadata: Mapping[str, str] | None = None
    ) -> FramePackConfig:
        """The config of a state dict, given as tensors or as shapes, under diffusers' key names.

        What the metadata states (see from_metadata) has precedence; raises ValueError where the shapes
        disagree with it, or where they leave the config open.
        """
        shapes = {key: tuple(getattr(value, "shape", value)) for key, value in state_dict.items()}
        found = infer_fields(shapes)
        config = cls.from_metadata(metadata or {})
        if config is None:
            return cls(**found, rope_axes_dim=known_rope_axes(found))
        check_agreement(config, found)
        return config


# Far above every published model: what is larger is no model but a broken or hostile file.
LARGEST = 10**6


def check_types(config: FramePackConfig) -> None:
    """Raises ValueError for a field that is no number of its kind, or one that no network can have."""
    for field in fields(config):
        value, kind = getattr(config, field.name), type(field.default)
        if kind is int and not (type(value) is int and 0 <= value <= LARGEST):
            raise ValueError(f"{field.name} must be a whole number from 0 to {LARGEST}, got {value!r}")
        if kind is float and not (type(value) in (int, float) and 0 < value <= LARGEST):
            raise ValueError(f"{field.name} must be a number above 0 and at most {LARGEST}, got {value!r}")
        if kind is bool and type(value) is not bool:
            raise ValueError(f"{field.name} must be true or false, got {value!r}")
    axes: Any = config.rope_axes_dim
    if not (isinstance(axes, (tuple, list)) and all(type(axis) is int and axis > 0 for axis in axes)):
        raise ValueError(f"rope_axes_dim must be three even numbers, got {axes!r}")


def infer_fields(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The config fields that the shapes of a state dict tell, without those whose keys are all missing."""
    inner = first_size(shapes, 0, "x_embedder.proj.weight", "context_embedder.proj_in.weight")
    head = first_size(shapes, 0, *ending(shapes, ".norm_q.weight", ".norm_k.weight"))
    channels = first_size(shapes, 1, "x_embedder.proj.weight", "clean_x_embedder.proj.weight")
    mlp = first_size(shapes, 0, *ending(shapes, ".ff_context.net.0.proj.weight", ".proj_mlp.weight"))
    found = {
        "in_channels": channels,
        "attention_head_dim": head,
        "num_attention_heads": inner // head if inner and head else None,
        "num_layers": count_blocks(shapes, "transformer_blocks"),
        "num_single_layers": count_blocks(shapes, "single_transformer_blocks"),
        "num_refiner_layers": count_blocks(shapes, "context_embedder.token_refiner.refiner_blocks"),
        "mlp_ratio": mlp / inner if mlp and inner else None,
        "guidance_embeds": holds(shapes, "time_text_embed.guidance_embedder."),
        "text_embed_dim": first_size(
            shapes, 1,
            "context_embedder.proj_in.weight",
            "context_embedder.time_text_embed.text_embedder.linear_1.weight",
        ),
        "pooled_projection_dim": first_size(shapes, 1, "time_text_embed.text_embedder.linear_1.weight"),
        "has_image_proj": holds(shapes, "image_projection."),
        "image_proj_dim": first_size(shapes, 1, "image_projection.up.weight"),
        "has_clean_x_embedder": holds(shapes, "clean_x_embedder."),
    }  # fmt: skip
    found.update(infer_output(shapes, channels))
    return {name: value for name, value in found.items() if value is not None}


def infer_output(shapes: Mapping[str, tuple[int, ...]], in_channels: int | None) -> dict[str, int | None]:
    """The patch, from the kernel of the input, and with it the channels of the output."""
    kernel = shapes.get("x_embedder.proj.weight", ())[2:]
    rows = first_size(shapes, 0, "proj_out.weight", "proj_out.bias")
    if len(kernel) != 3:
        return {"out_channels": in_channels}
    channels = rows // prod(kernel) if rows else in_channels
    return {"patch_size_t": kernel[0], "patch_size": kernel[1], "out_channels": channels}


def first_size(shapes: Mapping[str, tuple[int, ...]], axis: int, *keys: str) -> int | None:
    """The size along `axis` of the first of `keys` that exists and has such an axis."""
    return next((shapes[key][axis] for key in keys if len(shapes.get(key, ())) > axis), None)


def holds(keys: Iterable[str], prefix: str) -> bool | None:
    """True or None: what every published model has counts as missing, not as another model."""
    return any(key.startswith(prefix) for key in keys) or None


def ending(keys: Iterable[str], *suffixes: str) -> list[str]:
    """The keys that end with one of the suffixes."""
    return [key for key in keys if key.endswith(suffixes)]


def count_blocks(keys: Iterable[str], stack: str) -> int:
    """One more than the largest block index under `stack`."""
    pattern = re.compile(rf"{re.escape(stack)}\.(\d+)\.")
    return max((int(match[1]) + 1 for match in map(pattern.match, keys) if match), default=0)


def known_rope_axes(found: Mapping[str, Any]) -> tuple[int, ...]:
    """The rope axes of a published head dimension; raises ValueError for any other."""
    head = found.get("attention_head_dim", FramePackConfig.attention_head_dim)
    if head not in KNOWN_ROPE_AXES:
        raise ValueError(
            f"the rope axes of head dimension {head} are not known (known: {sorted(KNOWN_ROPE_AXES)}); "
            f"save the config as {METADATA_KEY!r} in the file's metadata"
        )
    return KNOWN_ROPE_AXES[head]


def parse_fields(text: str) -> dict[str, Any]:
    """The fields of a configuration from JSON text; raises ValueError when it is no JSON object."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{METADATA_KEY} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{METADATA_KEY} must be a JSON object, got {type(values).__name__}")
    return values


def check_agreement(config: FramePackConfig, found: Mapping[str, Any]) -> None:
    """Raises ValueError naming every field in which the stated config and the shapes disagree."""
    stated = {**asdict(config), "mlp_ratio": config.mlp_dim / config.inner_dim}
    differing = [
        f"{name} {stated[name]} (weights: {value})" for name, value in found.items() if stated[name] != value
    ]
    if differing:
        raise ValueError(f"{METADATA_KEY} does not fit the weights: {', '.join(differing)}")
