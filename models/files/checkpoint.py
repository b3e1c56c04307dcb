"""The files of a checkpoint: which belong together, and what their headers say. Reads no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .gguf_file import GgufError, open_gguf

# What other files begin with.
MAGIC = {
    b"GGUF": "a GGUF file",
    b"PK\x03\x04": "a PyTorch file (.pt), which can hold code",
    b"\x80\x02\x8a\nl\xfc": "a PyTorch file (.pt), which can hold code",
    b"version https://git-lfs": "the pointer of a Git LFS file, not the file: download the file itself",
    b"<!DOCTYPE": "a web page, not a model: download the file itself",
    b"<html": "a web page, not a model: download the file itself",
}
SUFFIXES = {
    **dict.fromkeys((".pt", ".pth", ".pt2", ".ckpt", ".bin", ".pkl"), "a PyTorch file, which can hold code"),
    ".gguf": "a GGUF file",
}
SUFFIXES_READ = (".safetensors", ".sft", ".gguf")
INDEX_SUFFIX = ".safetensors.index.json"
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies.

    path: its file.
    key: its name there.
    shape: its shape.
    dtype: its dtype as the file's header names it, such as "BF16".
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


def resolve(path: Path) -> tuple[list[Path], list[str]]:
    """The files of the checkpoint that `path` stands for, and the keys that its index promises.

    `path` is a safetensors file, an index, one shard of a set, or a directory that holds one of these.
    """
    if path.is_dir():
        path = only_checkpoint(path)
    refuse_missing(path)
    if path.name.endswith(".index.json"):
        return read_index(path)
    if path.suffix.lower() not in SUFFIXES_READ:
        raise CheckpointError(
            f"{path} is {what_is(path)}: expected a .safetensors or .gguf file, an {INDEX_SUFFIX} file or a directory"
        )

    shard = SHARD.fullmatch(path.name)
    if shard is None:
        return [path], []
    index = path.with_name(shard["stem"] + INDEX_SUFFIX)
    return read_index(index) if index.is_file() else (all_shards(path.parent, shard), [])


def only_checkpoint(directory: Path) -> Path:
    """The index, shard or file that stands for the one model of a directory; raises CheckpointError else."""
    files = {SHARD.sub(r"\g<stem>", path.name): path for path in sorted(directory.glob("*.safetensors"))}
    found = sorted(directory.glob("*.index.json")) or sorted(files.values())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"{directory}: expected one model in the directory, found {names}; name the file"
        )
    return found[0]


def all_shards(directory: Path, shard: re.Match[str]) -> list[Path]:
    """Every shard of the set to which one shard belongs, in order."""
    count = int(shard["count"])
    paths = [directory / f"{shard['stem']}-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    refuse_absent(directory / shard.string, paths)
    return paths


def read_index(path: Path) -> tuple[list[Path], list[str]]:
    """The shards that an index names and the keys that it promises."""
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not an index with a weight_map ({error!r}); download it again"
        ) from error
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(f"{path}: the index names files outside its directory: {outside[0]}")
    paths = [path.parent / name for name in names]
    refuse_absent(path, paths)
    return paths, list(weight_map)


def refuse_missing(path: Path) -> None:
    """Raises CheckpointError where there is no file of this path."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")


def refuse_absent(path: Path, paths: Sequence[Path]) -> None:
    """Raises CheckpointError when shards of a checkpoint are not on disk."""
    absent = [shard.name for shard in paths if not shard.is_file()]
    if absent:
        raise CheckpointError(
            f"{path}: {len(absent)} of {len(paths)} shards are missing ({', '.join(absent[:5])}); "
            "put all of them into one directory"
        )


def what_is(path: Path) -> str:
    """What a file is that is no safetensors file, in words: by its first bytes, else by its name."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError:
        start = b""
    found = (what for magic, what in MAGIC.items() if start.startswith(magic))
    return next(found, SUFFIXES.get(path.suffix.lower(), "no safetensors file"))


@contextmanager
def open_file(path: Path, device: torch.device | str = "cpu") -> Iterator[Any]:
    """An open safetensors or GGUF file; what is wrong with it becomes a CheckpointError."""
    refuse_missing(path)
    try:
        if path.suffix.lower() == ".gguf":
            with open_gguf(path, device) as gguf:
                yield gguf
            return
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield file
    except GgufError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (SafetensorError, OSError) as error:
        what = what_is(path)
        if what != "no safetensors file":
            raise CheckpointError(f"{path} is {what}, whatever its name says") from error
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it may be truncated: download it again"
        ) from error


def read_headers(paths: Sequence[Path]) -> tuple[dict[str, Entry], dict[str, str]]:
    """Every tensor of some files by its key, and their metadata."""
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        with open_file(path) as file:
            metadata.update(file.metadata() or {})
            for key in file.keys():
                view = file.get_slice(key)
                entries[key] = Entry(path, key, tuple(view.get_shape()), view.get_dtype())
    return entries, metadata
