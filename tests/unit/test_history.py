"""What each section sees: latents numbered by their place in the video make the order visible."""

from __future__ import annotations

import pytest
import torch
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.samplers.context.plan import direction_of, plan_sections
from framepack_transitions.video.cross_fade import soft_append


def numbered(first: int, count: int) -> torch.Tensor:
    return (
        torch.arange(first, first + count, dtype=torch.float32).view(1, 1, -1, 1, 1).expand(1, 16, -1, 2, 2)
    )


def numbers(latents: torch.Tensor) -> list[int]:
    return latents[0, 0, :, 0, 0].int().tolist()


def test_f1_sees_zeros_then_the_start_then_its_own_frames():
    history = History(Direction.FORWARD, numbered(100, 1))
    sections = plan_sections("f1", 3, 3)
    first = history.context(sections[0])
    assert numbers(first.clean) == [100, 100]
    assert numbers(first.clean_2x) == [0, 0] and numbers(first.clean_4x) == [0] * 16
    history.append(numbered(1, 3))
    second = history.context(sections[1])
    assert numbers(second.clean) == [100, 3]
    assert numbers(second.clean_2x) == [1, 2]
    assert numbers(second.clean_4x) == [0] * 15 + [100]
    history.append(numbered(4, 3))
    assert numbers(history.video()) == [100, 1, 2, 3, 4, 5, 6]


def test_original_sees_the_future_nearest_first():
    history = History(Direction.BACKWARD, numbered(100, 1))
    sections = plan_sections("original", 2, 3)
    first = history.context(sections[0])
    assert numbers(first.clean) == [100, 0]
    history.append(numbered(4, 3))
    second = history.context(sections[1])
    assert numbers(second.clean) == [100, 4]
    assert numbers(second.clean_2x) == [5, 6]
    assert numbers(second.clean_4x) == [0] * 16
    history.append(numbered(1, 3))
    assert numbers(history.video()) == [100, 1, 2, 3, 4, 5, 6]


def test_an_end_frame_stands_after_the_window_of_the_first_generated_section_only():
    history = History(Direction.BACKWARD, numbered(100, 1), end=numbered(200, 1))
    sections = plan_sections("original", 2, 3)
    assert numbers(history.context(sections[0]).clean) == [100, 200]
    history.append(numbered(4, 3))
    assert numbers(history.context(sections[1]).clean) == [100, 4]


def test_f1_has_no_slot_for_an_end_frame():
    with pytest.raises(ValueError, match="layout original"):
        History(Direction.FORWARD, numbered(1, 1), end=numbered(2, 1))


@pytest.mark.parametrize("layout", ["f1", "original"])
def test_without_an_image_the_video_holds_generated_frames_only(layout):
    history = History(direction_of(layout), numbered(0, 1), keeps_start=False)
    history.append(numbered(1, 3))
    assert numbers(history.video()) == [1, 2, 3]


def test_soft_append_cross_fades_from_one_to_zero_inclusive():
    joined = soft_append(torch.ones(5), torch.zeros(4), overlap=3)
    assert joined.tolist() == [1, 1, 1, 0.5, 0, 0]


def test_soft_append_refuses_clips_shorter_than_the_overlap():
    with pytest.raises(ValueError, match="blend 3 frames of clips with 2 and 4"):
        soft_append(torch.ones(2), torch.ones(4), overlap=3)
