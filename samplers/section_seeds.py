"""Seeds of single sections, as users write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .context.plan import PlannedSection, Section

LARGEST_SEED = 2**64 - 1
EXPECTED = "write the number of a section, counted from 1, and its seed, such as 3: 77 or 3: 77, 5: 12"
_SEPARATORS = re.compile(r"[,;\n，；、]")
_SEED = re.compile(r"\s*(\d{1,6})\s*[:：=]\s*(\d{1,20})\s*")


def section_seeds(text: str, sections: Sequence[PlannedSection]) -> dict[int, int]:
    """By the index of a section the seed that a text such as "3: 77, 5: 12" gives it.

    Sections are counted from 1 in the order of generation. Raises ValueError for another text, for a section that the
    video does not have, and for one that is named twice.
    """
    seeds: dict[int, int] = {}
    for part in filter(str.strip, _SEPARATORS.split(text)):
        number, seed = _read(part)
        if not 1 <= number <= len(sections):
            raise ValueError(
                f"section_seeds names section {number}, but the video has {len(sections)}; they are counted from 1, in the "
                "order in which they are made."
            )
        index = sections[number - 1].index
        if index in seeds:
            raise ValueError(f"section_seeds gives section {number} two seeds; leave one of them.")
        seeds[index] = seed
    return seeds


def entry_seeds(sections: Sequence[Section]) -> dict[int, int]:
    """By the index of a section the seed that a timeline gives it: that of a prompt goes to its first section in time."""
    first: dict[int, Section] = {}
    for section in sorted(sections, key=lambda section: section.latents):
        first.setdefault(id(section.prompt), section)
    seeds = {section.index: section.prompt.section_seed for section in first.values()}
    return {index: seed for index, seed in seeds.items() if seed is not None}


def _read(part: str) -> tuple[int, int]:
    found = _SEED.fullmatch(part)
    if found is None or int(found[2]) > LARGEST_SEED:
        raise ValueError(
            f"section_seeds holds {part.strip()[:60]!r}; {EXPECTED}, with seeds up to {LARGEST_SEED}."
        )
    return int(found[1]), int(found[2])
