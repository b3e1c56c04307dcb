"""The progress of a node that finishes a video section by section."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from PIL import Image
from torch import Tensor

from ...samplers.progress import report
from ...video.segments import to_bytes
from ..comfyui import inside_comfyui

PREVIEW_SIDE = 512  # pixels


def section_progress(total: int) -> Callable[[Tensor], None]:
    """A callback for every finished section, with its last frame [H, W, 3].

    Inside ComfyUI it shows the frame, and raises where the user has stopped the run.
    """
    steps = count(1)
    if not inside_comfyui():
        return lambda _frame: report(next(steps), total)
    import comfy.utils

    bar = comfy.utils.ProgressBar(total)

    def section_done(frame: Tensor) -> None:
        picture = Image.fromarray(to_bytes(frame))
        bar.update_absolute(next(steps), total, ("JPEG", picture, PREVIEW_SIDE))

    return section_done
