"""What the sampler says and shows while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from torch import Tensor

from ...samplers.context.plan import Section
from ...samplers.denoising.drivers import Driver
from ...samplers.observer import SectionObserver, section_words
from ..host_messages import show_text, time_left
from ..notices import show_notices
from .section_preview import SectionPreview

logger = logging.getLogger(__name__)

TEXT_SECONDS = 0.5  # between two texts in the node


class RunProgress(SectionObserver):
    """Says in words how far a run of `count` sections is, in the node and, once a section, in the log.

    Finished sections go to the `preview`, if there is one. `notices` holds what was said about the run as a whole, by others
    before it and then here.
    """

    def __init__(
        self,
        driver: Driver,
        count: int,
        preview: SectionPreview | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self.step_pictures = preview is None  # a picture would hide the video
        self.notices = [*notices]
        self._driver, self._count, self._preview = driver, count, preview
        self._began = self._section_began = time.monotonic()
        self._number, self._shown_at = 0, 0.0
        self._steps = self._reused_steps = self._reused = 0
        self._words: list[str] = []

    def section_begins(self, section: Section) -> None:
        """Say which section it is, under which prompt, and what acts in it."""
        self._number += 1
        self._section_began = time.monotonic()
        words = section_words(section, self._number, self._count, self._driver.techniques)
        words["section"] = f"section {self._number} of {self._count}"
        if "prompt" in words:
            words["prompt"] = f"“{words['prompt']}”"
        self._words = list(words.values())
        self._show("")

    def step_done(self, done: int, total: int) -> None:
        """Say how long the rest takes."""
        self._steps = done
        if time.monotonic() - self._shown_at >= TEXT_SECONDS:
            self._show(self._left(done, total, self._reused_steps))

    def section_done(self, section: Section, latents: Tensor, *, reused: bool = False) -> None:
        """Show the section; log it if it was sampled."""
        if self._preview is not None:
            self._preview.add(section.latents[0], self._driver.to_vae(latents))
            self._preview.show(settled=reused)
        now = time.monotonic()
        if reused:  # time is counted from the first section that is sampled
            self._began, self._reused, self._reused_steps = now, self._number, self._steps
            return
        left = self._left(self._number, self._count, self._reused)
        logger.info("FramePack %s", _joined(*self._words, f"{now - self._section_began:.1f} s", left))
        self._show(left)

    def notice(self, sentence: str) -> None:
        """Log a sentence, and show it after those before it."""
        super().notice(sentence)
        self.notices.append(sentence)
        show_notices(self.notices)

    def _left(self, done: int, total: int, reused: int) -> str:
        """How long the rest takes, where `reused` of what is done took no time."""
        return time_left(done - reused, total - reused, time.monotonic() - self._began)

    def _show(self, left: str) -> None:
        self._shown_at = time.monotonic()
        show_text(_joined(*self._words, left))


def _joined(*words: str) -> str:
    return " · ".join(filter(None, words))
