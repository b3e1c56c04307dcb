"""Which weights of the transformer a module of a LoRA file stands for, whatever its file calls it.

Names are compared with underscores for dots, so that one table serves the styles of all trainers. Where the
original HunyuanVideo has one layer for what are several here, its rows go to each of them in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from ..config import count_blocks

Shapes = Mapping[str, tuple[int, ...]]

PREFIX = re.compile(
    r"(?:lora_unet_+|lora_transformer_|lycoris_|hunyuan_video_(?:[a-z0-9]+_)?lora_"
    r"|base_model\.model\.|model\.|diffusion_model\.|transformer\.|unet\.)+",
    re.IGNORECASE,
)
BLOCK = re.compile(r"(single_)?transformer_blocks\.(\d+)\.")

# HunyuanVideo's names (its own and ComfyUI's) and the modules that take their rows, in order.
LAYERS = {
    "img_in.proj": ("x_embedder.proj",),
    "time_in.mlp.0": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.mlp.2": ("time_text_embed.timestep_embedder.linear_2",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "guidance_in.mlp.0": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.mlp.2": ("time_text_embed.guidance_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "txt_in.input_embedder": ("context_embedder.proj_in",),
    "txt_in.t_embedder.mlp.0": ("context_embedder.time_text_embed.timestep_embedder.linear_1",),
    "txt_in.t_embedder.mlp.2": ("context_embedder.time_text_embed.timestep_embedder.linear_2",),
    "txt_in.t_embedder.in_layer": ("context_embedder.time_text_embed.timestep_embedder.linear_1",),
    "txt_in.t_embedder.out_layer": ("context_embedder.time_text_embed.timestep_embedder.linear_2",),
    "txt_in.c_embedder.linear_1": ("context_embedder.time_text_embed.text_embedder.linear_1",),
    "txt_in.c_embedder.linear_2": ("context_embedder.time_text_embed.text_embedder.linear_2",),
    "txt_in.c_embedder.in_layer": ("context_embedder.time_text_embed.text_embedder.linear_1",),
    "txt_in.c_embedder.out_layer": ("context_embedder.time_text_embed.text_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
# Stacks of blocks: their names there and here, and the layers of a block.
STACKS = (
    ("double_blocks", "transformer_blocks", {
        "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "img_attn_q_norm": ("attn.norm_q",),
        "img_attn.norm.query_norm": ("attn.norm_q",),
        "img_attn_k_norm": ("attn.norm_k",),
        "img_attn.norm.key_norm": ("attn.norm_k",),
        "img_attn_proj": ("attn.to_out.0",),
        "img_mlp.fc1": ("ff.net.0.proj",),
        "img_mlp.fc2": ("ff.net.2",),
        "img_mlp.0": ("ff.net.0.proj",),
        "img_mlp.2": ("ff.net.2",),
        "img_mod.linear": ("norm1.linear",),
        "img_mod.lin": ("norm1.linear",),
        "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "txt_attn_q_norm": ("attn.norm_added_q",),
        "txt_attn.norm.query_norm": ("attn.norm_added_q",),
        "txt_attn_k_norm": ("attn.norm_added_k",),
        "txt_attn.norm.key_norm": ("attn.norm_added_k",),
        "txt_attn_proj": ("attn.to_add_out",),
        "txt_mlp.fc1": ("ff_context.net.0.proj",),
        "txt_mlp.fc2": ("ff_context.net.2",),
        "txt_mlp.0": ("ff_context.net.0.proj",),
        "txt_mlp.2": ("ff_context.net.2",),
        "txt_mod.linear": ("norm1_context.linear",),
        "txt_mod.lin": ("norm1_context.linear",),
    }),
    ("single_blocks", "single_transformer_blocks", {
        "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
        "linear2": ("proj_out",),
        "q_norm": ("attn.norm_q",),
        "norm.query_norm": ("attn.norm_q",),
        "k_norm": ("attn.norm_k",),
        "norm.key_norm": ("attn.norm_k",),
        "modulation.linear": ("norm.linear",),
        "modulation.lin": ("norm.linear",),
    }),
    ("txt_in.individual_token_refiner.blocks", "context_embedder.token_refiner.refiner_blocks", {
        "norm1": ("norm1",),
        "norm2": ("norm2",),
        "self_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "self_attn_proj": ("attn.to_out.0",),
        "mlp.fc1": ("ff.net.0.proj",),
        "mlp.fc2": ("ff.net.2",),
        "mlp.0": ("ff.net.0.proj",),
        "mlp.2": ("ff.net.2",),
        "adaLN_modulation.1": ("norm_out.linear",),
    }),
)  # fmt: skip
# Here the original has shift before scale, diffusers scale before shift.
SWAPPED = "final_layer.adaLN_modulation.1"


@dataclass(frozen=True)
class Target:
    """A module of the transformer and the rows of the source that it takes, in order."""

    module: str
    rows: tuple[slice, ...]

    @property
    def block(self) -> tuple[str, int] | None:
        """("double" | "single", index), or None outside the blocks."""
        match = BLOCK.match(self.module)
        return ("single" if match[1] else "double", int(match[2])) if match else None


@dataclass(frozen=True)
class Source:
    """What a module of a file stands for: its targets, the shape of its weight and whose name it has."""

    targets: tuple[Target, ...]
    shape: tuple[int, ...]
    family: str

    @property
    def is_whole(self) -> bool:
        """Whether it is one module of the transformer, row by row."""
        return len(self.targets) == 1 and len(self.targets[0].rows) == 1


def source_table(shapes: Shapes) -> dict[str, Source]:
    """Every name without its prefix and with underscores for dots; `shapes` are those of the parameters."""
    table = {}
    for key, shape in shapes.items():
        if key.endswith(".weight"):
            module = key.removesuffix(".weight")
            source = Source((Target(module, (slice(0, shape[0]),)),), shape, "diffusers")
            table[underscored(module)] = table[underscored(module).removesuffix("_0")] = source
    for name, modules in original_layers(shapes):
        if all(f"{module}.weight" in shapes for module in modules):
            table[underscored(name)] = original_source(name, modules, shapes)
    return table


def original_layers(shapes: Shapes) -> Iterator[tuple[str, tuple[str, ...]]]:
    """HunyuanVideo's layers and the modules that they are here."""
    yield from LAYERS.items()
    for there, here, layers in STACKS:
        for index in range(count_blocks(shapes, here)):
            for name, modules in layers.items():
                yield f"{there}.{index}.{name}", tuple(f"{here}.{index}.{module}" for module in modules)


def original_source(name: str, modules: tuple[str, ...], shapes: Shapes) -> Source:
    """The modules [rows of them] that one of HunyuanVideo's own names stands for."""
    sizes = [shapes[f"{module}.weight"][0] for module in modules]
    rows: list[tuple[slice, ...]] = [(slice(end - size, end),) for size, end in zip(sizes, accumulate(sizes))]
    if name == SWAPPED:
        rows = [(slice(sizes[0] // 2, sizes[0]), slice(0, sizes[0] // 2))]
    shape = (sum(sizes), *shapes[f"{modules[0]}.weight"][1:])
    return Source(tuple(map(Target, modules, rows)), shape, "HunyuanVideo")


def underscored(name: str) -> str:
    """A module name as trainers write it in keys."""
    return name.replace(".", "_")


def split_prefix(name: str) -> tuple[str, str]:
    """The prefix that a trainer has put before a module's name, and the name with underscores for dots."""
    match = PREFIX.match(name)
    prefix = match[0] if match else ""
    return prefix, underscored(name[len(prefix) :])
