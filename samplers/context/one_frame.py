"""One-frame inference: FramePack as an image editor. One latent frame is generated, controls are its memory.

The conventions of several packs differ only in where controls, target and empty history lie on the model's time
axis; each is a preset. Sources: kohya-ss/musubi-tuner (`fpack_generate_video.py`, docs on one-frame inference),
git-ai-code/FramePack-eichi (`oneframe_ichi.py`), tukisuwa/ComfyUI-FramePackWrapper_PlusOne (`nodes_one.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...models.files.one_frame import OneFrameTraining
from .history import Context
from .indices import HISTORY_2X, HISTORY_4X, Direction, SectionIndices

MAX_CONTROLS = 9
MAX_ROPE_BATCH = 64
AT_TARGET = -1


@dataclass(frozen=True, kw_only=True)
class OneFrameLayout:
    """Where images and target lie on the model's time axis, in latent frames.

    window: the length of the window that the rest counts from.
    target: the frame that is generated; None is the window's end.
    control_indices: the frames of the control images, from the left; those left over stay at 0. More than there are images
        move the empty frame too.
    post: whether an empty frame, all zeros, follows the images, after the window.
    history_2x: the frames of empty twofold history; none leaves it out. AT_TARGET stands for the target's.
    history_4x: the same for fourfold history.
    """

    window: int
    target: int | None = None
    control_indices: tuple[int, ...] = ()
    post: bool = True
    history_2x: tuple[int, ...] = ()
    history_4x: tuple[int, ...] = ()

    def indices(self, controls: int) -> SectionIndices:
        """Index table for a number of control images; FORWARD where all of them but the first lie before the target."""
        own = (0,) * controls + ((self.window + 1,) if self.post else ())
        clean = self.control_indices[: len(own)] + own[len(self.control_indices) :]
        target = self.window if self.target is None else self.target
        history_4x = tuple(target if place == AT_TARGET else place for place in self.history_4x)
        remembered = (*clean[1:], *self.history_2x, *history_4x)
        before = bool(remembered) and max(remembered) < target
        return SectionIndices(
            target=(target,),
            clean=clean,
            clean_2x=self.history_2x,
            clean_4x=history_4x,
            direction=Direction.FORWARD if before else Direction.BACKWARD,
        )


def basic_layout(window: int) -> OneFrameLayout:
    """musubi-tuner's default: target at the window's size, an empty frame and empty history after it."""
    after = window + 2
    return OneFrameLayout(
        window=window,
        history_2x=tuple(range(after, after + HISTORY_2X)),
        history_4x=tuple(range(after + HISTORY_2X, after + HISTORY_2X + HISTORY_4X)),
    )


def kisekaeichi_layout(window: int) -> OneFrameLayout:
    """musubi-tuner's kisekaeichi: start at 0, reference at 10, target 1, nothing else."""
    return OneFrameLayout(window=window, target=1, control_indices=(0, 10), post=False)


def multi_control_layout(window: int) -> OneFrameLayout:
    """1f-mc: background at 0, character at 1, target 9, without compressed history."""
    return OneFrameLayout(window=window, target=9, control_indices=(0, 1))


def plusone_layout(window: int) -> OneFrameLayout:
    """PlusOne's target and reference places, without the empty frame that collides with the reference."""
    return OneFrameLayout(window=window, target=5, control_indices=(0, 10), post=False)


def plusone_compatible_layout(window: int) -> OneFrameLayout:
    """PlusOne as it is: at the usual window, reference and empty frame both lie at 10."""
    return OneFrameLayout(window=window, target=5, control_indices=(0, 10))


def plusone_start_only_layout(window: int) -> OneFrameLayout:
    """PlusOne without references: target at the end of the window, the start image and nothing else."""
    return OneFrameLayout(window=window, target=window - 1, post=False)


def oichi_layout(window: int) -> OneFrameLayout:
    """oichi's basic mode: target at the end of the window, one empty frame in each compressed tier."""
    return OneFrameLayout(
        window=window, target=window - 1, post=False, history_2x=(window + 2,), history_4x=(window + 4,)
    )


