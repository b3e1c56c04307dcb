"""Sentences about what the samplers leave out or take otherwise than one might expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...models.files.variants import LAYOUT_KEY, layout_notice
from ...samplers.conditioning import Prompt
from ...samplers.context.plan import Section
from ...samplers.denoising.drivers import Driver
from ...samplers.settings import SampleInputs, SampleSettings
from ...samplers.timeline.landing import length_difference, unused_prompts
from ...samplers.timeline.timeline import Timeline, VideoLength
from ..notices import announce
from ..workflow.encoding import crop_notices, picture_notices, video_notices
from ..workflow.graph import WorkflowGraph

PICTURES = ("start_latent", "end_latent")
VIDEOS = ("initial_latent", "past_latent")
IMAGE_TOKENS = ("clip_vision_output", "end_clip_vision_output")


def announced_notices(
    *,
    driver: Driver,
    settings: SampleSettings,
    inputs: SampleInputs,
    timeline: Timeline | None,
    sections: Sequence[Section],
    prompts: Sequence[Prompt],
    workflow: Any,
    node: Any,
) -> list[str]:
    """What FramePack Sampler does not do as one might expect, from the values of a run and from its workflow; also announced.

    workflow, node: as for `wiring_notices`.
    """
    planned = None if timeline is None else timeline.length
    latent_frames = sum(section.window for section in sections)
    length = VideoLength(sections=latent_frames // settings.window, window=settings.window)
    said = timeline.unused if timeline is not None and planned == length else ()
    first = (
        layout_notice(settings.layout, driver.attachments.get(LAYOUT_KEY)),
        length_difference(planned, length),
    )
    notices = [
        *(notice for notice in first if notice is not None),
        *driver.notices(),
        *unused_prompts(sections, prompts, past_latent_frames=inputs.past_latent_frames, said=said),
        *wiring_notices(workflow, node, inputs.start),
    ]
    announce(notices)
    return notices


def wiring_notices(workflow: Any, node: Any, start: Tensor, references: Sequence[str] = ()) -> list[str]:
    """What the workflow says about a sampler's inputs: images that are left out, rates that do not fit, cropped pictures.

    workflow, node: the workflow and the id of the sampler in it; None outside of a workflow.
    start: the start frame [..., H, W].
    references: names of further inputs that hold a picture.
    """
    graph, size = WorkflowGraph(workflow), (start.shape[-2], start.shape[-1])
    return [
        *(notice for name in (*PICTURES, *references) for notice in picture_notices(graph, node, name)),
        *(notice for name in VIDEOS for notice in video_notices(graph, node, name)),
        *(notice for name in IMAGE_TOKENS for notice in crop_notices(graph, node, name, size)),
    ]
