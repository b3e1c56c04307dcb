"""The evaluation nodes: numbers for other nodes, a report and a picture, inside ComfyUI and without it."""

from __future__ import annotations

import sys
from math import inf, isnan
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.running import runs
from framepack_transitions.headless.running.report import Record
from framepack_transitions.headless.workflows.executor import execute, prepare
from framepack_transitions.headless.workflows.workflow import parse_api
from framepack_transitions.metrics.reporting.style import NODE_WIDTH
from framepack_transitions.nodes.evaluation import models
from framepack_transitions.nodes.evaluation.compare import FramePackCompare
from framepack_transitions.nodes.evaluation.disappearance import FramePackDisappearanceEvaluator
from framepack_transitions.nodes.evaluation.transition import FramePackTransitionEvaluator
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry
from framepack_transitions.tiny.world import Scene, Subject, render
from PIL import Image

SWITCH, FRAMES = 37, 109
COMMON = {"model": "", "pretrained": "", "fps": 30.0, "window": 9, "first_prompt": ""}
RED, BLUE = (0.8, 0.2, 0.2), (0.2, 0.2, 0.8)


def wall(colour: tuple[float, float, float], frames: int, size: int = 64) -> torch.Tensor:
    """A wall with a bright square that wanders."""
    images = torch.tensor(colour).expand(frames, size, size, 3).clone()
    for frame in range(frames):
        left = frame % (size - 12)
        images[frame, 20:32, left : left + 12] = 0.9
    return images


def cut(at: int = SWITCH, frames: int = FRAMES, size: int = 64) -> torch.Tensor:
    return torch.cat([wall(RED, at, size), wall(BLUE, frames - at, size)])


def strips(plot: torch.Tensor) -> int:
    """How many rows of frames a plot [1,H,W,3] shows, by the blue wall in which all the videos end."""
    blue = ((plot[0] - torch.tensor(BLUE)).abs() < 0.05).all(-1).sum(1) > 0.1 * plot.shape[2]
    return int((blue[1:] & ~blue[:-1]).sum())


def trace(prompts: tuple[str, str] = ("a red wall", "a blue wall"), at: int = SWITCH) -> dict[str, Any]:
    spans = [(1, at), (at, FRAMES)]
    return {
        "sections": [
            {"index": i, "frames": list(span), "prompt": prompt, "state": "", "change": 1.0}
            for i, (span, prompt) in enumerate(zip(spans, prompts))
        ]
    }


def timeline(start: float = 1.1, first: bool = True) -> Timeline:
    entries = [TimelineEntry(start=0.0, prompt="a red wall", conditioning=None)] if first else []
    return Timeline((*entries, TimelineEntry(start=start, prompt="a blue wall", conditioning=None)))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path):
    with using(Folders(tmp_path / "input", tmp_path / "output")):
        yield tmp_path / "output"


def transition(images: torch.Tensor, features: str = "pixel", **more: Any) -> dict[str, Any]:
    return FramePackTransitionEvaluator().evaluate(images, features=features, **{**COMMON, **more})


def test_a_clean_switch_scores_well() -> None:
    stf, latency, ghosts, _, report, plot = transition(
        cut(), trace=trace(), reference=wall(BLUE, 40), target=wall(BLUE, 5)
    )["result"]
    assert stf == pytest.approx(1, abs=0.02)
    assert latency == 0
    assert ghosts == pytest.approx(0, abs=0.05)
    assert "frame 37" in report
    assert plot.dtype == torch.float32 and plot.ndim == 4 and plot.shape[0] == 1 and plot.shape[-1] == 3
    assert 0 <= plot.min() and plot.max() <= 1


def test_a_switch_that_never_happens_takes_for_ever() -> None:
    stf, latency, ghosts, *_ = transition(
        wall(RED, FRAMES), trace=trace(), reference=wall(BLUE, 40), target=wall(BLUE, 5)
    )["result"]
    assert stf == pytest.approx(0, abs=0.05)
    assert latency == inf
    assert ghosts == pytest.approx(1, abs=0.05)


def test_what_cannot_be_said_is_not_a_number() -> None:
    stf, _, ghosts, motion, report, _ = transition(cut(), trace=trace())["result"]
    assert isnan(stf) and isnan(ghosts) and isnan(motion)
    assert report.count("not valid") >= 3 and "reference" in report


def test_a_timeline_lands_on_the_section_border() -> None:
    known = {"timeline": timeline(1.1), "target": wall(BLUE, 5)}
    assert transition(cut(), **known)["result"][1] == 0
    # Taken as it is, the same switch is 4 frames early.
    assert transition(cut(), **known, window=0)["result"][1] == pytest.approx(4 / 30)


def test_a_video_without_prompts_gets_curves_only() -> None:
    *scores, report, plot = transition(cut())["result"]
    assert all(map(isnan, scores))
    assert "curves and guards only" in report
    assert plot.shape[1] < plot.shape[2] == NODE_WIDTH and strips(plot) == 1