def oichi_kisekaeichi_layout(window: int) -> OneFrameLayout:
    """oichi's kisekaeichi: reference at history index 13, target 5 but inside the window.

    Its one 4x index shares memory with the target's and therefore takes its value.
    """
    return OneFrameLayout(
        window=window,
        target=min(5, window - 1),
        control_indices=(0, 13),
        post=False,
        history_2x=(window + 3,),
        history_4x=(AT_TARGET,),
    )


PRESETS = {
    "basic": basic_layout,
    "kisekaeichi": kisekaeichi_layout,
    "1f_mc": multi_control_layout,
    "plusone": plusone_layout,
    "plusone_compatible": plusone_compatible_layout,
    "oichi": oichi_layout,
    "oichi_kisekaeichi": oichi_kisekaeichi_layout,
}
# Instead of a preset: musubi-tuner's default with the indices that the LoRA's file states.
FROM_LORA = "from_lora"
# What a preset becomes when the start image has no reference beside it.
START_ONLY = {"plusone": plusone_start_only_layout, "plusone_compatible": plusone_start_only_layout}


def make_layout(
    preset: str,
    window: int,
    controls: int,
    *,
    target: int | None = None,
    control_index: str = "",
    no_post: bool = False,
    no_2x: bool = False,
    no_4x: bool = False,
    trained: OneFrameTraining | None = None,
) -> OneFrameLayout:
    """A preset for a number of control images, with changes.

    `target` and `control_index` ("0;10") replace its own, the flags take parts away. FROM_LORA takes what is not
    given from `trained`. Raises ValueError for a preset that does not exist, or FROM_LORA without `trained`, a window
    below 1 and indices that are none.
    """
    if preset == FROM_LORA:
        if trained is None:
            raise ValueError(
                f"preset is {FROM_LORA}, but no LoRA of the model states the indices that it was trained with; choose "
                "another preset, or write them into target_index and control_index."
            )
        preset, no_post = "basic", no_post or trained.no_post
        target = trained.target if target is None else target
        control_index = control_index.strip() or trained.control_index
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; choose one of {', '.join([*PRESETS, FROM_LORA])}.")
    if window < 1:
        raise ValueError(f"window is {window}; give at least 1 (usual: 9).")
    layout = (START_ONLY.get(preset, PRESETS[preset]) if controls == 1 else PRESETS[preset])(window)
    changes: dict[str, Any] = {}
    if target is not None:
        changes["target"] = target
    if control_index.strip():
        changes["control_indices"] = parse_indices(control_index)
    if no_post:
        changes["post"] = False
    if no_2x:
        changes["history_2x"] = ()
    if no_4x:
        changes["history_4x"] = ()
    return replace(layout, **changes)


def parse_indices(text: str) -> tuple[int, ...]:
    """Indices written as "0;10" (commas and spaces serve too). Raises ValueError for anything else."""
    words = text.replace(";", " ").replace(",", " ").split()
    if not all(word.isdigit() for word in words):
        raise ValueError(
            f"control_index is {text!r}; write whole numbers from 0 on with semicolons, such as 0;10."
        )
    return tuple(int(word) for word in words)


def one_frame_context(
    layout: OneFrameLayout, controls: Sequence[Tensor], image_embeds: Tensor | None
) -> Context:
    """The packed memory of a one-frame run: controls [B, 16, 1, H, W] in order, then zeros as the layout says."""
    indices = layout.indices(len(controls))
    zero = torch.zeros_like(controls[0])
    clean = torch.cat([*controls, zero] if layout.post else list(controls), dim=2)
    clean_2x, clean_4x = (
        zero.repeat(1, 1, len(places), 1, 1) if places else None
        for places in (indices.clean_2x, indices.clean_4x)
    )
    return Context(
        indices=indices, clean=clean, clean_2x=clean_2x, clean_4x=clean_4x, image_embeds=image_embeds
    )


def mask_control(control: Tensor, mask: Tensor) -> Tensor:
    """Multiply a mask into a control latent [B, 16, 1, H, W]: 1 keeps, 0 drops.

    mask [H', W'] or [1, H', W'] in [0, 1] of any size; it is resized with Lanczos as musubi-tuner does.
    """
    picture = Image.fromarray(mask.reshape(mask.shape[-2:]).to("cpu", torch.float32).numpy())
    height, width = control.shape[-2:]
    resized = picture.resize((width, height), Image.Resampling.LANCZOS)
    return control * torch.from_numpy(np.array(resized)).clamp(0, 1).to(control)
