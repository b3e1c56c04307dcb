"""Nodes that load models and LoRAs."""

from __future__ import annotations

from .lora import FramePackLoraLoader
from .model_loader import FramePackModelLoader
from .tiny_loader import FramePackTinyLoader

NODES = (
    FramePackModelLoader,
    FramePackTinyLoader,
    FramePackLoraLoader,
)
