"""Scores as text and as data: what is valid is a number, what is not is a reason."""

from __future__ import annotations

import json
import re
from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.metrics.reporting.report import (
    SCHEMA,
    first_distance,
    report_part,
    switch_entry,
    text_table,
)
from framepack_transitions.metrics.reporting.text import one_line
from framepack_transitions.metrics.results import Guard
from framepack_transitions.metrics.switches import Switch


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_a_value_and_the_founding_value_stand_beside_the_name(score_cases: ModuleType) -> None:
    entry = score_cases.switch_scores(30, stf=score_cases.metric(0.874, 0.312))
    line = line_of(text_table([score_cases.video_scores(switches=(entry,))]), "STF")
    assert line.split()[-2:] == ["0.87", "(0.31)"]


def test_latencies_are_in_frames_and_seconds(score_cases: ModuleType) -> None:
    entry = score_cases.switch_scores(30, tl90=score_cases.metric(36.0))
    text = text_table([score_cases.video_scores(switches=(entry,))])
    assert line_of(text, "TL90").endswith("36 frames 1.20 s")
    assert line_of(text, "switch at").endswith("frame 30 (1.00 s)")


def test_a_wait_that_was_cut_short_is_not_a_latency(score_cases: ModuleType) -> None:
    entry = score_cases.switch_scores(30, tl90=score_cases.metric(60.0, reason="not reached", censored=True))
    text = text_table([score_cases.video_scores(switches=(entry,))])
    assert line_of(text, "TL90").endswith("not in 60 frames [1]")
    assert line_of(text, "[1]") == "[1] not reached"


@pytest.mark.parametrize(("value", "valid"), [(0.77, False), (np.nan, True), (np.nan, False)])
def test_what_is_not_valid_is_never_a_number(score_cases: ModuleType, value: float, valid: bool) -> None:
    entry = score_cases.switch_scores(30, gas=score_cases.metric(value, reason="no reference", valid=valid))
    text = text_table([score_cases.video_scores(switches=(entry,))])
    assert line_of(text, "GAS").endswith("not valid [1]")
    assert "0.77" not in text and "nan" not in text
    assert "[1] no reference" in text


def test_what_was_not_asked_for_takes_no_line(score_cases: ModuleType) -> None:
    unasked = score_cases.metric(np.nan, reason="nothing was named", valid=False)
    entry = score_cases.switch_scores(30, stf=score_cases.metric(0.9), df=unasked)
    text = text_table([score_cases.video_scores(switches=(entry,))])
    assert "DF" not in text and "nothing was named" not in text
    asked = score_cases.metric(np.nan, reason="not seen before", valid=False, curve=np.zeros(90))
    entry = score_cases.switch_scores(30, df=asked)
    assert line_of(text_table([score_cases.video_scores(switches=(entry,))]), "DF").endswith("not valid [1]")


def test_zero_has_no_sign(score_cases: ModuleType) -> None:
    entry = score_cases.switch_scores(30, ddi=score_cases.metric(-0.001, -0.004))
    line = line_of(text_table([score_cases.video_scores(switches=(entry,))]), "DDI")
    assert line.endswith(" 0.00 (0.00)")


def test_the_same_reason_is_written_once(score_cases: ModuleType) -> None:
    bad = score_cases.metric(np.nan, reason="no reference", valid=False)
    entry = score_cases.switch_scores(30, stf=bad, gas=bad)
    videos = [score_cases.video_scores(name, switches=(entry,)) for name in ("a", "b")]
    assert text_table(videos).count("no reference") == 1


def test_a_guard_that_fails_is_shown_with_its_reason(score_cases: ModuleType) -> None:
    guards = (
        Guard(name="black", ok=False, value=1.0, limit=0.1, reason="the picture is black"),
        Guard(name="noise", ok=True, value=0.0, limit=0.1),
    )
    entry = score_cases.switch_scores(30, guards=guards, df=score_cases.metric(1.0))
    text = text_table([score_cases.video_scores(switches=(entry,))])
    assert line_of(text, "guards").endswith("FAILED: black [1]")
    assert "[1] the picture is black" in text


