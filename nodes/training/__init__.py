"""Nodes that make training data for musubi-tuner."""

from __future__ import annotations

from .error_bank import FramePackErrorBank
from .example import FramePackTrainingExample

NODES = (FramePackTrainingExample, FramePackErrorBank)
