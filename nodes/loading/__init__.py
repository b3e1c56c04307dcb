"""Nodes that load models and LoRAs."""

from __future__ import annotations

from .loaders import FramePackModelLoader, FramePackTinyLoader
from .lora import FramePackLoraLoader

NODES = (
    FramePackModelLoader,
    FramePackTinyLoader,
    FramePackLoraLoader,
)