def test_the_node_shows_its_picture_and_its_report(folders: Path) -> None:
    answer = transition(cut(), trace=trace())
    (shown,) = answer["ui"]["images"]
    assert shown["type"] == "temp"
    with Image.open(folders / shown["subfolder"] / shown["filename"]) as picture:
        expected = (answer["result"][-1][0] * 255).round().byte().numpy()
        assert np.array_equal(np.asarray(picture), expected)
    assert answer["ui"]["text"] == [answer["result"][-2]]


def test_inside_comfyui_pictures_go_to_its_temp_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = tmp_path / "host_temp"
    temp.mkdir()
    host = SimpleNamespace(
        get_temp_directory=lambda: str(temp),
        get_output_directory=lambda: str(tmp_path / "host_output"),
        get_save_image_path=lambda prefix, folder, width, height: (folder, prefix, 3, "", prefix),
    )
    bar = SimpleNamespace(ProgressBar=lambda total: SimpleNamespace(update_absolute=lambda *done: None))
    modules = {
        "comfy": SimpleNamespace(utils=bar),
        "comfy.model_patcher": ModuleType("comfy.model_patcher"),
        "comfy.utils": bar,
        "comfy.model_management": SimpleNamespace(get_torch_device=lambda: torch.device("cpu")),
        "folder_paths": host,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    (shown,) = transition(cut(), trace=trace())["ui"]["images"]
    assert shown["type"] == "temp"
    assert (temp / shown["filename"]).is_file()


def test_the_penalty_is_lambda_of_ddi() -> None:
    """The wall stays red and its square goes on: with the new prompt unseen, all motion is off it."""
    motions = [
        transition(wall(RED, FRAMES), trace=trace(), target=wall(BLUE, 5), penalty=penalty)["result"][3]
        for penalty in (0.0, 1.0, 2.5)
    ]
    assert motions[1] < 0 <= motions[0]
    assert motions[2] - motions[0] == pytest.approx(2.5 * (motions[1] - motions[0]))
    with pytest.raises(ValueError, match="penalty is -1"):
        transition(cut(), trace=trace(), target=wall(BLUE, 5), penalty=-1.0)


@pytest.mark.parametrize("evaluator", ["transition", "compare"])
def test_lpips_measures_the_change_where_its_weights_are_given(
    evaluator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distance that is large for the last time at the 30th frame after the switch: there the founding TL ends."""

    class Distance:
        name = "LPIPS alex"

        def __init__(self, weights: str, device: Any) -> None:
            assert weights == "alex.safetensors"
            self.seen = 0

        def distance(self, first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
            numbers = self.seen + np.arange(len(first))  # of the second frame of each pair
            self.seen += len(first)
            return np.where((numbers > SWITCH) & (numbers <= SWITCH + 30), 0.5, 0.01)

    monkeypatch.setattr(models, "Lpips", Distance)
    more = {"target": wall(BLUE, 5), "lpips": " alex.safetensors "}
    if evaluator == "transition":
        report = transition(cut(), trace=trace(), **more)["result"][-2]
    else:
        report = compare(cut(), cut(), trace_a=trace(), **more)["result"][0]
    row = next(line for line in report.splitlines() if "TL90" in line)
    assert "0 frames 0.00 s (30)" in row


def test_without_the_library_lpips_says_what_to_do() -> None:
    pytest.importorskip("torch")
    if "lpips" in sys.modules:
        pytest.skip("the library is installed")
    with pytest.raises((ModuleNotFoundError, FileNotFoundError), match="LPIPS needs"):
        transition(cut(), trace=trace(), lpips="nowhere.safetensors")


def test_text_is_asked_for_where_it_is_needed() -> None:
    unnamed = trace(("", "a blue wall"))
    with pytest.raises(ValueError, match="write it into first_prompt"):
        transition(cut(), "tiny", trace=unnamed)
    assert (
        "'a red wall' -> 'a blue wall'"
        in transition(cut(), "tiny", trace=unnamed, first_prompt="a red wall")["result"][-2]
    )
    assert (
        "'a red wall'"
        in transition(cut(), timeline=timeline(first=False), first_prompt="a red wall")["result"][-2]
    )


def test_a_trace_of_another_video_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    transition(cut(frames=90), trace=trace())
    assert "109 frames, but there are 90 images" in caplog.text


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"features": "clip_vision"}, "no model is connected"),
        ({"features": "clip", "model": "ViT-B-32", "pretrained": "x.safetensors"}, "do not exist"),
        ({"features": "clip", "model": "no such model", "pretrained": "x"}, "no model 'no such model'"),
    ],
)
def test_features_that_are_not_there_are_said(more: dict[str, str], sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        transition(cut(), trace=trace(), **more)


def test_a_connected_vision_model_is_used() -> None:
    class Vision:
        def encode_image(self, image: torch.Tensor, crop: bool) -> Any:
            return SimpleNamespace(last_hidden_state=image.mean((1, 2))[:, None, :].repeat(1, 4, 1))

    answer = transition(cut(), "clip_vision", trace=trace(), target=wall(BLUE, 5), clip_vision=Vision())
    assert answer["result"][1] == 0
    assert "clip_vision" in answer["result"][-2]


# Disappearance


def world(present: list[bool], colour: str = "red") -> torch.Tensor:
    """Frames of the embedded world, with a circle in some of them."""
    there = render(Scene("sky", False, Subject("circle", colour, "large"), "still"))
    empty = render(Scene("sky", False, None, "still"))
    return torch.from_numpy(np.stack([there if here else empty for here in present])).float() / 255


def disappearance(images: torch.Tensor, concept: str = "a red circle", **more: Any) -> dict[str, Any]:
    settings = {"detector": "auto", "detector_model": "", "features": "tiny", **COMMON, **more}
    return FramePackDisappearanceEvaluator().evaluate(images, concept=concept, **settings)


def test_an_object_that_goes_is_gone() -> None:
    fidelity, latency, report, _ = disappearance(
        world([True] * (SWITCH + 12) + [False] * (FRAMES - SWITCH - 12)), trace=trace()
    )["result"]
    assert fidelity == pytest.approx(1, abs=0.02)
    assert latency == pytest.approx(12 / 30, abs=2 / 30)
    assert "DF" in report


def test_an_object_that_stays_is_not() -> None:
    fidelity, latency, *_ = disappearance(world([True] * FRAMES), trace=trace())["result"]
    assert fidelity == pytest.approx(0, abs=0.02)
    assert latency == inf


def test_an_object_that_was_never_seen_cannot_go() -> None:
    fidelity, *_, report, _ = disappearance(world([True] * FRAMES), "a green star", trace=trace())["result"]
    assert isnan(fidelity)
    assert "not valid" in report


def test_what_should_stay_is_told_apart_from_another_one() -> None:
    """A red circle stays, or a blue one takes its place."""
    blue = world([True], "blue").repeat(FRAMES - SWITCH, 1, 1, 1)
    red = world([True] * FRAMES)
    how = {"concept": "a star", "kept": " a circle ", "trace": trace()}
    reports = [disappearance(film, **how)["result"][2] for film in (red, torch.cat([red[:SWITCH], blue]))]
    same, other = (
        float(next(line for line in report.splitlines() if "identity" in line).split()[-1])
        for report in reports
    )
    assert same == pytest.approx(1, abs=0.01) and other < 0.9


@pytest.mark.parametrize(
    ("concept", "more", "sentence"),
    [
        (" ", {}, "concept is empty"),
        ("a man", {}, "nothing of the embedded model's world"),
        ("a man", {"features": "pixel"}, "cannot read what 'a man' is"),
        ("a man", {"detector": "owlv2", "detector_model": "nowhere"}, "nowhere"),
        ("a man", {"detector": "owlv2"}, "detector_model"),
    ],
)
def test_what_cannot_be_looked_for_is_said(concept: str, more: dict[str, str], sentence: str) -> None:
    with pytest.raises((ValueError, OSError, ModuleNotFoundError), match=sentence):
        disappearance(world([True] * 3), concept, trace=trace(), **more)


# Compare


def compare(a: torch.Tensor, b: torch.Tensor, **more: Any) -> dict[str, Any]:
    settings = {"names": "plain, treated", "concept": "", "features": "pixel", **COMMON, **more}
    return FramePackCompare().compare(a, b, **settings)


def test_videos_are_compared_in_columns() -> None:
    report, plot = compare(cut(60), cut(), trace_a=trace(), trace_b=trace(), target=wall(BLUE, 5))["result"]
    row = next(line for line in report.splitlines() if "TL90" in line)
    assert row.index("23 frames") < row.index("0 frames 0.00 s")
    assert "plain" in report and "treated" in report
    assert plot.shape[0] == 1 and strips(plot) == 2


def test_up_to_four_videos_of_any_size_are_compared() -> None:
    report, plot = compare(
        cut(), cut(size=32), images_d=cut(frames=80), timeline=timeline(), names="one,,three"
    )["result"]
    assert [name in report for name in ("one:", "b:", "three:")] == [True, True, True]
    assert plot.shape[1] < plot.shape[2] == NODE_WIDTH and strips(plot) == 3


def test_a_workflow_without_comfyui_runs_the_nodes(tmp_path: Path, folders: Path) -> None:
    class Film:
        RETURN_TYPES = ("IMAGE", "FRAMEPACK_TRACE")
        FUNCTION = "make"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {}}

        def make(self) -> tuple[torch.Tensor, dict[str, Any]]:
            return cut(), trace()

    nodes = {**runs.local_nodes(), "Film": Film}
    graph = {
        "1": {"class_type": "Film", "inputs": {}},
        "2": {
            "class_type": "FramePackTransitionEvaluator",
            "inputs": {"images": ["1", 0], "trace": ["1", 1], "features": "pixel", **COMMON},
        },
    }
    record = Record(folders)
    execute(prepare(parse_api(graph), nodes), nodes, (record,))
    assert "TL90" in record.texts[0]["text"]
    assert (folders / record.images[0]["path"]).is_file()
