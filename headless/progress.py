"""Progress bars on stderr, one for each node that reports steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from .executor import Observer
from .workflow import Node


class Bars(Observer):
    """Opens a bar at a node's first step and closes it when the node is done."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm] = {}

    def update(self, key: str, label: str, step: int, total: int, info: Mapping[str, Any] | None = None) -> None:
        """Moves the bar `key` to `step` of `total`; numbers and words of `info` appear behind it."""
        bar = self._bars.get(key)
        if bar is None:
            bar = self._bars[key] = tqdm(total=total, desc=label, unit="step", dynamic_ncols=True)
        bar.total = total
        facts = {name: value for name, value in (info or {}).items() if isinstance(value, str | int | float)}
        bar.set_postfix(facts, refresh=False)
        bar.update(step - bar.n)
        # tqdm skips drawings that come too fast, but the last one must show the end.
        if step >= total:
            bar.refresh()

    def close(self, key: str | None = None) -> None:
        """Closes one bar, or all that are open."""
        for name in list(self._bars) if key is None else [key]:
            bar = self._bars.pop(name, None)
            if bar is not None:
                bar.close()

    def progress(self, node: Node, step: int, total: int, info: Mapping[str, Any]) -> None:
        self.update(node.id, node.title, step, total, info)

    def finished(self, node: Node, outputs: Mapping[str, Any], shown: Mapping[str, Any], seconds: float) -> None:
        self.close(node.id)
