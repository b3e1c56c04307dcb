"""Where a prompt takes effect, and the windows around that."""

from __future__ import annotations

import numpy as np
import pytest
from framepack_transitions.metrics import Cue, Switch, switches_from_trace, switches_of, windows_of
from framepack_transitions.metrics.scoring.guards import whole
from framepack_transitions.metrics.switches import Windows
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.timeline.assignment import assign_prompts


def prompt(start: float, text: str) -> Prompt:
    return Prompt(start=start, text=text)


def test_without_sections_a_prompt_takes_effect_at_the_nearest_frame():
    switches = switches_of([Cue(start=0, prompt="a"), Cue(start=1.02, prompt="b", change=0.3)], fps=24)
    assert switches == [Switch(frame=24, requested=1.02, old="a", new="b", change=0.3, prompt="b")]
    assert switches[0].seconds(24) == 1


@pytest.mark.parametrize("window", [3, 9])
def test_sections_start_at_four_times_their_latents_and_one(window):
    frames = [
        switch.frame
        for switch in switches_of(
            [Cue(start=0, prompt="a"), Cue(start=2.1, prompt="b")], fps=30, window=window
        )
    ]
    assert (frames[0] - 1) % (4 * window) == 0


@pytest.mark.parametrize("start", np.linspace(0.1, 5.5, 28))
@pytest.mark.parametrize("window", [4, 9])
def test_the_sampler_switches_at_the_same_frame(start, window):
    sections = plan_sections("f1", 12, window)
    assigned = assign_prompts(sections, [prompt(0, "a"), prompt(start, "b")])
    new = [section.frames[0] for section in assigned if section.prompt.text == "b"]
    found = switches_of([Cue(start=0, prompt="a"), Cue(start=start, prompt="b")], fps=30, window=window)[
        0
    ].frame
    assert found == new[0] if new else found > assigned[-1].frames[0]


def test_the_state_text_is_what_is_seen_and_the_prompt_stays_known():
    cues = [
        Cue(start=0, prompt="a man", state="a man in a room"),
        Cue(start=2, prompt="the man disappears", state="an empty room"),
    ]
    switch = switches_of(cues, fps=30)[0]
    assert (switch.old, switch.new, switch.prompt) == (
        "a man in a room",
        "an empty room",
        "the man disappears",
    )


def test_one_prompt_is_no_switch_and_the_same_again_changes_nothing():
    assert switches_of([Cue(start=0, prompt="a")], fps=30) == switches_of([], fps=30) == []
    assert [
        s.changes
        for s in switches_of(
            [Cue(start=0, prompt="a"), Cue(start=1, prompt="a "), Cue(start=2, prompt="b")], fps=30
        )
    ] == [False, True]


def test_a_prompt_that_never_takes_effect_is_left_out():
    switches = switches_of(
        [Cue(start=0, prompt="a"), Cue(start=1.0, prompt="b"), Cue(start=1.1, prompt="c")], fps=30, window=9
    )
    assert [(switch.old, switch.new) for switch in switches] == [("a", "c")]


@pytest.mark.parametrize(
    ("cues", "options", "message"),
    [
        ([Cue(start=0, prompt="a")], {"fps": 0}, "fps is 0"),
        ([Cue(start=0, prompt="a")], {"fps": 30, "window": -1}, "window is -1"),
        ([Cue(start=0, prompt="a"), Cue(start=0, prompt="b")], {"fps": 30}, r"\[0, 0\] s"),
        ([Cue(start=-1, prompt="a")], {"fps": 30}, r"\[-1\] s"),
    ],
)
def test_what_cannot_be_placed_in_time_is_refused(cues, options, message):
    with pytest.raises(ValueError, match=message):
        switches_of(cues, **options)


def record(index, frames, text, change=0.0, state=""):
    return {"index": index, "frames": frames, "prompt": text, "state": state, "change": change}


def test_a_trace_knows_the_frame_better():
    sections = [
        record(0, [0, 37], "a"),
        record(1, [37, 73], "b", 0.4, state="bee"),
        record(2, [73, 109], "b", 0.4, state="bee"),
    ]
    cues = [Cue(start=0, prompt="a"), Cue(start=1.1, prompt="b", state="bee", interval=(1, 2))]
    switches = switches_from_trace({"sections": sections}, fps=30, cues=cues)
    assert switches == [
        Switch(frame=37, requested=1.1, old="a", new="bee", change=0.4, prompt="b", interval=(1, 2))
    ]
    assert switches_from_trace({"sections": sections}, fps=30)[0].requested == 37 / 30


def test_the_trace_of_a_video_that_was_made_backwards_is_read_forwards():
    sections = [record(0, [73, 109], "b", 0.0), record(1, [37, 73], "a", 0.6), record(2, [1, 37], "a", 0.6)]
    switches = switches_from_trace({"sections": sections}, fps=30)
    assert switches == [Switch(frame=73, requested=73 / 30, old="a", new="b", change=0.6, prompt="b")]


def test_windows_are_bounded_by_the_other_switches():
    switches = [
        Switch(frame=30, requested=1, old="a", new="b"),
        Switch(frame=120, requested=4, old="b", new="c"),
    ]
    first, second = (windows_of(switch, switches, 240, 30) for switch in switches)
    assert (first.before, first.after, first.settled) == ((15, 30), (30, 120), (90, 120))
    assert (second.before, second.after, second.settled) == ((90, 120), (120, 240), (200, 240))
    assert not first.is_short and first.half == 15


def test_what_changes_nothing_bounds_nothing():
    switches = [
        Switch(frame=30, requested=1, old="a", new="b"),
        Switch(frame=60, requested=2, old="b", new="b"),
    ]
    assert windows_of(switches[0], switches, 90, 30).after == (30, 90)


@pytest.mark.parametrize(("fps", "half"), [(15, 8), (24, 12), (25, 13), (30, 15), (1, 1)])
def test_half_a_second_is_full(fps, half):
    assert windows_of(Switch(frame=1, requested=0, old="a", new="b"), [], 10, fps).half == half


def test_switches_that_crowd_one_another_have_short_stretches():
    switches = [
        Switch(frame=30, requested=1, old="a", new="b"),
        Switch(frame=35, requested=1.2, old="b", new="c"),
    ]
    windows = windows_of(switches[0], switches, 100, 30)
    assert windows.is_short and windows.settled == windows.after == (30, 35)


def test_a_video_without_a_switch_is_judged_by_its_first_and_its_last_third():
    assert whole(90, 30) == Windows((0, 30), (0, 90), (60, 90), 15)
    # Half a second where a third is shorter.
    assert whole(30, 30) == Windows((0, 15), (0, 30), (15, 30), 15)
