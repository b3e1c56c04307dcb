"""Which prompt each section gets, and what counts as a switch."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry


def prompts(*starts: float) -> list[Prompt]:
    return [
        Prompt(start=start, text=f"at {start:g}", change=0.0 if i == 0 else 0.5 + i / 10)
        for i, start in enumerate(starts)
    ]


def assigned(layout: str, count: int, *starts: float):
    return assign_prompts(plan_sections(layout, count, 9), prompts(*starts))


def test_without_a_switch_no_section_is_in_transition():
    for section in assigned("f1", 3, 0):
        assert section.since_switch is None and section.change == 0 and section.previous is None


@pytest.mark.parametrize(
    ("switch", "first_new"), [(1.2, 1), (1.0, 1), (1.79, 1), (1.9, 2), (2.4, 2), (9.0, None)]
)
def test_a_switch_lands_on_the_nearest_section_border(switch, first_new):
    texts = [section.prompt.text for section in assigned("f1", 3, 0, switch)]
    expected = 3 if first_new is None else first_new
    assert [text != "at 0" for text in texts] == [i >= expected for i in range(3)]


def test_sections_count_from_the_latest_switch():
    sections = assigned("f1", 5, 0, 1.2, 3.6)
    assert [s.since_switch for s in sections] == [None, 0, 1, 0, 1]
    assert [s.change for s in sections] == [0, 0.6, 0.6, 0.7, 0.7]
    assert [s.previous and s.previous.text for s in sections] == [None, "at 0", "at 0", "at 1.2", "at 1.2"]


def test_the_original_layout_meets_a_switch_from_behind():
    sections = assigned("original", 3, 0, 1.2)
    assert [s.prompt.text for s in sections] == ["at 1.2", "at 1.2", "at 0"]
    assert [s.since_switch for s in sections] == [None, None, 0]
    assert sections[2].previous.text == "at 1.2" and sections[2].change == 0.6


def test_the_first_prompt_also_holds_before_its_start():
    assert {s.prompt.text for s in assigned("f1", 2, 5)} == {"at 5"}


@pytest.mark.parametrize(
    ("starts", "words"), [((0, 2, 1), "start later"), ((0, 0), "start later"), ((-1, 2), "before 0")]
)
def test_entries_out_of_order_are_refused(starts, words):
    with pytest.raises(ValueError, match=words):
        Timeline(tuple(TimelineEntry(start=start, prompt="", conditioning=None) for start in starts))


def test_starts_count_from_the_end_of_the_video_that_goes_on():
    # 28 latent frames are 109 frames, and time 0 is the last of them, frame 108. The first new section has frames 109 to
    # 144, with its middle 19 frames after time 0: a start up to there holds from that section on, a later one does not.
    sections = plan_sections("f1", 2, 9, past_latent_frames=28)
    middle = (sections[0].frames[0] + sections[0].frames[1]) / 2
    assert sections[0].frames == (109, 145) and middle - 108 == 19
    for start, first_new in ((19 / 30 - 1e-3, 0), (19 / 30 + 1e-3, 1)):
        placed = assign_prompts(sections, prompts(0, start), past_latent_frames=28)
        assert [section.prompt.start > 0 for section in placed] == [index >= first_new for index in (0, 1)]


def text(seed: int, **more) -> TextConditioning:
    generator = torch.Generator().manual_seed(seed)
    return TextConditioning(
        torch.randn(1, 5, 8, generator=generator), torch.randn(1, 4, generator=generator), **more
    )


MASK = torch.tensor([[True, True, True, True, False]])


@pytest.mark.parametrize(
    ("later", "changed"),
    [
        (text(1), False),
        (text(1, guidance=7.0), False),
        (text(2), True),
        (text(1, mask=MASK), True),
        (text(1, options={"hooks": "a LoRA"}), True),
        (None, True),
    ],
    ids=["alike", "guidance", "states", "mask", "options", "not encoded"],
)
def test_a_section_knows_whether_its_text_says_anything_new(later, changed):
    entered = [Prompt(start=0, text="", conditioning=text(1)), Prompt(start=2.4, text="", conditioning=later)]
    sections = assign_prompts(plan_sections("f1", 4, 9), entered)
    assert [section.text_changed for section in sections] == [False, False, changed, changed]


def test_a_text_that_blends_from_another_one_is_a_new_one():
    entered = [
        Prompt(start=0, text="", conditioning=text(1)),
        Prompt(start=1.2, text="", conditioning=text(2)),
        Prompt(start=2.4, text="", conditioning=text(1), blend=2),
    ]
    back = assign_prompts(plan_sections("original", 4, 9), entered)[2]
    assert back.prompt is entered[1] and back.text_changed
    blending = assign_prompts(plan_sections("f1", 4, 9), entered)[2]
    assert blending.blend_from is entered[1] and blending.text_changed
