"""LoRA files in every name style in use, written down without the pack's own tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from framepack_transitions.models.config import FramePackConfig
from torch import Tensor

Factors = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Style:
    """How a trainer writes the name of a layer, and the ends of its keys."""

    layer: Callable[[str], str]
    down: str = "lora_A.weight"
    up: str = "lora_B.weight"
    alpha: bool = False

    def write(self, factors: Factors, alpha: float | None = None) -> dict[str, Tensor]:
        """A file of (down, up) by layer; alpha stands in it where the style has one."""
        tensors = {}
        for layer, (down, up) in factors.items():
            name = self.layer(layer)
            tensors[f"{name}.{self.down}"], tensors[f"{name}.{self.up}"] = down, up
            if self.alpha and alpha is not None:
                tensors[f"{name}.alpha"] = torch.tensor(alpha)
        return tensors


def flat(prefix: str) -> Style:
    return Style(lambda name: prefix + name.replace(".", "_"), "lora_down.weight", "lora_up.weight", True)


def dotted(prefix: str) -> Style:
    return Style(lambda name: prefix + name)


def as_in_comfyui(name: str) -> str:
    """double_blocks.0.img_attn_qkv -> double_blocks.0.img_attn.qkv, and so on."""
    name = re.sub(r"_attn_(qkv|proj)$", r"_attn.\1", name)
    name = name.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2")
    name = re.sub(r"(_mod|modulation)\.linear$", r"\1.lin", name)
    name = re.sub(r"(time_in|guidance_in|t_embedder)\.mlp\.0$", r"\1.in_layer", name)
    name = re.sub(r"(time_in|guidance_in|t_embedder)\.mlp\.2$", r"\1.out_layer", name)
    name = name.replace("c_embedder.linear_1", "c_embedder.in_layer")
    return name.replace("c_embedder.linear_2", "c_embedder.out_layer")


ORIGINAL_STYLES: dict[str, Style] = {
    "kohya": flat("lora_unet_"),
    "transformer": dotted("transformer."),
    "diffusion_model": dotted("diffusion_model."),
    "i2v": flat("Hunyuan_video_I2V_lora_"),
    "comfyui": Style(lambda name: f"diffusion_model.{as_in_comfyui(name)}"),
    "comfyui_bare": Style(as_in_comfyui, "lora_down.weight", "lora_up.weight", True),
    "peft": Style(lambda name: f"base_model.model.{name}", "lora_A.default.weight", "lora_B.default.weight"),
}
DIFFUSERS_STYLES: dict[str, Style] = {
    "musubi": flat("lora_unet_"),
    "diffusers": dotted("transformer."),
    "bare": dotted(""),
    "onetrainer": flat("lora_transformer_"),
    "lycoris": flat("lycoris_"),
    "old_diffusers": Style(lambda name: f"transformer.{name}", "lora.down.weight", "lora.up.weight"),
}


def original_layers(config: FramePackConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of HunyuanVideo's layers, under its own names, at the sizes of a config."""
    d, mlp, text, pooled = (
        config.inner_dim,
        config.mlp_dim,
        config.text_embed_dim,
        config.pooled_projection_dim,
    )
    shapes: dict[str, tuple[int, ...]] = {
        "img_in.proj": (d, config.in_channels, 1, 2, 2),
        "time_in.mlp.0": (d, 256),
        "time_in.mlp.2": (d, d),
        "guidance_in.mlp.0": (d, 256),
        "guidance_in.mlp.2": (d, d),
        "vector_in.in_layer": (d, pooled),
        "vector_in.out_layer": (d, d),
        "txt_in.input_embedder": (d, text),
        "txt_in.t_embedder.mlp.0": (d, 256),
        "txt_in.t_embedder.mlp.2": (d, d),
        "txt_in.c_embedder.linear_1": (d, text),
        "txt_in.c_embedder.linear_2": (d, d),
        "final_layer.linear": (4 * config.out_channels, d),
        "final_layer.adaLN_modulation.1": (2 * d, d),
    }
    for index in range(config.num_refiner_layers):
        block = f"txt_in.individual_token_refiner.blocks.{index}"
        shapes |= {f"{block}.self_attn_qkv": (3 * d, d), f"{block}.self_attn_proj": (d, d),
                   f"{block}.mlp.fc1": (4 * d, d), f"{block}.mlp.fc2": (d, 4 * d),
                   f"{block}.adaLN_modulation.1": (2 * d, d)}  # fmt: skip
    for index in range(config.num_layers):
        for stream in ("img", "txt"):
            block = f"double_blocks.{index}.{stream}"
            shapes |= {f"{block}_attn_qkv": (3 * d, d), f"{block}_attn_proj": (d, d),
                       f"{block}_mod.linear": (6 * d, d), f"{block}_mlp.fc1": (mlp, d),
                       f"{block}_mlp.fc2": (d, mlp)}  # fmt: skip
    for index in range(config.num_single_layers):
        block = f"single_blocks.{index}"
        shapes |= {f"{block}.linear1": (3 * d + mlp, d), f"{block}.linear2": (d, d + mlp),
                   f"{block}.modulation.linear": (3 * d, d)}  # fmt: skip
    return shapes


