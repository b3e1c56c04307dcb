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

from ..conditioning import Prompt
from ..context.history import Context
from ..context.plan import HISTORY_2X, HISTORY_4X, Direction, Section, SectionIndices, Shot
from ..settings import SampleInputs, SampleSettings
from ..techniques.base import Schedule
from .drivers import Driver
from .sections import begin_run, run_schedule, section_noises

MAX_CONTROLS = 9
MAX_ROPE_BATCH = 64
AT_TARGET = -1


@dataclass(frozen=True)
class OneFrameLayout:
    """Where things lie, in latent frames on the model's time axis, for a window of `window` frames.

    `target` None is the window's end. With `post` a zero latent follows the controls. Controls lie at 0 and the
    zero latent after the window, until `control_indices` overwrite them from the left, the zero latent's too where
    they reach it. `history_2x` and `history_4x` are the indices of zero latents in the compressed tiers, empty to
    leave the tier out; AT_TARGET among them stands for the target's.
    """

    window: int = 9
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
        window,
        history_2x=tuple(range(after, after + HISTORY_2X)),
        history_4x=tuple(range(after + HISTORY_2X, after + HISTORY_2X + HISTORY_4X)),
    )


def kisekaeichi_layout(window: int) -> OneFrameLayout:
    """musubi-tuner's kisekaeichi: start at 0, reference at 10, target 1, nothing else."""
    return OneFrameLayout(window, target=1, control_indices=(0, 10), post=False)


def multi_control_layout(window: int) -> OneFrameLayout:
    """1f-mc: background at 0, character at 1, target 9, without compressed history."""
    return OneFrameLayout(window, target=9, control_indices=(0, 1))


def plusone_layout(window: int) -> OneFrameLayout:
    """PlusOne's target and reference places, without the empty frame that collides with the reference."""
    return OneFrameLayout(window, target=5, control_indices=(0, 10), post=False)


def plusone_compatible_layout(window: int) -> OneFrameLayout:
    """PlusOne as it is: at the usual window, reference and empty frame both lie at 10."""
    return OneFrameLayout(window, target=5, control_indices=(0, 10))


def plusone_start_only_layout(window: int) -> OneFrameLayout:
    """PlusOne without references: target at the end of the window, the start image and nothing else."""
    return OneFrameLayout(window, target=window - 1, post=False)


def oichi_layout(window: int) -> OneFrameLayout:
    """oichi's basic mode: target at the end of the window, one empty frame in each compressed tier."""
    return OneFrameLayout(
        window, target=window - 1, post=False, history_2x=(window + 2,), history_4x=(window + 4,)
    )


def oichi_kisekaeichi_layout(window: int) -> OneFrameLayout:
    """oichi's kisekaeichi: reference at history index 13, target 5 but inside the window.

    Its one 4x index shares memory with the target's and therefore takes its value.
    """
    return OneFrameLayout(
        window,
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
) -> OneFrameLayout:
    """A preset for a number of control images, with changes.

    `target` and `control_index` ("0;10") replace its own, the flags take parts away. Raises ValueError for a
    preset that does not exist, a window below 1 and indices that are none.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; choose one of {', '.join(PRESETS)}.")
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
    mask = mask.reshape(mask.shape[-2:]).to("cpu", torch.float32).numpy()
    height, width = control.shape[-2:]
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.LANCZOS)
    return control * torch.from_numpy(np.array(resized)).clamp(0, 1).to(control)


def sample_one_frame(
    driver: Driver,
    layouts: Sequence[OneFrameLayout],
    controls: Sequence[Tensor],
    prompt: Prompt,
    inputs: SampleInputs,
    settings: SampleSettings,
    *,
    solver: Any = "unipc_bh1",
    sigmas: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """One image for every layout, all from the same noise; return latents [N * B, 16, 1, H, W] and the trace.

    controls [B, 16, 1, H, W] in the model's scale, in the order of their indices.
    """
    shape = (*controls[0].shape[:2], 1, *controls[0].shape[3:])
    noise = next(section_noises(shape, settings))
    schedule, shift = run_schedule(shape, settings, sigmas)
    contexts = [one_frame_context(layout, controls, inputs.image_embeds) for layout in layouts]
    sections = [
        Section(
            index=number,
            latents=(0, 1),
            frames=(0, 1),
            padding=0,
            indices=context.indices,
            shot=Shot(0, (0, 1)),
            prompt=prompt,
        )
        for number, context in enumerate(contexts)
    ]
    schedule = Schedule(schedule, shift)
    run = begin_run(driver, inputs.negative, settings, solver, schedule, sections, fixed=sigmas is not None)
    images = [
        run.denoise(section, context, noise, torch.zeros_like(noise), settings.seed)
        for section, context in zip(sections, contexts)
    ]
    return torch.cat(images), {**run.trace, "latent_frames": 1}
