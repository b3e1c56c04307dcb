"""The progress of a node that finishes a video section by section."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from PIL import Image
from torch import Tensor

from ...samplers.progress import report
from ...video.segments import to_bytes
from ..comfyui import inside_comfyui
from ..host_messages import show_text, time_left

PREVIEW_SIDE = 512  # pixels


def section_progress(total: int) -> Callable[[Tensor | None], None]:
    """A callback for every finished section, with its last frame [H, W, 3] where that is to be shown.

    Inside ComfyUI it says how far the node is, shows the frame, and raises where the user has stopped the run. A picture
    that was shown hides every video that the node shows after it.
    """
    steps, began = count(1), time.monotonic()
    if not inside_comfyui():
        return lambda _frame: report(next(steps), total)
    import comfy.utils

    bar = comfy.utils.ProgressBar(total)

    def section_done(frame: Tensor | None) -> None:
        done = next(steps)
        left = time_left(done, total, time.monotonic() - began)
        show_text(", ".join(filter(None, (f"section {done} of {total}", left))))
        picture = None if frame is None else ("JPEG", Image.fromarray(to_bytes(frame)), PREVIEW_SIDE)
        bar.update_absolute(done, total, picture)

    return section_done
