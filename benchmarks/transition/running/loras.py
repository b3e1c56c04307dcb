"""The embedded model with a LoRA."""

from __future__ import annotations

from pathlib import Path

from ....models.files.lora import convert, parameter_shapes
from ....models.files.lora_file import read_lora_file
from ....models.plain import PlainModel, add_lora


def with_lora(model: PlainModel, path: Path) -> PlainModel:
    """A model with the LoRA of a file at full strength; raises LoraError for a file that is none of this model."""
    tensors, _ = read_lora_file(path)
    lora = convert(tensors, parameter_shapes(model.model.diffusion_model), name=path.name)
    patched = model.clone()
    add_lora(patched, lora.changes, 1.0)
    return patched
