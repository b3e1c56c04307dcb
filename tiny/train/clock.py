"""How much of a time has passed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Runs for a number of seconds from when it was made; `before` are seconds that were spent earlier."""

    limit: float = float("inf")
    before: float = 0.0
    _began: float = field(default_factory=time.monotonic, init=False)

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.before + time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the limit, at least 0."""
        return max(self.limit - self.seconds, 0.0)

    @property
    def over(self) -> bool:
        """Whether the limit has been reached."""
        return self.seconds >= self.limit

    @property
    def done(self) -> float:
        """Share of the time that has passed, 0 to 1."""
        return min(self.seconds / self.limit, 1.0) if self.limit else 1.0


def paced(steps: int, watch: Stopwatch) -> Iterator[tuple[int, float]]:
    """The steps of something from 0, each with the share that is behind, until either all steps or the time is over."""
    for step in range(steps):
        done = max(step / steps, watch.done)
        if done >= 1:
            return
        yield step, done
