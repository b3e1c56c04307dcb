"""How much of a file is read at most, so that a small one cannot fill the memory."""

from __future__ import annotations

MOST_PIXELS = 50_000_000  # of a picture, all frames of an animated one together
MOST_FRAME_PIXELS = 2**25  # of a frame of a video: 8K is a little smaller
MOST_VIDEO_BYTES = 2**32  # of the frames of a video that is loaded whole, as floats
