"""Nodes for what goes into a video and what comes out: sizes of pictures, frames and files."""

from __future__ import annotations

from .decode import FramePackDecode
from .resolution import FramePackResolution

NODES = (FramePackDecode, FramePackResolution)
