"""Timeline nodes: chained entries become the timeline that the sampler reads."""

from __future__ import annotations

import pytest
from framepack_transitions.nodes.evaluation.video_evaluation import cues_of
from framepack_transitions.nodes.timeline.entry import FramePackTimelineEntry
from framepack_transitions.samplers.timeline.timeline import TimelineEntry

add = FramePackTimelineEntry().add


def test_entries_chain_in_the_order_they_are_wired():
    (first,) = add("day conditioning", 0.0, "day", 0.0)
    (both,) = add("night conditioning", 2.4, "night", 1.0, first)
    assert [(e.start, e.prompt, e.conditioning, e.change) for e in both.entries] == [
        (0.0, "day", "day conditioning", 0.0),
        (2.4, "night", "night conditioning", 1.0),
    ]


def test_an_entry_leaves_the_timeline_before_it_as_it_was():
    (first,) = add("a", 0.0, "", 1.0)
    add("b", 1.0, "", 1.0, first)
    assert len(first.entries) == 1


def test_what_is_left_out_changes_nothing():
    (timeline,) = add("a", 1.0, "", 1.0)
    assert vars(timeline.entries[0]) == vars(TimelineEntry(start=1.0, prompt="", conditioning="a"))


def test_an_entry_brings_its_keyframe_cut_and_blend():
    keyframe, vision = {"samples": "latent"}, object()
    (shot,) = add("a", 1.0, "", 1.0, start_latent=keyframe, clip_vision_output=vision, cut=True)
    (soft,) = add("b", 2.0, "", 1.0, shot, blend=2, vision_strength=0.5, state="an empty room")
    first, second = soft.entries
    assert (first.start_latent, first.clip_vision_output, first.cut) == (keyframe, vision, True)
    assert (second.blend, second.vision_strength, second.cut) == (2, 0.5, False)
    assert second.state == "an empty room" and cues_of(soft)[-1].state == "an empty room"


def test_an_entry_has_a_seed_of_its_own_only_where_one_is_given():
    (timeline,) = add("a", 1.0, "", 1.0, section_seed=0)
    (both,) = add("b", 2.0, "", 1.0, timeline, section_seed=-1)
    assert [entry.section_seed for entry in both.entries] == [0, None]
    with pytest.raises(ValueError, match="at 1 s has the section_seed -5; give 0 to"):
        add("a", 1.0, "", 1.0, section_seed=-5)


def test_a_cut_at_the_beginning_is_refused():
    with pytest.raises(ValueError, match="only begins there"):
        add("a", 0.0, "", 1.0, cut=True)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_an_entry_that_does_not_start_later_is_refused(start):
    (first,) = add("a", 1.0, "", 1.0)
    with pytest.raises(ValueError, match="start later"):
        add("b", start, "", 1.0, first)
