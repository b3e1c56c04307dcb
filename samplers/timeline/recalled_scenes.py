"""Returning to an earlier scene: a shot that goes on from what the sections of an earlier prompt have left."""

from __future__ import annotations

from collections.abc import Sequence

from ..conditioning import Prompt
from ..context.history import History, Memory
from ..context.indices import Direction
from ..context.plan import Section


class RecalledScenes:
    """What prompts that are recalled later have left in the history of one run.

    All of it comes back together: start frame, the frames at full resolution and both tiers, each where it was and in the order
    of time, and image tokens that had replaced others. So the first section of a shot that recalls is the one that would have
    followed then.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        """What the sections of a run recall. Raises ValueError where that is not made before them."""
        recalling = [section for section in sections if section.recalls is not None]
        made = {section.prompt for section in sections}
        for section in recalling:
            _expect_earlier(section, made)
        self._wanted = {section.recalls for section in recalling}
        self._left: dict[Prompt, Memory] = {}

    def keep(self, history: History, before: Section, section: Section) -> None:
        """Keep what a prompt has left where another one takes over, if it is recalled later."""
        if before.prompt is not section.prompt and before.prompt in self._wanted:
            self._left[before.prompt] = history.memory

    def recall(self, history: History, section: Section) -> None:
        """Let a section and those after it remember the scene that it returns to."""
        if section.recalls is not None:
            history.recall(self._left[section.recalls])


def _expect_earlier(section: Section, made: set[Prompt]) -> None:
    if section.direction is Direction.BACKWARD:
        raise ValueError(
            f"the prompt at {section.prompt.start:g} s recalls an earlier scene, but layout original generates from the end, so "
            "that this scene is not there yet; use layout f1 (with the F1 model), or give a FramePack Timeline Entry with cut an "
            "image of the scene."
        )
    if section.recalls not in made:
        raise ValueError(
            f"the prompt at {section.prompt.start:g} s recalls a scene whose sections are not sampled in this run; sample the "
            "whole video."
        )
