"""A digest of values by their content, for the names of results that are kept on disk."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from functools import partial, singledispatch
from pathlib import PurePath
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .weights import module_weights, tensor_bytes

Write = Callable[[bytes], None]

DIGEST_BYTES = 32
ROOT = __name__.removesuffix(".samplers.store.digest")
# Code that other parts of a key stand for: a version, or the contents of the pack's source files.
KNOWN_PACKAGES = ("torch", "comfy", *(f"{ROOT}.{room}" for room in ("models", "samplers", "tiny", "video")))
# Objects of the host that do what their attributes say.
BY_ATTRIBUTES = ("comfy.weight_adapter.", "comfy.samplers.KSAMPLER")


class NotKeyed(Exception):
    """Raised for what has no content that could be told from another's, such as a function with unknown code."""


def digest(value: Any) -> str:
    """Hex digits that stand for the content of `value`: numbers, texts, tensors, and what is made of them.

    Functions and classes count by their names where these are the pack's own, PyTorch's or ComfyUI's. Objects that hold
    networks, such as a VAE, count by their weights. Raises NotKeyed for anything else.
    """
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    _write(value, hasher.update)
    return hasher.hexdigest()


def _leaf(write: Write, kind: str, data: bytes) -> None:
    write(f"{kind} {len(data)} ".encode())
    write(data)


def _branch(write: Write, kind: str, *parts: Any) -> None:
    write(f"{kind} {len(parts)} ".encode())
    for part in parts:
        _write(part, write)


@singledispatch
def _write(value: Any, write: Write) -> None:
    """Hand the content of a value to `write`, so that no two values give the same bytes."""
    if callable(value) and hasattr(value, "__qualname__"):
        _leaf(write, "name", known_name(value).encode())
    elif is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        _branch(write, "dataclass", known_name(type(value)), own)
    elif known_name(type(value)).startswith(BY_ATTRIBUTES):
        _branch(write, "object", known_name(type(value)), vars(value))
    else:
        _branch(write, "networks", known_name(type(value)), *_networks(value))


def _networks(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of an object that holds networks, and their weights."""
    own = getattr(value, "__dict__", {})
    networks = {name: module_weights(part) for name, part in own.items() if isinstance(part, nn.Module)}
    if not networks:
        raise NotKeyed(f"a {type(value).__qualname__} of {type(value).__module__}")
    plain = bool | int | float | str | torch.dtype | torch.device
    return {name: part for name, part in own.items() if isinstance(part, plain)}, networks


def known_name(code: Any) -> str:
    """The name of a function or class, without the place of the pack. Raises NotKeyed where its code is not known."""
    module, name = str(code.__module__), code.__qualname__
    known = any(module == package or module.startswith(f"{package}.") for package in KNOWN_PACKAGES)
    if not known or getattr(sys.modules.get(module), name.partition(".")[0], None) is None or "<" in name:
        kind = "class" if isinstance(code, type) else "function"
        raise NotKeyed(f"the {kind} {name} of {module}, whose code is not known")
    return f"{module.removeprefix(ROOT)}.{name}"


@_write.register
def _(value: None, write: Write) -> None:
    _leaf(write, "none", b"")


@_write.register(bool)
@_write.register(int)
@_write.register(str)
@_write.register(torch.dtype)
@_write.register(torch.device)
@_write.register(PurePath)
@_write.register(Fraction)
def _(value: Any, write: Write) -> None:
    kind = next(
        kind
        for kind in type(value).__mro__
        if kind.__module__ in ("builtins", "torch", "pathlib", "fractions")
    )
    _leaf(write, kind.__name__, str(value).encode("utf-8", "surrogatepass"))


@_write.register
def _(value: float, write: Write) -> None:
    _leaf(write, "float", float(value).hex().encode())


@_write.register
def _(value: bytes, write: Write) -> None:
    _leaf(write, "bytes", value)


@_write.register
def _(value: Enum, write: Write) -> None:
    _branch(write, "enum", type(value).__qualname__, value.name)


@_write.register
def _(value: Tensor, write: Write) -> None:
    if type(value) not in (Tensor, nn.Parameter):
        raise NotKeyed(f"a tensor of the kind {type(value).__qualname__}")
    _leaf(write, f"tensor {tuple(value.shape)} {value.dtype}", tensor_bytes(value))


@_write.register(list)
@_write.register(tuple)
def _(value: Any, write: Write) -> None:
    _branch(write, "list", *value)


@_write.register(set)
@_write.register(frozenset)
def _(value: Any, write: Write) -> None:
    _branch(write, "set", *sorted(map(digest, value)))


@_write.register
def _(value: Mapping, write: Write) -> None:  # type: ignore[type-arg]  # what is registered is a plain class
    _branch(write, "mapping", *sorted(((digest(key), value[key]) for key in value), key=lambda item: item[0]))


@_write.register
def _(value: partial, write: Write) -> None:  # type: ignore[type-arg]  # the same
    _branch(write, "partial", value.func, value.args, value.keywords)


@_write.register
def _(value: FunctionType, write: Write) -> None:
    if value.__closure__ and not hasattr(value, "__wrapped__"):
        raise NotKeyed(
            f"the function {value.__qualname__} of {value.__module__}, which holds values of its own"
        )
    _leaf(write, "name", known_name(value).encode())


@_write.register
def _(value: MethodType, write: Write) -> None:
    _branch(write, "method", value.__func__, value.__self__)
