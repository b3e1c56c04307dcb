"""Who watches a run section by section, and what a section is called in words."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

from .context.plan import Section
from .techniques.base import Technique
from .techniques.registry import TECHNIQUES

logger = logging.getLogger(__name__)

TITLES = {entry.technique: entry.title for entry in TECHNIQUES}


class SectionObserver:
    """Watches a run. What these methods raise ends the run.

    step_pictures: whether the host shows pictures of the steps; not where the observer shows something better.
    """

    step_pictures: bool = True

    def section_begins(self, section: Section) -> None:
        """A section is about to be prepared and denoised."""

    def step_done(self, done: int, total: int) -> None:
        """`done` of the run's `total` steps are done."""

    def section_done(self, section: Section, latents: Tensor, *, reused: bool = False) -> None:
        """A section is finished; its latents are [B, 16, window, H, W] in the model's scale.

        `reused` says that they were kept from an earlier run.
        """

    def notice(self, sentence: str) -> None:
        """Something about the run that its user may want to know; it is logged."""
        logger.info("%s", sentence)


def section_words(
    section: Section, number: int, count: int, techniques: Sequence[Technique]
) -> dict[str, str]:
    """Which section it is, of `count`, its prompt where it has a text, and the techniques that act in it."""
    acting = [
        f"{TITLES.get(type(technique), type(technique).__name__)} {amount:.2g}"
        for technique in techniques
        if (amount := technique.amount(section))
    ]
    words = {
        "section": f"{number}/{count}",
        "prompt": section.prompt.text.strip(),
        "techniques": ", ".join(acting),
    }
    return {name: value for name, value in words.items() if value}