def test_videos_stand_in_columns_that_line_up(score_cases: ModuleType) -> None:
    good = score_cases.switch_scores(30, stf=score_cases.metric(0.9, 0.3))
    videos = [
        score_cases.video_scores("短い.mp4", switches=(good,)),
        score_cases.video_scores(
            "b", switches=(good, score_cases.switch_scores(60, df=score_cases.metric(1.0)))
        ),
    ]
    lines = text_table(videos).splitlines()
    first, second = [line for line in lines if line.strip().startswith("switch at")]
    assert re.split(r"  +", first.strip()) == ["switch at", "frame 30 (1.00 s)", "frame 30 (1.00 s)"]
    assert re.split(r"  +", second.strip()) == ["switch at", "-", "frame 60 (2.00 s)"]
    # Two of the characters of the first name are two columns wide.
    head = next(line for line in lines if line.endswith(" b"))
    assert head.rindex("b") + 2 == first.rindex("frame 30")


def test_a_video_without_a_switch_has_no_scores(score_cases: ModuleType) -> None:
    assert "curves and guards only" in text_table([score_cases.video_scores()])


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("a  b\nc", 10, "a b c"),
        ("abcdefghij", 8, "abcde..."),
        ("夜夜夜夜夜", 9, "夜夜夜..."),
        ("夜夜", 4, "夜夜"),
    ],
)
def test_long_texts_are_cut_to_columns(text: str, limit: int, expected: str) -> None:
    assert one_line(text, limit) == expected


def test_the_report_has_the_documented_fields(score_cases: ModuleType) -> None:
    entry = score_cases.switch_scores(
        30, stf=score_cases.metric(0.9, 0.3), gas=score_cases.metric(np.nan, 0.8, "no reference", valid=False)
    )
    part = json.loads(json.dumps(report_part([score_cases.video_scores(switches=(entry,))]), allow_nan=False))
    (switch,) = part["switches"]
    assert {"frame", "seconds", "old", "new", "change", "metrics"} <= set(switch)
    assert (switch["frame"], switch["seconds"], switch["old"], switch["new"]) == (30, 1.0, "a day", "a night")
    assert switch["metrics"]["stf"]["value"] == 0.9
    assert switch["metrics"]["gas"] == {
        "value": None,
        "founding": 0.8,
        "valid": False,
        "reason": "no reference",
        "censored": False,
        "details": {},
    }


def test_several_videos_have_a_list_of_switches_each(score_cases: ModuleType) -> None:
    entry = score_cases.switch_scores(30, stf=score_cases.metric(0.9))
    part = report_part([score_cases.video_scores("a", switches=(entry,)), score_cases.video_scores("b")])
    assert [len(switches) for switches in part["switches"]] == [1, 0]
    assert [video["name"] for video in part["evaluation"]] == ["a", "b"]


def test_curves_are_written_frame_by_frame(score_cases: ModuleType) -> None:
    curve = np.r_[np.full(30, np.nan), np.ones(60)]
    entry = score_cases.switch_scores(30, tl90=score_cases.metric(0.0, curve=curve))
    video = score_cases.video_scores(switches=(entry,), detections={"a cat": np.zeros(90)})
    curves = report_part([video])["evaluation"][0]["curves"]
    assert curves["tl90_1"] == [None] * 30 + [1.0] * 60
    assert curves["detection a cat"] == [0.0] * 90
    assert len(curves["change"]) == 89


def test_distance_counts_from_the_first_whole_frame() -> None:
    features = np.array([[np.nan, np.nan], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [6.0, 8.0]])
    assert np.array_equal(first_distance(features), [np.nan, 0, 0, 1, 1], equal_nan=True)
    assert np.isnan(first_distance(np.full((3, 2), np.nan))).all()


def test_a_switch_alone_is_an_entry_without_metrics() -> None:
    entry = switch_entry(Switch(frame=36, requested=1.0, old="a", new="b", change=0.8), 30.0)
    assert (entry["frame"], entry["seconds"], entry["requested"], entry["change"]) == (36, 1.2, 1.0, 0.8)
    assert entry["metrics"] == {}
    assert SCHEMA == "framepack-transitions/1"
