"""Progress bars on stderr, one for each node that reports steps."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Any

from tqdm import tqdm

from ...samplers.progress import Interrupted
from ..workflows.executor import Observer
from ..workflows.workflow import Node


class ProgressBars(Observer):
    """Progress bars in the terminal: opened at a node's first step, closed for good when the node is done."""

    def __init__(self) -> None:
        self._open: dict[str, tqdm] = {}
        self._closed: set[str] = set()

    def update(
        self, key: str, label: str, step: int, total: int, *, info: Mapping[str, Any] | None = None
    ) -> None:
        """Moves the bar `key` to `step` of `total`; numbers and words of `info` appear behind it."""
        if key in self._closed:
            return
        if key not in self._open:
            self._open[key] = tqdm(total=total, desc=label, unit="step", dynamic_ncols=True)
        bar = self._open[key]
        bar.total = total
        facts = {name: value for name, value in (info or {}).items() if isinstance(value, str | int | float)}
        bar.set_postfix(facts, refresh=False)
        bar.update(step - bar.n)

    def check(self) -> None:
        """Called while the run waits; raises Interrupted where it is no longer wanted. This one is always wanted."""

    def close(self, key: str | None = None) -> None:
        """Closes one bar, or all that are open."""
        for name in list(self._open) if key is None else [key]:
            self._closed.add(name)
            if name in self._open:
                self._open.pop(name).close()

    def progress(self, node: Node, step: int, total: int, info: Mapping[str, Any]) -> None:
        """Moves the node's bar."""
        self.update(node.id, node.title, step, total, info=info)

    def finished(self, node: Node, outputs: Mapping[str, Any], ui: Mapping[str, Any], seconds: float) -> None:
        """Closes the node's bar."""
        self.close(node.id)


class NoBars(ProgressBars):
    """No bars, for one of several runs side by side; when `stop` is set, the run ends at its next step."""

    def __init__(self, stop: Event) -> None:
        super().__init__()
        self._stop = stop

    def update(
        self, key: str, label: str, step: int, total: int, *, info: Mapping[str, Any] | None = None
    ) -> None:
        """Shows nothing; raises Interrupted where the run is no longer wanted."""
        self.check()

    def check(self) -> None:
        """Raises Interrupted where the run is no longer wanted."""
        if self._stop.is_set():
            raise Interrupted
