"""Units of work, each done once by one of several places; a place that is gone gives its unit back."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from ..running.progress import NoBars, ProgressBars
from ..running.server import ServerGone
from .places import Place

logger = logging.getLogger(__name__)

Unit = TypeVar("Unit")
Result = TypeVar("Result")

Do = Callable[[Place, Unit, ProgressBars], Result]
OnResult = Callable[[Unit, Result], None]

POLL_SECONDS = 1.0
ALL_GONE_SECONDS = 300.0  # that no place answers until the work is given up
END_SECONDS = 10.0  # that places have to cancel what they are at


def spread(
    units: Sequence[Unit],
    places: Sequence[Place],
    do: Do[Unit, Result],
    on_result: OnResult[Unit, Result],
) -> None:
    """Do every unit at one of the places, and call `on_result` with each result in this thread.

    A single place does the units in this thread, in order, and shows its progress. Several places take the units
    in order, each one at a time in a thread of its own. Where a place is gone its unit goes to the next that is free, and the
    place is asked again when it answers. Raises what `do` raises otherwise, and ServerGone where no place answers for
    ALL_GONE_SECONDS; units that others are at are cancelled then, as with KeyboardInterrupt.
    """
    if len(places) == 1:
        for unit in units:
            on_result(unit, _shown(unit, places[0], do))
    elif units:
        _SideBySide(units, places, do).run(on_result)


def _shown(unit: Unit, place: Place, do: Do[Unit, Result]) -> Result:
    """The result of a unit, with bars of its own."""
    bars = ProgressBars()
    try:
        return do(place, unit, bars)
    finally:
        bars.close()


class _SideBySide(Generic[Unit, Result]):
    """The units that wait, the threads of the places, and what they have to say."""

    def __init__(self, units: Sequence[Unit], places: Sequence[Place], do: Do[Unit, Result]) -> None:
        self._waiting, self._left, self._do = deque(units), len(units), do
        self._said: SimpleQueue[tuple[Unit, Result] | BaseException] = SimpleQueue()
        self._stop = threading.Event()
        self._gone: dict[Place, ServerGone] = {}
        self._threads = {
            place: threading.Thread(target=self._work, args=(place,), daemon=True) for place in places
        }

    def run(self, on_result: OnResult[Unit, Result]) -> None:
        """Have all units done."""
        for thread in self._threads.values():
            thread.start()
        try:
            while self._left:
                on_result(*self._next_result())
                self._left -= 1
        finally:
            self._stop.set()
            until = time.monotonic() + END_SECONDS
            for thread in self._threads.values():
                thread.join(max(until - time.monotonic(), 0))

    def _next_result(self) -> tuple[Unit, Result]:
        """The next result of any place; raises what a place says instead."""
        until = time.monotonic() + ALL_GONE_SECONDS
        while True:
            try:
                said = self._said.get(timeout=POLL_SECONDS)
            except Empty:
                gone = list(self._gone.values())
                if len(gone) < len(self._threads):
                    until = time.monotonic() + ALL_GONE_SECONDS
                elif time.monotonic() > until:
                    raise gone[0] from None
                continue
            if isinstance(said, BaseException):
                raise said
            return said

    def _work(self, place: Place) -> None:
        """Do one unit after the other at a place, until the work is done."""
        try:
            while not self._stop.is_set():
                unit = self._take()
                if unit is not None:
                    self._do_at(place, unit)
        except BaseException as error:  # whatever ends a place ends the work, which says so
            self._said.put(error)

    def _take(self) -> Unit | None:
        """The next unit; None where none waits now: a place that is gone may still give one back."""
        try:
            return self._waiting.popleft()
        except IndexError:
            self._stop.wait(POLL_SECONDS)
            return None

    def _do_at(self, place: Place, unit: Unit) -> None:
        try:
            self._said.put((unit, self._do(place, unit, NoBars(self._stop))))
        except ServerGone as gone:
            logger.warning("%s What it was at goes to another place.", gone)
            self._gone[place] = gone
            self._waiting.appendleft(unit)
            self._wait_for(place)

    def _wait_for(self, place: Place) -> None:
        """Return when the place answers again, or the work is done."""
        while not self._stop.wait(POLL_SECONDS):
            if place.answers():
                logger.warning("%s is back.", place.name)
                del self._gone[place]
                return
