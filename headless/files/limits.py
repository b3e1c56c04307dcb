"""How much of a file is read at most, so that a small one cannot fill the memory, and how long a message about it is."""

from __future__ import annotations

MOST_PIXELS = 50_000_000  # of a picture, all frames of an animated one together
MOST_FRAME_PIXELS = 2**25  # of a frame of a video: 8K is a little smaller
MOST_VIDEO_BYTES = 2**32  # of the frames of a video that is loaded whole, as floats
MOST_CHARACTERS = 300  # of what a library says, or a file holds, in a message


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text in one line of printable characters, cut where it is longer than `most`."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * most])
    line = " ".join(line.split())
    return line if len(line) <= most and len(text) <= 2 * most else f"{line[: most - 3]}..."
