"""A record: tensors and plain facts that are kept together, as bytes that show when they are not whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .digest import digest

FORMAT = "framepack-transitions/record/1"


class BrokenRecord(ValueError):
    """Raised for bytes that are no record, or not the one that was written."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    """What is kept under one key.

    tensors: by name, read onto the CPU.
    facts: what JSON can hold, by name.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether no tensor holds NaN or infinity."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.tensors.values())

    def to_bytes(self, key: str) -> bytes:
        """The record as a safetensors file that also holds a digest of its key and contents."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        facts = json.dumps(self.facts)
        metadata = {"format": FORMAT, "facts": facts, "digest": digest([key, tensors, facts])}
        return save(tensors, metadata)

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Record:
        """The record that `to_bytes` made for this key. Raises BrokenRecord for anything else."""
        try:
            tensors = load(data)
            metadata = _metadata(data)
            facts = metadata["facts"]
            whole = metadata["format"] == FORMAT and metadata["digest"] == digest([key, tensors, facts])
            read = json.loads(facts)
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BrokenRecord(f"no record: {error}") from error
        if not whole or not isinstance(read, dict):
            raise BrokenRecord("the contents are not those that were written")
        return cls(tensors=tensors, facts=read)


def _metadata(data: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file that could be loaded."""
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
