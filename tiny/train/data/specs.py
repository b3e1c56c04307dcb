"""Which clips a run trains on, and in which sections something happens. Imports no torch: drawing processes start with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ... import world
from ...world.clips import ONE_WAY
from ..mix import Mix

SECTIONS = {9: 4, 5: 6}
QUIET_SHARE = 0.25
SWITCHES = ("disappear", "appear", "colour", "background", "night", "cut", "motion")


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """A clip by its seed: SECTIONS windows after the first frame.

    `event` happens where section `switch` begins; with section `back` what was before it returns (0 for never). `pair`, `passes`
    and `scale` are those of world.make_clip.
    """

    seed: int
    window: int
    event: str = "none"
    switch: int = 1
    back: int = 0
    pair: bool = False
    passes: bool = False
    scale: int = 1

    @property
    def sections(self) -> int:
        """How many sections the clip has."""
        return SECTIONS[self.window]

    @property
    def frames(self) -> int:
        """Frames of the clip."""
        return self.first_frame(self.sections)

    def first_frame(self, section: int) -> int:
        """The first pixel frame of a section."""
        return 1 + 4 * self.window * section

    @property
    def switch_frame(self) -> int | None:
        """The first frame after the event."""
        return None if self.event == "none" else self.first_frame(self.switch)

    def scene_of(self, section: int) -> int:
        """Which of the clip's scenes a section shows: 0 before the event and when it has come back, 1 between."""
        changed = self.event != "none" and section >= self.switch
        return int(changed and not (self.back and section >= self.back))

    def draw(self) -> world.Clip:
        """The clip's frames and truth."""
        return world.make_clip(
            self.seed,
            self.frames,
            self.event,
            self.switch_frame,
            pair=self.pair,
            back_frame=self.first_frame(self.back) if self.back else None,
            passes=self.passes,
            scale=self.scale,
        )


def specs(count: int, mix: Mix, seed: int, scale: int = 1) -> list[ClipSpec]:
    """The clips of a run; every clip's own seed lies far from those of evaluations, which start at 10**9."""
    rng = np.random.default_rng([seed, 1])
    return [_spec(rng, mix, seed * 10**6 + index, scale) for index in range(count)]


def _spec(rng: np.random.Generator, mix: Mix, seed: int, scale: int) -> ClipSpec:
    window = 5 if rng.random() < mix.window_5 else 9
    event = "none" if rng.random() < QUIET_SHARE else SWITCHES[rng.integers(len(SWITCHES))]
    switch = int(rng.integers(1, SECTIONS[window]))
    back = 0
    if event not in ONE_WAY and switch + 1 < SECTIONS[window] and rng.random() < mix.back:
        back = int(rng.integers(switch + 1, SECTIONS[window]))
    return ClipSpec(
        seed=seed,
        window=window,
        event=event,
        switch=switch,
        back=back,
        pair=bool(rng.random() < mix.pairs),
        passes=event == "none" and bool(rng.random() < mix.passes),
        scale=scale,
    )
