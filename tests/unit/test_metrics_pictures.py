"""STF by pictures: what came nearer to the new scene, and what only looks as if it had."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from framepack_transitions.metrics import Cue, Switch, evaluate_video, windows_of
from framepack_transitions.metrics.definitions.picture_fidelity import area_of_change, picture_fidelity
from framepack_transitions.metrics.features import PixelExtractor

SIZES = [(64, 64), (48, 80), (90, 60)]
RATES = [15, 24, 30]


class Case:
    """A video of 4 s that is asked to change after 2 s, and its pixels."""

    def __init__(self, videos: ModuleType, size: tuple[int, int], fps: int) -> None:
        self.videos, self.size, self.fps = videos, size, fps
        self.frames, self.switch = 4 * fps, 2 * fps
        self.old, self.new, self.other = (videos.scene(size, 3 * fps + number) for number in range(3))
        self.dim = 0.3 * self.old
        switch = Switch(frame=self.switch, requested=2.0, old="a", new="b")
        self.windows = windows_of(switch, [], self.frames, fps)

    def video(self, kind: str, amount: float = 0, new: np.ndarray | None = None) -> np.ndarray:
        new = self.new if new is None else new
        return self.videos.mixed(self.old, new, self.videos.shares(self.frames, self.switch, kind, amount))

    def stf(self, video: np.ndarray, target: np.ndarray | None = None, **options):
        images = PixelExtractor().images
        shown = images(self.new[None] if target is None else target)
        return picture_fidelity(images(video), shown, self.windows, **options)

    def square(self, side: float, *, gone: bool = False, stops: bool = False) -> np.ndarray:
        """A bright square of `side` short sides wanders over a dim scene, and leaves at the switch or not."""
        video = np.repeat(self.dim[None], self.frames, axis=0).copy()
        length = round(side * min(self.size))
        for number, frame in enumerate(video):
            if number >= self.switch and gone:
                continue
            place = self.switch if stops and number < self.switch else number
            top, left = (round((full - length) * share) for full, share in zip(self.size, self._path(place)))
            frame[top : top + length, left : left + length] = (1.0, 1.0, 0.2)
        return video

    def _path(self, number: int) -> tuple[float, float]:
        turn = 2 * np.pi * number / self.frames
        return 0.5 + 0.5 * np.sin(turn), 0.5 - 0.5 * np.cos(turn)


@pytest.fixture(params=[(size, fps) for size in SIZES for fps in RATES], ids=str)
def case(request: pytest.FixtureRequest, metric_videos: ModuleType) -> Case:
    return Case(metric_videos, *request.param)


def test_the_truth_table(case: Case) -> None:
    for kind, amount, value in (
        ("cut", 0, 1),
        ("cut", round(0.5 * case.fps), 1),
        ("fade", case.fps, 1),
        ("frozen", 0, 0),
        ("ghost", 0.5, 1 - 0.5**2),  # half of the way left is a quarter of its square
        ("ghost", 0.1, 1 - 0.1**2),
    ):
        metric = case.stf(case.video(kind, amount), fields=16)
        assert metric.valid and metric.value == pytest.approx(value, abs=0.02), (kind, amount)
        assert np.isnan(metric.founding), "a cosine to a picture is not the cosine to a prompt"


def test_another_scene_and_darkness_are_not_the_new_one(case: Case) -> None:
    """The other scene is as near to the new one as chance has it; nearer than the old one only by that."""
    target = PixelExtractor().images(case.new[None])
    far, near = (
        np.square(PixelExtractor().images(picture[None]) - target).sum() for picture in (case.old, case.other)
    )
    metric = case.stf(case.video("cut", new=case.other))
    assert metric.value == pytest.approx(max(1 - near / far, 0), abs=1e-5)


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("side", [0.15, 0.3, 0.9])
def test_a_square_that_never_leaves_is_never_gone(case: Case, side: float, stops: bool) -> None:
    """Wherever it goes, every frame differs from the empty scene by one whole square."""
    video, empty = case.square(side, stops=stops), case.dim[None]
    whole = case.stf(video, empty)
    assert not whole.valid or whole.value < 0.3
    judged = case.stf(video, empty, fields=16)
    if side < 0.5:
        assert not judged.valid and "box, or a detector" in judged.reason
    gone = case.stf(case.square(side, gone=True), empty)
    assert gone.valid and gone.value == pytest.approx(1, abs=0.05)


def test_the_box_of_a_subject_makes_its_score_valid(metric_videos: ModuleType) -> None:
    case = Case(metric_videos, (64, 64), 15)
    cues = [Cue(start=0, prompt="a square"), Cue(start=2, prompt="go", state="nothing")]
    empty = np.repeat(case.dim[None], 10, 0)
    how = {"fps": case.fps, "flow": "off", "target": empty}
    box = (0.0, 0.0, 1.0, 1.0)  # the square goes everywhere
    stays, leaves = case.square(0.3), case.square(0.3, gone=True)
    for video in (stays, leaves):
        metric = evaluate_video(video, cues, **how).switches[0].metrics["stf"]
        assert not metric.valid and "box" in metric.reason
    values = [
        evaluate_video(video, cues, box=box, **how).switches[0].metrics["stf"].value
        for video in (stays, leaves)
    ]
    assert values[0] < 0.3 and values[1] == pytest.approx(1, abs=0.05)


def test_pictures_that_look_like_the_old_scene_prove_nothing(case: Case) -> None:
    metric = case.stf(case.video("cut"), np.stack([case.old, case.new]))
    assert not metric.valid and "look like the pictures" in metric.reason


def test_a_reference_says_what_can_be_reached(case: Case) -> None:
    half = case.videos.mixed(case.old, case.new, np.full(5, 0.5))
    metric = case.stf(case.video("ghost", 0.5), reference=PixelExtractor().images(half))
    assert metric.valid and metric.value == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("changed", [1, 4, 16, 64])
def test_the_area_of_a_change_is_the_share_of_the_fields_that_differ(changed: int) -> None:
    difference = np.zeros((64, 3))
    difference[:changed] = (0.3, -0.2, 0.1)
    assert area_of_change(difference.ravel(), 8) == pytest.approx(changed / 64)
