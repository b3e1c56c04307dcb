"""Measures of a long video, by the analytic detector of the embedded world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tiny.detector import Detection, detect
from ...tiny.world import Subject
from ..transition.measures import (
    HALF_SECOND,
    VALID_SHARE,
    artefacts,
    described_picture,
    holds,
    latency,
    remaining_share,
)
from .scenarios import BACK, RETURN, LongEpisode, Stretch

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SwitchMeasures:
    """What one switch of a long video has shown. None where a measure does not apply.

    kind: what was asked for.
    ready: whether the half second before shows the scene that was asked for until then.
    success: the new scene is seen in most of the last third of the first new section.
    lasting: the same for the last third of the stretch.
    latency: frames until the new scene is seen and stays for half a second; None when that did not begin in the first new
        section.
    remaining: share of what should have changed that is still seen in the last third of the first new section.
    artefacts: share of that section's frames that show something else than a scene of the world.
    first_scene: share of the stretch's frames that show the first scene of the video, where another one is asked for.
    identity: where something comes back, share of the frames of the first new section's last third in which it has the shape,
        colour and size that it had before; only the first two are in the prompt. Frames without a subject count as others.
    """

    kind: str
    ready: bool
    success: bool
    lasting: bool
    latency: int | None
    remaining: float | None
    artefacts: float
    first_scene: float | None
    identity: float | None


@dataclass(frozen=True, kw_only=True)
class SectionMeasures:
    """What one section of a long video has shown, whatever was asked for.

    colour: how far the mean colour lies from that of the scene that is detected, 0..1, mean over frames.
    sharpness: strength of the edges, over that of the detected scene as it is drawn; 1 is as sharp.
    right: share of frames that show the scene that is asked for.
    """

    colour: float
    sharpness: float
    right: float


def measure_long(
    episode: LongEpisode, frames: Array, section: int
) -> tuple[list[SwitchMeasures], list[SectionMeasures]]:
    """Measure a video: frames [1 + sections * section,64,64,3] in 0..1, the first one being the start image's."""
    frames = frames[1:]
    seen = detect(frames)
    drawn = list(_drawn(seen))
    borders = [border * section for border in episode.borders]
    switches = [
        _switch(
            episode, number, seen, frames, begin=borders[number], end=borders[number + 1], section=section
        )
        for number in range(1, len(episode.stretches))
    ]
    return switches, [
        _section(stretch, seen, frames, drawn=drawn, part=slice(first, first + section))
        for number, stretch in enumerate(episode.stretches)
        for first in range(borders[number], borders[number + 1], section)
    ]


def _switch(
    episode: LongEpisode, number: int, seen: Detection, frames: Array, *, begin: int, end: int, section: int
) -> SwitchMeasures:
    before, stretch, first = episode.stretches[number - 1], episode.stretches[number], episode.stretches[0]
    new = seen[begin : begin + section + HALF_SECOND] if end - begin > section else seen[begin:end]
    state = holds(new, stretch.scene)
    settled = slice(section - section // 3, section)
    return SwitchMeasures(
        kind=stretch.kind,
        ready=_share(holds(seen[max(begin - HALF_SECOND, 0) : begin], before.scene)) >= VALID_SHARE,
        success=_share(state[settled]) > 0.5,
        lasting=_share(holds(seen[end - section // 3 : end], stretch.scene)) > 0.5,
        latency=latency(state, section),
        remaining=remaining_share(new, before.scene, stretch.scene, settled),
        artefacts=_share(artefacts(frames[begin : begin + section], new[:section])),
        first_scene=_share(holds(seen[begin:end], first.scene)) if stretch.scene != first.scene else None,
        identity=_identity(new[settled], stretch) if stretch.kind in (RETURN, BACK) else None,
    )


def _identity(seen: Detection, stretch: Stretch) -> float | None:
    """Share of frames whose subject is the stretch's, size included."""
    return None if stretch.scene.subject is None else _share(_same(seen, stretch.scene.subject))


def _same(seen: Detection, subject: Subject) -> Array:
    alike = [getattr(seen, name) == getattr(subject, name) for name in ("shape", "colour", "size")]
    same: Array = np.logical_and.reduce([seen.present, *alike])
    return same


def _drawn(seen: Detection) -> Iterator[Array]:
    """The picture that each frame's detection speaks of."""
    return (described_picture(seen, number) for number in range(len(seen)))


def _section(
    stretch: Stretch, seen: Detection, frames: Array, *, drawn: list[Array], part: slice
) -> SectionMeasures:
    pictures = np.stack(drawn[part])
    apart = (frames[part] - pictures).mean((1, 2))
    return SectionMeasures(
        colour=float(np.linalg.norm(apart, axis=-1).mean()),
        sharpness=float(_edges(frames[part]) / max(_edges(pictures), 1e-9)),
        right=_share(holds(seen[part], stretch.scene)),
    )


def _edges(frames: Array) -> float:
    """Mean absolute difference of neighbouring pixels, along both sides."""
    return float(np.abs(np.diff(frames, axis=1)).mean() + np.abs(np.diff(frames, axis=2)).mean())


def _share(values: Array) -> float:
    return float(values.mean())
