"""Makes a dataset of clips with captions, or of pictures with controls. Reading and writing of videos is left to the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...samplers.context.plan import FPS
from ...samplers.timeline.syntaxes.spans import PromptSpan
from ...samplers.timeline.syntaxes.table import parse
from ..dataset import Example
from ..musubi.names import PATTERN_MARKS, check_name
from ..one_frame import ONE_FRAME, Pair
from .labelling import Take, first_new_frame, takes_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What becomes of one clip.

    source: its file.
    takes: its takes by name.
    remarks: sentences about prompts that no example has.
    """

    source: Path
    takes: dict[str, Take]
    remarks: tuple[str, ...]

    def examples(self) -> tuple[Example, ...]:
        """The examples of all takes."""
        return tuple(
            example
            for name, take in self.takes.items()
            for example in examples_of(name, take, self.source.name)
        )


def examples_of(name: str, take: Take, source: str = "") -> tuple[Example, ...]:
    """The examples of one take."""
    return tuple(
        Example(
            name=f"{name}__s{section.number}",
            kind=section.kind,
            caption=section.caption,
            clip=name,
            section=section.number,
            sections=take.sections,
            source=source,
        )
        for section in take.labelled
    )


def read_captions(text: str, frames: int, window: int) -> list[PromptSpan]:
    """The prompts of a clip in any of the pack's notations; a text that divides the video is read by its length.

    Raises PromptSyntaxError for a wrong text.
    """
    seconds = 4 * window / FPS
    return parse(text, sections=max(round((frames - 1) / (4 * window)), 1), section_seconds=seconds)


def plan_clip(
    source: Path, spans: Sequence[PromptSpan], frames: int, layout: str, *, window: int, name: str = ""
) -> Plan:
    """The takes of a clip of `frames` frames at 30 a second, called after `name`, or after the file.

    Raises ValueError for a layout or a name that cannot be used.
    """
    name = name or source.stem
    check_name(name)
    takes = takes_of(spans, frames, layout, window)
    many = len(takes) > 1
    named = {f"{name}_t{number}" if many else name: take for number, take in enumerate(takes, 1)}
    return Plan(
        source=source, takes=named, remarks=tuple(_remarks(source, spans, frames, takes, window=window))
    )


def _remarks(
    source: Path, spans: Sequence[PromptSpan], frames: int, takes: Sequence[Take], *, window: int
) -> list[str]:
    """A sentence about a clip that is too short, or about each prompt that gets no example."""
    length = frames / FPS
    if not takes:
        return [
            (
                f"{source.name} gives no example: of its {length:.2f} s no whole section of {4 * window / FPS:g} s lies on one "
                "side of its changes; give a longer clip."
            )
        ]
    captions = {section.caption for take in takes for section in take.labelled}
    remarks = []
    for span in spans:
        if span.text in captions:
            continue
        late = first_new_frame(span.start) >= frames
        why = (
            f"it begins at {span.start:g} s, behind the clip's end at {length:.2f} s"
            if late
            else ("no whole section shows it")
        )
        remarks.append(f"{source.name}: no example has the prompt {span.text!r}, since {why}.")
    return remarks


def picture_examples(pairs: Sequence[Pair], captions: dict[str, str]) -> tuple[Example, ...]:
    """The examples of one-frame training, one a picture. Raises ValueError for a name that cannot be used."""
    for pair in pairs:
        check_name(pair.target.stem)
    return tuple(
        Example(
            name=pair.target.stem,
            kind=ONE_FRAME,
            caption=captions[pair.target.stem],
            clip=pair.target.stem,
            source=pair.target.name,
        )
        for pair in pairs
    )


def picture_items(pairs: Sequence[Pair], captions: dict[str, str]) -> list[dict[str, str]]:
    """musubi-tuner's list of the pictures, with their controls in order."""
    return [
        {
            "image_path": pair.target.resolve().as_posix(),
            **{
                f"control_path_{number}": control.resolve().as_posix()
                for number, control in enumerate(pair.controls)
            },
            "caption": captions[pair.target.stem],
        }
        for pair in pairs
    ]


def check_root(root: Path) -> None:
    """Raises ValueError for a folder in whose path musubi-tuner would see a pattern."""
    if found := sorted(set(root.resolve().as_posix()) & set(PATTERN_MARKS)):
        raise ValueError(
            f"the path {root} holds {' '.join(found)}, which musubi-tuner takes for a pattern; choose a folder without."
        )
