"""Scripts of other benchmarks as episodes of a suite: several prompts, each as long as the others, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ....metrics import Cue
from ....samplers.timeline.syntaxes.brackets import format_spans
from ....samplers.timeline.syntaxes.scripts import read_script
from ....samplers.timeline.syntaxes.spans import PromptSpan, VideoLength
from ..files import Suite

WORKFLOW, FEATURES = "framepack_bench.json", "clip"
SEGMENT = 10.0  # seconds of a prompt, in MemFlow and in NarraStream-Bench


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script: the video follows its prompts one after another.

    id: its name, also in the names of files.
    spans: the prompts with their times.
    seconds: length of the video.
    image: name of the start image, which is the same for all: a script has none.
    """

    id: str
    spans: tuple[PromptSpan, ...]
    seconds: float
    image: str

    def timeline(self) -> str:
        """The prompts as FramePack Prompt Timeline reads them in brackets."""
        return format_spans(list(self.spans))

    def cues(self) -> tuple[Cue, ...]:
        """The prompts as metrics read them: what can be seen is what a prompt says, unless the script has a state."""
        return tuple(Cue(start=span.start, prompt=span.text, state=span.state) for span in self.spans)


def script_suite_of(
    path: Path, lines: Sequence[tuple[int, str]], image: Path, segment: float = SEGMENT
) -> Suite[Script]:
    """The suite of a file's numbered lines such as `{"prompts": ["a man", "an empty room"]}`, each a script.

    segment: seconds of each prompt. image: what all videos begin from. Raises ValueError for a line that is no script, for a script
    without a switch, and for an image that is not there.
    """
    if not segment > 0:
        raise ValueError(f"segment is {segment:g}; give more than 0 seconds.")
    if not image.is_file():
        raise ValueError(f"the image {image} does not exist; name a picture from which the videos begin.")
    return Suite(
        path=path,
        name=path.name,
        workflow=WORKFLOW,
        features=FEATURES,
        episodes=tuple(_script(line, number, segment, image.name) for number, line in lines),
        images=image.parent,
    )


def _script(line: str, number: int, segment: float, image: str) -> Script:
    try:
        read = read_script(line, VideoLength(sections=1, section_seconds=1.0))
    except ValueError as error:
        raise ValueError(f"script {number} cannot be read: {error}") from error
    if len(read) < 2:
        raise ValueError(f"script {number} has a single prompt, so that nothing would change; leave it out.")
    spans = [replace(span, start=place * segment) for place, (_, span) in enumerate(read)]
    return Script(id=f"script-{number}", spans=tuple(spans), seconds=segment * len(spans), image=image)
