"""The picture of scores: everything lies where its moment is, and nothing invalid looks like a result."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.metrics.reporting.plot import plot_curves, plot_scores
from framepack_transitions.metrics.reporting.rows import LEFT, RIGHT
from framepack_transitions.metrics.reporting.style import COLOURS, NODE_WIDTH

RED, BLUE = (220, 30, 30), (30, 30, 220)


def ramp(frames: int = 90, switch: int = 30) -> np.ndarray:
    return np.clip((np.arange(frames) - switch) / 20, 0, 1)


def scored(cases: ModuleType, name: str = "a.mp4", frame: int = 30, **metrics):
    metrics = metrics or {"tl90": cases.metric(18.0, curve=ramp(switch=frame))}
    return cases.video_scores(
        name, switches=(cases.switch_scores(frame, **metrics),), colours={0: RED, frame: BLUE}
    )


def column(time: float, end: float = 3.0, width: int = 1000) -> int:
    return round(LEFT + (width - LEFT - RIGHT) * time / end)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def near(picture: np.ndarray, colour, tolerance: int = 12) -> np.ndarray:
    return (np.abs(picture.astype(int) - np.asarray(colour)) <= tolerance).all(-1)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("width", [1000, 1400])
def test_any_number_of_videos_fits_the_width(score_cases: ModuleType, count: int, width: int) -> None:
    picture = plot_scores([scored(score_cases, f"v{i}") for i in range(count)], width)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (width, 3)
    strips = near(picture, BLUE).sum(1) > 0.3 * (width - LEFT - RIGHT)
    assert np.diff(strips.astype(int), prepend=0).clip(0).sum() == count, "one strip of frames for each video"
    assert (picture[:, -3:] == 255).all(), "nothing runs over the edge"


def test_frames_stand_below_their_moment(score_cases: ModuleType) -> None:
    picture = plot_scores([scored(score_cases)])
    red, blue = near(picture, RED), near(picture, BLUE)
    row = red.sum(1).argmax()
    assert red[row, column(0.1) : column(0.75)].mean() > 0.95
    assert blue[row, column(1.25) : column(2.9)].mean() > 0.95


def test_a_shorter_video_ends_earlier(score_cases: ModuleType) -> None:
    videos = [score_cases.video_scores("a", 90), score_cases.video_scores("b", 45, colours={0: RED})]
    picture = plot_scores(videos)
    row = near(picture, RED).sum(1).argmax()
    places = np.flatnonzero(near(picture, RED)[row])
    assert abs(places.max() - column(1.5)) < 60


def test_the_distance_from_the_first_frame_stands_in_where_there_is_no_timeline(
    score_cases: ModuleType,
) -> None:
    def pictures(video) -> list[np.ndarray]:
        """With features that stay, and with features that move away from the first frame's."""
        moving = np.ones((90, 4))
        moving[:, 0] = np.linspace(1, 4, 90)
        moved = replace(video, measurements=replace(video.measurements, features=moving))
        return [plot_scores([video]), plot_scores([moved])]

    assert not np.array_equal(*pictures(score_cases.video_scores()))
    assert np.array_equal(*pictures(scored(score_cases)))


@pytest.mark.parametrize("frame", [15, 60])
def test_the_switch_is_marked_where_it_is(score_cases: ModuleType, frame: int) -> None:
    picture = plot_scores([scored(score_cases, frame=frame)])
    dark = (picture < 90).all(-1)[400:].sum(0)
    inside = dark[LEFT + 8 : -RIGHT - 2]
    assert abs(inside.argmax() + LEFT + 8 - column(frame / 30)) <= 2


def test_a_curve_passes_through_its_values(score_cases: ModuleType) -> None:
    step = np.r_[np.zeros(60), np.ones(30)]
    picture = plot_scores([scored(score_cases, stf=score_cases.metric(1.0, curve=step))])
    line = near(picture, rgb(COLOURS[0]), 40)
    low = np.flatnonzero(line[:, column(1.0) - 20])
    high = np.flatnonzero(line[:, column(2.5)])
    # Of all panels only this one moves, upwards: its line is higher after the step.
    assert high.min() < low.min()


