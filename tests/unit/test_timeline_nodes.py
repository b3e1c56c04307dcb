"""Timeline nodes: chained entries become the timeline that the sampler reads."""

from __future__ import annotations

import pytest
from framepack_transitions.nodes.timeline import FramePackTimelineEntry

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


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_an_entry_that_does_not_start_later_is_refused(start):
    (first,) = add("a", 1.0, "", 1.0)
    with pytest.raises(ValueError, match="start later"):
        add("b", start, "", 1.0, first)
