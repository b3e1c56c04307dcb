"""Progress reaches whoever listens in this context, and nobody else."""

from __future__ import annotations

import contextvars

import pytest
from framepack_transitions.samplers.progress import Interrupted, progress_reporting, report


def test_reports_go_to_the_innermost_listener() -> None:
    outer: list[tuple] = []
    inner: list[tuple] = []
    report(1, 9)
    with progress_reporting(lambda *values: outer.append(values)):
        report(2, 9, {"section": 1})
        with progress_reporting(lambda *values: inner.append(values)):
            report(3, 9)
        with progress_reporting(None):
            report(4, 9)
        report(5, 9)
    report(6, 9)
    assert outer == [(2, 9, {"section": 1}), (5, 9, {})]
    assert inner == [(3, 9, {})]


def test_another_context_does_not_hear() -> None:
    heard: list[int] = []
    elsewhere = contextvars.copy_context()
    with progress_reporting(lambda step, total, info: heard.append(step)):
        elsewhere.run(report, 1, 2)
    assert heard == []


def test_an_interrupt_passes_through_and_ends_the_listening() -> None:
    def stop(step: int, total: int, info: object) -> None:
        raise Interrupted

    with pytest.raises(Interrupted), progress_reporting(stop):
        report(1, 2)
    report(2, 2)
