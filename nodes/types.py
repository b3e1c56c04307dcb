"""Names that several node modules share."""

from __future__ import annotations

ROOT = "FramePack"
TIMELINE = "FRAMEPACK_TIMELINE"
TRACE = "FRAMEPACK_TRACE"
