"""The demonstration: what it writes, and what its scores say of videos whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands import comparison as comparison_video
from framepack_transitions.headless.commands import demo
from framepack_transitions.headless.files import media, pictures
from framepack_transitions.headless.running import runs
from framepack_transitions.headless.workflows.workflow import parse_api, read_json
from framepack_transitions.tiny.bundle import WEIGHTS
from framepack_transitions.tiny.world import draw, prompt_of
from PIL import Image

SWITCH, LENGTH = 73, 181


def video(new_from: int | None) -> torch.Tensor:
    """The demo's scenes, as they should be, with the new one from a frame on or (None) never."""
    scenes = [(0, demo.BEFORE)] if new_from is None else [(0, demo.BEFORE), (new_from, demo.AFTER)]
    ways = (np.tile(np.array(place), (LENGTH, 1)) for place in ((19.0, 32.0), (48.0, 32.0)))
    return torch.from_numpy(draw(scenes, *ways)).float() / 255


def clip(new_from: int | None) -> demo.DemoVideo:
    frames = [[max(36 * index + 1, 0) - (index == 0), 36 * index + 37] for index in range(5)]
    sections = [
        {
            "index": index,
            "frames": span,
            "prompt": "new" if span[0] >= SWITCH else "old",
            "change": 1.0,
            "evaluations": 12,
        }
        for index, span in enumerate(frames)
    ]
    return demo.DemoVideo(
        label="plain", path="plain.mp4", frames=video(new_from), fps=30.0, trace={"sections": sections}
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The demo, run on a workflow with fewer steps, and its report."""
    folder = tmp_path_factory.mktemp("demo")
    graph = read_json(demo.WORKFLOW)
    for node in graph.values():
        if node["class_type"] == "FramePackTransitionsSampler":
            node["inputs"]["steps"] = 2
    quick = folder / "quick.json"
    quick.write_text(json.dumps(graph), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WORKFLOW", quick)
        patch.setattr(demo, "input_folder_for", lambda path: runs.PACK / runs.EXAMPLES / "input")
        assert main(["demo", "--out", str(folder / "out"), "--seed", "7"]) == 0
    return folder / "out", json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))


def test_the_report_has_the_documented_keys(shown, report_page) -> None:
    report_page.check(shown[1], "demo")


def test_it_writes_two_videos_their_comparison_a_sheet_a_plot_and_a_report(shown) -> None:
    out, report = shown
    assert report["kind"] == "demo" and report["schema"] == "framepack-transitions/1"
    assert [entry["path"] for entry in report["videos"]] == ["plain_00001_.mp4", "treated_00001_.mp4"]
    assert {entry["frames"] for entry in report["videos"]} == {LENGTH}
    comparison = media.probe_video(out / report["comparison"])
    assert comparison.frames == LENGTH and comparison.width > 2 * comparison_video.SIDE
    for name in ("contact_sheet", "plot"):
        with Image.open(out / report[name]) as picture:
            assert picture.width > 500


def test_both_samplers_get_the_seed_and_only_one_the_techniques(shown) -> None:
    traces = [entry["trace"] for entry in shown[1]["traces"]]
    assert [trace["settings"]["seed"] for trace in traces] == [7, 7]
    assert [[technique["name"] for technique in trace["techniques"]] for trace in traces] == [
        [],
        ["ContrastiveGuidance"],
    ]


def test_the_videos_are_the_same_until_the_switch(shown) -> None:
    out, report = shown
    plain, treated = (media.read_video(out / entry["path"])[0] for entry in report["videos"])
    # The video codec spreads what comes after the switch a little over the frames before it.
    assert torch.allclose(plain[:60], treated[:60], atol=0.1)
    assert not torch.allclose(plain[SWITCH:], treated[SWITCH:], atol=0.1)


def test_switches_and_scores_are_told_for_each_video(shown) -> None:
    report = shown[1]
    assert [[switch["frame"] for switch in switches] for switches in report["switches"]] == [
        [SWITCH],
        [SWITCH],
    ]
    assert [score["technique"] for score in report["scores"]] == list(demo.SAMPLERS.values())
    assert any("frame 73 (2.4 s)" in remark for remark in report["remarks"])


@pytest.mark.skipif(not (WEIGHTS / "dit.safetensors").is_file(), reason="no weights are shipped")
def test_as_shipped_it_shows_a_switch_that_plain_refuses(tmp_path: Path) -> None:
    assert main(["demo", "--out", str(tmp_path)]) == 0
    plain, treated = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["scores"]
    assert plain["valid"] and not any(plain["held"]) and plain["remaining"] > 0.5 and plain["other"]
    assert treated["valid"] and all(treated["held"]) and treated["remaining"] == 0 and treated["other"]


def test_the_scenes_are_those_of_the_workflow() -> None:
    workflow = parse_api(read_json(demo.WORKFLOW))
    text = next(
        node.inputs["text"] for node in workflow.values() if node.class_type == "FramePackPromptTimeline"
    )
    assert text == f"{prompt_of(demo.BEFORE)} [2.4s: {prompt_of(demo.AFTER)}]"
    image, _ = pictures.load_image(runs.PACK / runs.EXAMPLES / "input" / "framepack_transitions_pair.png")
    assert demo.JUDGE.holds(demo.JUDGE.see(image.numpy()), demo.BEFORE).all()


@pytest.mark.parametrize(
    ("new_from", "latency", "held"),
    [
        (SWITCH, 0, (True, True, True)),
        (SWITCH + 10, 10, (True, True, True)),
        (SWITCH + 40, None, (False, True, True)),
        (None, None, (False, False, False)),
    ],
)
def test_scores_say_when_the_new_scene_is_there(new_from, latency, held) -> None:
    scores = demo._scores(clip(new_from))
    assert (scores["valid"], scores["latency"], scores["held"], scores["evaluations"]) == (
        True,
        latency,
        held,
        60,
    )


def test_a_wrong_scene_before_the_switch_is_said() -> None:
    wrong = replace(clip(None), frames=torch.zeros(LENGTH, 64, 64, 3))
    scores = [demo._scores(wrong)]
    assert any("try another --seed" in sentence for sentence in demo._sentences(wrong, scores))


def test_a_comparison_shows_both_and_colours_the_prompt_at_the_switch() -> None:
    panels = [
        comparison_video.Panel("plain", torch.zeros(4, 16, 16, 3)),
        comparison_video.Panel("treated", torch.ones(5, 16, 16, 3)),
    ]
    joined = comparison_video.side_by_side(panels, 2, "old prompt", "new prompt")
    middle = comparison_video.HEADER + comparison_video.SIDE // 2
    left, right = (
        joined[:, middle, comparison_video.GAP + 5, 0],
        joined[:, middle, -comparison_video.GAP - 5, 0],
    )
    assert len(joined) == 4 and (left == 0).all() and (right == 1).all()
    words = joined[:, -comparison_video.FOOTER : -24]
    orange = (words[..., 0] - words[..., 2] > 0.3).flatten(1).any(1)
    assert orange.tolist() == [False, False, True, True]


def test_curves_are_drawn(tmp_path: Path) -> None:
    path = comparison_video.save_curves(
        tmp_path / "curves.png", {"plain": ([True] * 20, [False] * 20)}, 10, 30
    )
    with Image.open(path) as picture:
        assert picture.format == "PNG"
