"""GGUF files, with the few methods of an open safetensors file that loading needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..layers.gguf_packings import GGUF_BLOCKS

# city96's converter writes the shape of a tensor with more than four dimensions here.
SHAPE_KEY = "comfy.gguf.orig_shape."
STALE = "the gguf package does not work here: run `pip install --upgrade gguf` in ComfyUI's Python"
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class GgufError(ValueError):
    """A GGUF file that cannot be read, or the reason why none can be."""


@dataclass(frozen=True)
class GgufSlice:
    """What a header says of a tensor.

    shape: the shape of the weight that it stands for.
    dtype: GGUF's name of how it is stored, such as "Q8_0" or "F16".
    """

    shape: tuple[int, ...]
    dtype: str

    def get_shape(self) -> tuple[int, ...]:
        return self.shape

    def get_dtype(self) -> str:
        return self.dtype


class GgufFile:
    """An open GGUF file, under the names of safetensors' safe_open; `reader` is a gguf.GGUFReader."""

    def __init__(self, reader: Any, device: torch.device | str) -> None:
        self.device = device
        self.fields = reader.fields
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.texts = {
            name: text_of(field) for name, field in self.fields.items() if kinds_of(field) == ["STRING"]
        }

    def keys(self) -> list[str]:
        """The names of all tensors."""
        return list(self.tensors)

    def metadata(self) -> dict[str, str]:
        """The fields that hold text."""
        return self.texts

    def get_slice(self, key: str) -> GgufSlice:
        """The shape and the stored form of a tensor."""
        tensor = self.tensors[key]
        shape = self.fields.get(SHAPE_KEY + key)
        sizes = numbers_of(shape) if shape else [int(size) for size in reversed(tensor.shape)]
        return GgufSlice(tuple(sizes), tensor.tensor_type.name)

    def get_tensor(self, key: str) -> Tensor:
        """A tensor as it is stored: numbers of its shape, or bytes [rows, bytes of a row] of a packing."""
        tensor, stored = self.tensors[key], self.get_slice(key)
        data = torch.from_numpy(np.array(tensor.data)).to(self.device)
        if stored.dtype in PLAIN:
            return data.view(PLAIN[stored.dtype]).reshape(stored.shape)
        return data.reshape(stored.shape[0], -1)


# What a field holds, by its parts: versions of the package before 0.16 have no method for it.


def kinds_of(field: Any) -> list[str]:
    """GGUF's names of what a field is: of a list also of its elements."""
    return [kind.name for kind in field.types]


def text_of(field: Any) -> str:
    """The text of a field that holds one."""
    return bytes(field.parts[field.data[0]]).decode("utf-8")


def numbers_of(field: Any) -> list[int]:
    """The whole numbers of a field that holds a list of them."""
    return [int(number) for index in field.data for number in field.parts[index]]


@contextmanager
def open_gguf(path: Path, device: torch.device | str = "cpu") -> Iterator[GgufFile]:
    """An open GGUF file; raises GgufError where it is damaged, or where the gguf package is absent or too old."""
    reader = gguf_reader()
    try:
        file = GgufFile(reader(path), device)
        for key in file.keys():
            check_stored(file, key)
    except AttributeError as error:
        raise GgufError(f"{STALE} ({error})") from error
    # The package checks little of what it reads: a damaged header fails in whatever way it happens to.
    except Exception as error:
        raise GgufError(f"not a whole GGUF file ({error}); it may be truncated: download it again") from error
    yield file


def gguf_reader() -> Callable[[Path], Any]:
    """The reader of the gguf package, which is optional.

    It raises ValueError where a part lies behind the end of the file. The package itself would read nothing there, again and
    again until the memory is full, where a header announces more than there is.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise GgufError(
            "reading a GGUF file needs the gguf package: run `pip install gguf` in ComfyUI's Python "
            "(or install framepack-transitions[gguf]), or take a safetensors file"
        ) from error

    class Reader(GGUFReader):  # type: ignore[misc,unused-ignore]  # the package may be absent
        def _get(self, offset: int, dtype: Any, count: Any = 1, *more: Any, **named: Any) -> Any:
            found = super()._get(offset, dtype, count, *more, **named)
            if found.size != int(count):
                raise ValueError(f"what should be at byte {int(offset):,} is not there")
            return found

    return Reader


def check_stored(file: GgufFile, key: str) -> None:
    """Raises ValueError where a tensor has not as many bytes as its shape and stored form need."""
    stored = file.get_slice(key)
    numbers, size = (1, PLAIN[stored.dtype].itemsize) if stored.dtype in PLAIN else (1, 1)
    if stored.dtype in GGUF_BLOCKS:
        numbers, size = GGUF_BLOCKS[stored.dtype].numbers, GGUF_BLOCKS[stored.dtype].size
        if len(stored.shape) != 2 or stored.shape[1] % numbers:
            raise ValueError(f"{key} of shape {list(stored.shape)} cannot be {stored.dtype}")
    elif stored.dtype not in PLAIN:
        return
    found, expected = (
        int(file.tensors[key].data.nbytes),
        int(np.prod(stored.shape, dtype=object)) // numbers * size,
    )
    if found != expected:
        raise ValueError(f"{key} has {found} bytes, expected {expected}")