def test_completion_is_marked_where_it_happens(score_cases: ModuleType) -> None:
    flat = np.full(90, 0.5)
    done = scored(score_cases, tl90=score_cases.metric(30.0, curve=flat))
    never = scored(score_cases, tl90=score_cases.metric(60.0, curve=flat, censored=True))
    pictures = [plot_scores([video])[-700:] for video in (done, never)]
    changed = np.flatnonzero((pictures[0] != pictures[1]).any(-1)[100:500].any(0))
    # The table differs as well, further up.
    assert len(changed) and abs(changed.mean() - column(2.0)) < 4
    assert np.ptp(changed) < 16


def test_the_value_of_an_invalid_score_is_not_shown(score_cases: ModuleType) -> None:
    def picture(value: float, reason: str) -> np.ndarray:
        metric = score_cases.metric(value, reason=reason, valid=False)
        return plot_scores([scored(score_cases, stf=metric)])

    assert np.array_equal(picture(0.1, "too short"), picture(0.9, "too short"))
    assert not np.array_equal(picture(0.1, "too short"), picture(0.1, "no reference"))


def test_curves_without_a_number_take_no_room(score_cases: ModuleType) -> None:
    nothing = scored(score_cases, stf=score_cases.metric(1.0, curve=np.full(90, np.nan)))
    something = scored(score_cases, stf=score_cases.metric(1.0, curve=np.ones(90)))
    assert len(plot_scores([nothing])) < len(plot_scores([something]))


def test_videos_without_a_switch_are_drawn_without_a_mark(score_cases: ModuleType) -> None:
    red = near(plot_scores([score_cases.video_scores(colours={0: RED})]), RED)
    row = red[red.sum(1).argmax()]
    # Only the thin gaps between frames are of another colour: no line of a switch.
    assert row[column(0.05) : column(2.95)].mean() > 0.95
    assert max(len(gap) for gap in "".join("r" if red else " " for red in row[LEFT:-RIGHT]).split("r")) <= 4


@pytest.mark.parametrize("name", ["夜の街.mp4", "costs $5 and $6.mp4", "x" * 300, "_{^"])
def test_any_name_is_drawn(score_cases: ModuleType, name: str, recwarn: pytest.WarningsRecorder) -> None:
    plot_scores([scored(score_cases, name), scored(score_cases, name)])
    # Libraries' own use of what their dependencies deprecate is none of ours.
    assert not [warning for warning in recwarn if not issubclass(warning.category, DeprecationWarning)]


def test_a_single_frame_is_drawn(score_cases: ModuleType) -> None:
    red = near(plot_scores([score_cases.video_scores(frames=1, colours={0: RED})]), RED)
    assert red.sum(1).max() > 0.9 * (1000 - LEFT - RIGHT), (
        "it fills the strip, as it lasts all the time there is"
    )


def test_nothing_to_plot_is_said() -> None:
    with pytest.raises(ValueError, match="at least one video"):
        plot_scores([])


@pytest.mark.parametrize("count", [1, 2])
def test_a_plot_for_a_node_is_wider_than_high_and_has_no_table(score_cases: ModuleType, count: int) -> None:
    videos = [scored(score_cases, f"v{i}") for i in range(count)]
    picture = plot_curves(videos)
    assert picture.shape[0] < picture.shape[1] == NODE_WIDTH
    assert picture.shape[0] < plot_scores(videos, NODE_WIDTH).shape[0]
    assert (picture[:, -3:] == 255).all(), "nothing runs over the edge"
    # A value that only the table shows changes nothing.
    other = scored(score_cases, "v0", stf=score_cases.metric(0.3))
    same = scored(score_cases, "v0", stf=score_cases.metric(0.7))
    assert np.array_equal(plot_curves([other]), plot_curves([same]))


def test_curves_side_by_side_begin_and_end_at_their_own_axes(score_cases: ModuleType) -> None:
    curve = np.full(90, 0.5)
    picture = plot_curves([scored(score_cases, stf=score_cases.metric(1.0, curve=curve))])
    line = near(picture, rgb(COLOURS[0]), 40)[:, : NODE_WIDTH // 2]
    row = line[60:].sum(1).argmax() + 60
    panel = (NODE_WIDTH - 2 * LEFT - RIGHT) / 2
    places = np.flatnonzero(line[row])
    assert abs(places.min() - LEFT) < 6 and abs(places.max() - (LEFT + panel)) < 6
