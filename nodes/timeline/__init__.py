"""Nodes that say which prompt holds when."""

from __future__ import annotations

from .entry import FramePackTimelineEntry
from .prompt_timeline import FramePackPromptTimeline

NODES = (FramePackPromptTimeline, FramePackTimelineEntry)
