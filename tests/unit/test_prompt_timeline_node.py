"""FramePack Prompt Timeline as a user meets it: what it encodes and hands on, and whole runs with it."""

from __future__ import annotations

import json
import logging
import zlib
from pathlib import Path

import framepack_transitions
import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.nodes.timeline.prompt_timeline import FramePackPromptTimeline

ROOT = Path(framepack_transitions.__file__).parent
check = FramePackPromptTimeline.VALIDATE_INPUTS


class CountingClip:
    """Notes what is encoded, as ComfyUI's CLIPTextEncode calls it."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def tokenize(self, text: str) -> dict[str, str]:
        return {"tokens of": text}

    def encode_from_tokens_scheduled(self, tokens: dict[str, str]) -> list:
        self.encoded.append(tokens["tokens of"])
        return [[tokens["tokens of"], {}]]


class WordClip(CountingClip):
    """Encodes each word as a state of its own: the more words two texts share, the nearer they are."""

    def encode_from_tokens_scheduled(self, tokens: dict[str, str]) -> list:
        text = super().encode_from_tokens_scheduled(tokens)[0][0]
        seeds = [zlib.crc32(word.strip(",").encode()) for word in text.split()]
        states = [torch.randn(64, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return [[torch.stack(states)[None], {}]]


def build(text: str, syntax: str = "auto", seconds: float = 5.0, window: int = 9, clip=None, **options):
    clip = clip or CountingClip()
    answer = FramePackPromptTimeline().build(clip, text, syntax, seconds, window, **options)
    return clip, *(answer["result"] if isinstance(answer, dict) else answer)


def changes(text: str) -> list[float]:
    _, timeline, _, report = build(text, clip=WordClip(), change="measured")
    assert "uncalibrated" in report.splitlines()[-1]
    return [entry.change for entry in timeline.entries]


def test_each_distinct_prompt_is_encoded_once():
    clip, timeline, positive, _ = build("a [1.2s: b] [2.4s: a] [3.6s: b]")
    assert clip.encoded == ["a", "b"]
    assert [entry.conditioning[0][0] for entry in timeline.entries] == ["a", "b", "a", "b"]
    assert positive is timeline.entries[0].conditioning is timeline.entries[2].conditioning


def test_entries_hold_times_prompts_changes_and_states():
    _, timeline, _, _ = build("a man => a man in a room [1.2s: he goes => an empty room] [3s sham: he goes]")
    assert [(e.start, e.prompt, e.change, e.state) for e in timeline.entries] == [
        (0.0, "a man", 0.0, "a man in a room"),
        (1.2, "he goes", 1.0, "an empty room"),
        (3.0, "he goes", 1.0, ""),
    ]


def test_cuts_and_blends_reach_the_timeline():
    _, timeline, _, report = build("a [1.2s cut: b] [2.4s~2: c]")
    assert [(e.cut, e.blend) for e in timeline.entries] == [(False, 0), (True, 0), (False, 2)]
    assert ", cut): b" in report and ", blended over 2): c" in report


def test_the_widget_blends_every_switch_that_does_not_say_how_it_takes_over():
    text = "a [1s: b] [2s~1: c] [2.6s cut: d] [3s sham: d]"
    _, timeline, _, _ = build(text, blend=3)
    assert [entry.blend for entry in timeline.entries] == [0, 3, 1, 0, 0]


def test_measured_changes_grow_with_what_the_prompts_do_not_share():
    first, little, much = changes(
        "a man sits in a room [1s: a man stands in a room] [2s: cars by the sea at night]"
    )
    assert first == 0 and 0 <= little < 0.4 < much <= 1


def test_measured_the_same_text_is_no_change_unless_forced():
    assert changes("a man [1s sham: a man] [2s!: a man] [3s! sham: a man]") == [0, 0, 1, 1]


def test_measured_what_can_be_seen_counts_not_the_instruction():
    text = "a man sits in a room => x [1s: he vanishes => x] [2s: he vanishes again => cars by the sea]"
    _, instruction, scene = changes(text)
    assert instruction == 0 < scene


def test_without_a_switch_nothing_is_measured():
    clip, *_ = build("a man", change="measured")
    assert clip.encoded == ["a man"]


def test_an_unknown_measure_is_named():
    with pytest.raises(ValueError, match="'half'; choose one of full, measured"):
        build("a", change="half")


def test_the_example_in_the_widget_runs():
    _, widget = FramePackPromptTimeline.INPUT_TYPES()["required"]["text"]
    _, timeline, positive, report = build(widget["default"])
    assert len(timeline.entries) == 2 and positive[0][0] == "a man sits in a living room"
    assert "Warning" not in report


@pytest.mark.parametrize(("seconds", "window", "start"), [(5.0, 9, 2.4), (10.0, 9, 4.8), (2.0, 3, 1.0)])
def test_the_widgets_give_the_length_that_bars_divide(seconds, window, start):
    _, timeline, _, _ = build("a | b", seconds=seconds, window=window)
    assert timeline.entries[1].start == pytest.approx(start)


def test_a_prompt_that_is_never_used_is_shown_in_the_node():
    answer = FramePackPromptTimeline().build(CountingClip(), "a [99s: d]", "auto", 5.0, 9)
    assert answer["ui"]["text"] == [answer["result"][2].splitlines()[-1]]


def test_a_prompt_that_is_never_used_is_reported_and_logged(caplog):
    with caplog.at_level(logging.WARNING):
        _, timeline, _, report = build("a [2.4s: b] [2.5s: c] [99s: d]")
    warnings = [line for line in report.splitlines() if line.startswith("Warning")]
    assert [record.getMessage() for record in caplog.records] == warnings and len(warnings) == 2
    assert len(timeline.entries) == 4  # a longer video may still use them


def test_a_thousand_prompts_are_built():
    clip, timeline, _, report = build("\n".join(f"prompt {i}" for i in range(1000)), seconds=600, window=9)
    assert len(clip.encoded) == len(timeline.entries) == 1000
    assert report.startswith("500 sections") and report.count("Warning") == 500


def test_a_missing_text_encoder_is_said():
    with pytest.raises(ValueError, match="DualCLIPLoader"):
        FramePackPromptTimeline().build(None, "a", "auto", 5.0, 9)


@pytest.mark.parametrize(
    ("text", "syntax", "words"),
    [
        ("a [3s: b", "auto", "never closed"),
        ("", "auto", "empty"),
        ("a", "yaml", "choose one"),
        ("|", "bars", "missing"),
    ],
)
def test_a_wrong_text_is_refused_before_anything_is_loaded(text, syntax, words):
    assert words in check(text=text, syntax=syntax)


@pytest.mark.parametrize(
    ("text", "syntax"),
    [("a [3s: b]", "auto"), ("0:a;;;-40:b", "auto"), ("a\nb", "lines"), (None, "auto"), ("[3s: b", None)],
)
def test_a_right_text_and_connected_inputs_pass(text, syntax):
    assert check(text=text, syntax=syntax) is True


SETTINGS = {
    "seconds": 2.4,
    "latent_frames": 0,
    "window": 9,
    "steps": 2,
    "distilled_guidance": 10.0,
    "cfg": 1.0,
    "guidance_rescale": 0.0,
    "shift": 0.0,
    "solver": "euler",
    "denoise": 1.0,
    "upstream_rounding": False,
    "seed": 1,
}


def tiny_workflow(text: str, layout: str) -> dict:
    """Image to video with the embedded model; shows the sampler's trace and the timeline's report."""

    def node(kind: str, **inputs) -> dict:
        return {"class_type": kind, "inputs": inputs}

    return {
        "model": node("FramePackTinyLoader"),
        "timeline": node(
            "FramePackPromptTimeline", clip=["model", 1], text=text, syntax="auto", seconds=2.4, window=9
        ),
        "negative": node("ConditioningZeroOut", conditioning=["timeline", 1]),
        "image": node("LoadImage", image="framepack_transitions_start.png"),
        "start": node("VAEEncode", pixels=["image", 0], vae=["model", 2]),
        "sampler": node(
            "FramePackTransitionsSampler",
            model=["model", 0],
            positive=["timeline", 1],
            negative=["negative", 0],
            start_latent=["start", 0],
            timeline=["timeline", 0],
            layout=layout,
            **SETTINGS,
        ),
        "trace": node("PreviewAny", source=["sampler", 1]),
        "report": node("PreviewAny", source=["timeline", 2]),
    }


@pytest.mark.parametrize(
    ("layout", "prompts"),
    [
        ("f1", ["a red circle moves right", "an empty blue sky"]),
        ("original", ["an empty blue sky", "a red circle moves right"]),
    ],
)
def test_a_headless_run_with_two_prompts(tmp_path, layout, prompts):
    workflow = tmp_path / "timeline.json"
    text = "a red circle moves right [1s: an empty blue sky => a blue sky]"
    workflow.write_text(json.dumps(tiny_workflow(text, layout)), encoding="utf-8")
    images, out = ROOT / "example_workflows" / "input", tmp_path / "out"

    assert main(["run", str(workflow), "--input", str(images), "--out", str(out)]) == 0

    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    sections = report["traces"][0]["trace"]["sections"]
    assert [section["prompt"] for section in sections] == prompts
    assert [section["since_switch"] for section in sections] == [None, 0] and sections[1]["change"] == 1
    assert {section["prompt"]: section["state"] for section in sections} == {
        "a red circle moves right": "",
        "an empty blue sky": "a blue sky",
    }
    [landing] = [shown["text"] for shown in report["texts"] if shown["node"] == "report"]
    assert (
        "section 2 (f1 generates 2, original generates 1, original in a loop generates 2), frames 37-72"
        in landing
    )


def test_a_headless_run_refuses_a_wrong_text_before_it_starts(tmp_path, capsys):
    workflow = tmp_path / "timeline.json"
    workflow.write_text(json.dumps(tiny_workflow("a circle [1s: a square", "f1")), encoding="utf-8")
    images = ROOT / "example_workflows" / "input"
    assert main(["run", str(workflow), "--input", str(images), "--out", str(tmp_path / "out")]) != 0
    assert "line 1, column 10: this [ is never closed" in capsys.readouterr().err
