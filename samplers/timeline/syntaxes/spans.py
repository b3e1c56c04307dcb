"""What every notation is read into: prompts with the time at which they take over."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple


class PromptSyntaxError(ValueError):
    """A text that cannot be read as prompts over time; `position` is the index of the character at fault."""

    def __init__(self, text: str, position: int, message: str) -> None:
        line = text.count("\n", 0, position) + 1
        column = position - text.rfind("\n", 0, position)
        super().__init__(f"prompt timeline, line {line}, column {column}: {message}")
        self.position = position


@dataclass(frozen=True)
class PromptSpan:
    """A prompt that holds until the next span starts.

    start: when the prompt takes over, in seconds of the video.
    text: the prompt.
    state: what can be seen afterwards, for evaluators; "" where the prompt says it.
    forced: whether this is a switch even where the text repeats the prompt before it.
    sham: whether the text repeats the prompt before it on purpose, as a switch at which nothing changes.
    cut: whether a new shot begins, which remembers nothing of the sections before it.
    recall: whether that shot goes on from what an earlier prompt left, the one that is most like it; it takes `cut`.
    keep: what that shot keeps of the one before it, in words; "" for nothing; it takes `cut`.
    blend: number of sections over which the text moves from the prompt before it to this one.
    section_seed: the seed of the first section of the prompt; None leaves it the run's.
    landing: whether it takes over at the nearest section border, or a section begins on its own frame: border or frame; ""
        where the text does not say.
    """

    start: float
    text: str
    state: str = ""
    _: KW_ONLY
    forced: bool = False
    sham: bool = False
    cut: bool = False
    recall: bool = False
    keep: str = ""
    blend: int = 0
    section_seed: int | None = None
    landing: str = ""


class PlacedSpan(NamedTuple):
    """A span and the index of the character where it begins in the text, for error messages."""

    position: int
    span: PromptSpan


class VideoLength(NamedTuple):
    """The length of the video that a text is read for.

    sections: number of sections, or None where it is not known.
    section_seconds: duration of a section in seconds.
    """

    sections: int | None
    section_seconds: float

    def known_sections(self, text: str) -> int:
        """The number of sections; raises PromptSyntaxError where it is not known."""
        if self.sections is None:
            raise PromptSyntaxError(
                text, 0, "this syntax needs the length of the video; use [3s: prompt] instead."
            )
        return self.sections
