"""Captions against each other and against what is encoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..dataset import Example
from ..shares import REAL
from .findings import Finding, error, warning


def caption_findings(captions: Sequence[tuple[Example, str | None]]) -> Iterator[Finding]:
    """What is wrong with the captions of examples, each with the text that is encoded for it, if any."""
    for example, encoded in captions:
        if encoded is not None and encoded != example.caption:
            yield error(
                example.name,
                f"{encoded!r} is encoded, but its caption is {example.caption!r}; encode the captions anew",
            )
        if not example.caption.strip():
            yield warning(example.name, "its caption is empty, so that nothing is learned of a prompt")
    examples = [example for example, _ in captions]
    yield from _switch_findings(examples)
    yield from _name_findings(examples)


def _switch_findings(examples: Sequence[Example]) -> Iterator[Finding]:
    """Switches without another caption, and other captions without a switch."""
    clips: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if not example.copy_of:
            clips[example.clip].append(example)
    for members in clips.values():
        captions = {example.caption for example in members}
        for example in members:
            if example.kind == REAL and len(members) > 1 and len(captions) == 1:
                yield error(
                    example.name,
                    "it is real, but every section of its clip has the same caption; nothing switches there",
                )


def _name_findings(examples: Sequence[Example]) -> Iterator[Finding]:
    """Sections that are listed more than once."""
    names: dict[str, int] = defaultdict(int)
    places: dict[tuple[str, int, str], list[Example]] = defaultdict(list)
    for example in examples:
        names[example.name] += 1
        places[example.clip, example.section, example.copy_of and example.name].append(example)
    for name, count in names.items():
        if count > 1:
            yield error(
                name, f"{count} examples have this name, and share one caption; build the dataset anew"
            )
    for same in places.values():
        captions = {example.caption for example in same}
        if len(captions) > 1:
            yield error(same[0].name, f"the same section has the captions {sorted(captions)}; keep one")