def norms(config: FramePackConfig) -> dict[str, int]:
    """The sizes of HunyuanVideo's norms that have weights, under ComfyUI's names."""
    refiner = "txt_in.individual_token_refiner.blocks"
    sizes = {
        f"{refiner}.{index}.{norm}": config.inner_dim
        for index in range(config.num_refiner_layers)
        for norm in ("norm1", "norm2")
    }
    heads = [
        f"double_blocks.{index}.{stream}_attn"
        for index in range(config.num_layers)
        for stream in ("img", "txt")
    ]
    heads += [f"single_blocks.{index}" for index in range(config.num_single_layers)]
    for head in heads:
        sizes |= {f"{head}.norm.{kind}_norm": config.attention_head_dim for kind in ("query", "key")}
    return sizes


def extracted(config: FramePackConfig, rank: int, **options: Any) -> dict[str, Tensor]:
    """What ComfyUI's Extract and Save LoRA writes of HunyuanVideo with bias_diff, but for its matrices stored in fp8.

    So the few-step LoRAs for HunyuanVideo are made that are published (FastVideo's, AccVideo's). Options such as device
    go to every tensor.
    """
    layers = original_layers(config)
    # It leaves out the convolution that patches the input, whose singular values it cannot take.
    matrices = {name: shape for name, shape in layers.items() if len(shape) == 2}
    file: dict[str, Tensor] = {}
    for name, (down, up) in make_factors(matrices, rank, **options).items():
        module = f"diffusion_model.{as_in_comfyui(name)}"
        file[f"{module}.lora_up.weight"] = up.to(torch.float8_e4m3fn)
        file[f"{module}.lora_down.weight"] = down.to(torch.float8_e4m3fn)
    generator = None if options else torch.Generator().manual_seed(rank)
    vectors = {f"{as_in_comfyui(name)}.diff_b": shape[0] for name, shape in layers.items()}
    for name, size in norms(config).items():
        vectors[f"{name}.diff"] = size
        if name.startswith("txt_in."):
            vectors[f"{name}.diff_b"] = size
    for key, size in vectors.items():
        value = torch.randn(size, generator=generator, **options)
        file[f"diffusion_model.{key}"] = value.half()
    return file


def make_factors(
    layers: Mapping[str, tuple[int, ...]], rank: int = 4, seed: int = 0, **options: Any
) -> Factors:
    """Random (down, up) for layers of these shapes; options such as device go to both."""
    generator = None if options else torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(rank, *shape[1:], generator=generator, **options),
            torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator, **options),
        )
        for name, shape in layers.items()
    }
