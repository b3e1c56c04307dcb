"""The command `evaluate`: what it says of a video, what it writes, and one sentence for everything that is wrong."""

from __future__ import annotations

import json
import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.timelines import Timeline
from framepack_transitions.headless.files import media
from framepack_transitions.headless.files.media import VideoInfo
from PIL import Image

RED, BLUE = (200, 40, 40), (40, 40, 200)
TIMELINE = "a red wall [1s: paint it => a blue wall]"
HEIGHT, WIDTH = 48, 64


def scene(colour: tuple[int, int, int], frame: int) -> np.ndarray:
    """A wall with a bright square that wanders, so that frames differ."""
    picture = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    left = frame % (WIDTH - 12)
    picture[18:30, left : left + 12] = 230
    return picture


def write(path: Path, pictures: list[np.ndarray], times: list[int] | None = None, fps: int = 30) -> Path:
    """A video file; `times` are in frames of 1/fps s, by default 0, 1, 2, ..."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, at: int = 30, frames: int = 90) -> Path:
    """A video that is red and becomes blue at a frame."""
    return write(path, [scene(RED if i < at else BLUE, i) for i in range(frames)])


def blue_wall(folder: Path) -> Path:
    """A picture of the new scene, which says where a video should arrive."""
    return write(folder / "blue_wall.mp4", [scene(BLUE, i) for i in range(16)])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*arguments: Any) -> dict[str, Any]:
    assert main(["evaluate", *map(str, arguments)]) == 0
    out = arguments[arguments.index("--out") + 1] if "--out" in arguments else "report.json"
    return json.loads(Path(out).read_text(encoding="utf-8"))


def test_a_hard_cut_has_no_latency(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluate(cut(folder / "cut.mp4"), "--timeline", TIMELINE, "--target", blue_wall(folder))
    (switch,) = report["switches"]
    assert (switch["frame"], switch["seconds"]) == (30, 1.0)
    assert (switch["old"], switch["new"]) == ("a red wall", "a blue wall")
    assert switch["metrics"]["tl90"]["value"] == 0
    assert switch["metrics"]["tl90"]["valid"] and not switch["metrics"]["tl90"]["censored"]
    assert report["schema"] == "framepack-transitions/1"
    assert report["kind"] == "evaluate"
    assert report["videos"] == [
        {"path": "cut.mp4", "frames": 90, "fps": 30.0, "size": [WIDTH, HEIGHT], "node": None}
    ]
    assert "0 frames 0.00 s" in capsys.readouterr().out


def test_the_report_has_the_documented_keys(folder: Path, report_page: ModuleType) -> None:
    video = cut(folder / "cut.mp4")
    report_page.check(evaluate(video, "--timeline", TIMELINE, "--plot", "scores.png"), "evaluate")
    report_page.check(evaluate(video), "evaluate")


@pytest.mark.parametrize("delay", [10, 25])
def test_a_late_cut_is_as_late_as_it_is(folder: Path, delay: int) -> None:
    late = cut(folder / "late.mp4", 30 + delay)
    report = evaluate(late, "--timeline", TIMELINE, "--target", blue_wall(folder))
    assert report["switches"][0]["metrics"]["tl90"]["value"] == pytest.approx(delay, abs=1)


def test_a_target_shows_that_nothing_came(folder: Path) -> None:
    frozen = write(folder / "frozen.mp4", [scene(RED, i) for i in range(90)])
    blue = write(folder / "blue.mp4", [scene(BLUE, i) for i in range(40)])
    report = evaluate(frozen, "--timeline", TIMELINE, "--target", blue, "--reference", blue)
    metrics = report["switches"][0]["metrics"]
    assert metrics["tl90"]["censored"]
    assert metrics["stf"]["value"] == pytest.approx(0, abs=0.05)
    assert metrics["gas"]["value"] == pytest.approx(1, abs=0.05)


def test_a_target_shows_that_it_came(folder: Path) -> None:
    blue = write(folder / "blue.mp4", [scene(BLUE, i) for i in range(40)])
    report = evaluate(cut(folder / "a.mp4"), "--timeline", TIMELINE, "--target", blue, "--reference", blue)
    metrics = report["switches"][0]["metrics"]
    assert metrics["stf"]["value"] == pytest.approx(1, abs=0.02)
    assert metrics["gas"]["value"] <= 0.05


def test_the_command_takes_lambda_and_lpips(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen = write(folder / "frozen.mp4", [scene(RED, i) for i in range(90)])
    known = (frozen, "--timeline", TIMELINE, "--target", blue_wall(folder))
    motions = [
        evaluate(*known, "--penalty", penalty)["switches"][0]["metrics"]["ddi"]["value"]
        for penalty in (0, 1, 3)
    ]
    assert motions[1] < 0 <= motions[0]
    assert motions[2] - motions[0] == pytest.approx(3 * (motions[1] - motions[0]))
    assert main(["evaluate", *map(str, known), "--lpips", "nowhere.safetensors"]) != 0
    assert "LPIPS needs" in capsys.readouterr().err


def test_without_a_timeline_there_are_curves_but_no_scores(folder: Path) -> None:
    report = evaluate(cut(folder / "cut.mp4"))
    assert report["switches"] == []
    curves = report["evaluation"][0]["curves"]
    assert len(curves["brightness"]) == 90
    assert int(np.argmax(curves["change"])) == 29
    assert report["evaluation"][0]["guards"]


def test_several_videos_are_compared_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    early, late = cut(folder / "early.mp4"), cut(folder / "late.mp4", 60)
    files = ("--target", blue_wall(folder), "--out", "there/r.json", "--plot", "there/p.png")
    report = evaluate(early, "--compare", late, "--timeline", TIMELINE, *files)
    values = [switches[0]["metrics"]["tl90"]["value"] for switches in report["switches"]]
    assert values == pytest.approx([0, 30], abs=1)
    assert [video["path"] for video in report["videos"]] == ["../early.mp4", "../late.mp4"]
    assert report["plot"] == "p.png"
    with Image.open(folder / "there" / "p.png") as picture:
        assert picture.width == 1000
    assert "there/p.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        (TIMELINE, 30),
        ("a red wall | a blue wall", 60),
        ("a red wall\na blue wall", 60),
        ("0:a red wall;;;2:a blue wall", 72),
        ('[{"start": 0, "prompt": "a red wall"}, {"start": 2, "prompt": "a blue wall"}]', 60),
    ],
)
def test_all_ways_to_write_a_timeline_are_read(folder: Path, text: str, frame: int) -> None:
    video = cut(folder / "v.mp4", frame, 120)
    given: Any = text
    if text.startswith("[{"):
        given = folder / "timeline.json"
        given.write_text(text, encoding="utf-8")
    report = evaluate(video, "--timeline", given, "--target", blue_wall(folder))
    assert [switch["frame"] for switch in report["switches"]] == [frame]
    assert report["switches"][0]["metrics"]["tl90"]["value"] == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    ("name", "named"),
    [("script.json", "script.json"), ("one.jsonl", "one.jsonl"), ("two.jsonl", "two.jsonl#2")],
)
def test_a_script_of_a_benchmark_is_a_timeline_of_equal_parts(folder: Path, name: str, named: str) -> None:
    script = json.dumps({"prompts": ["a red wall", "a blue wall"]})
    first = json.dumps({"prompts": ["a", "b", "c"]}) + "\n\n" if name == "two.jsonl" else ""
    (folder / name).write_text(f"{first}{script}\n", encoding="utf-8")
    report = evaluate(cut(folder / "v.mp4", 60, 120), "--timeline", named, "--target", blue_wall(folder))
    assert [(switch["frame"], switch["new"]) for switch in report["switches"]] == [(60, "a blue wall")]


def test_a_text_file_is_a_timeline(folder: Path) -> None:
    (folder / "prompts.txt").write_text(TIMELINE, encoding="utf-8")
    assert evaluate(cut(folder / "v.mp4"), "--timeline", "prompts.txt")["switches"][0]["frame"] == 30


def test_sections_move_a_switch_to_their_border(folder: Path) -> None:
    video = cut(folder / "v.mp4", 37, 109)
    report = evaluate(video, "--timeline", TIMELINE, "--window", 9, "--target", blue_wall(folder))
    (switch,) = report["switches"]
    assert (switch["frame"], switch["requested"]) == (37, 1.0)
    assert switch["metrics"]["tl90"]["value"] == 0


def test_a_length_of_framepack_calls_for_a_window(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(cut(folder / "v.mp4", 37, 109), "--timeline", TIMELINE)
    assert "its switch lies at frame 37, not 30: say --window 9" in capsys.readouterr().out


def trace_of(switch: int, frames: int) -> dict[str, Any]:
    return {
        "sections": [
            {"index": 0, "frames": [1, switch], "prompt": "red", "state": "", "change": 0.0},
            {"index": 1, "frames": [switch, frames], "prompt": "blue", "state": "", "change": 1.0},
        ]
    }


def test_the_report_of_a_run_says_when_its_videos_switched(folder: Path) -> None:
    for name, frame in (("a.mp4", 37), ("b.mp4", 45)):
        cut(folder / name, frame)
    run = {
        "videos": [{"path": "video/a.mp4"}, {"path": "video/b.mp4"}],
        "traces": [{"node": "1", "trace": trace_of(37, 90)}, {"node": "2", "trace": trace_of(45, 90)}],
    }
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    report = evaluate("a.mp4", "--compare", "b.mp4", "--timeline", "run.json", "--target", blue_wall(folder))
    assert [switches[0]["frame"] for switches in report["switches"]] == [37, 45]
    assert [switches[0]["metrics"]["tl90"]["value"] for switches in report["switches"]] == [0, 0]


def test_a_variable_frame_rate_is_played_back(folder: Path) -> None:
    # 30 frames at 30 fps, then every other one: the change to blue is at 2 s of 3 s.
    times = [*range(30), *range(30, 90, 2)]
    pictures = [scene(RED if time < 60 else BLUE, time) for time in times]
    video = write(folder / "vfr.mp4", pictures, times)
    assert media.uneven_times(video) == pytest.approx([time / 30 for time in times], abs=1e-3)
    report = evaluate(video, "--timeline", "red [2s: blue]", "--target", blue_wall(folder))
    (switch,) = report["switches"]
    fps = report["evaluation"][0]["fps"]
    assert switch["frame"] == pytest.approx(2 * fps, abs=1)
    assert switch["metrics"]["tl90"]["value"] / fps == pytest.approx(0, abs=0.07)


def test_an_even_frame_rate_has_no_times(folder: Path) -> None:
    assert media.uneven_times(cut(folder / "v.mp4")) is None


def silent(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def broken(path: Path) -> Path:
    data = cut(path.with_name("whole.mp4")).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (lambda path: path, [], "does not exist"),
        (broken, [], "cannot be read as a video"),
        (silent, [], "has no video stream"),
        (lambda path: write(path, [scene(RED, 0)]), ["--timeline", TIMELINE], "has a single frame"),
        (cut, ["--timeline", "red [9s: blue]"], "lies after the end of v.mp4, which has 90 frames, 3.00 s"),
        (cut, ["--timeline", ""], "The timeline is empty"),
        (cut, ["--timeline", "red [1s: ]"], "a prompt is missing here"),
        (cut, ["--timeline", "red [1s: blue"], "is never closed"),
        (cut, ["--timeline", "nowhere.json"], "nowhere.json does not exist"),
        (cut, ["--timeline", "v.json"], "v.json is no JSON"),
        (cut, ["--timeline", "other.json"], "holds no timeline"),
        (cut, ["--timeline", "entries.json"], "is no entry of a timeline"),
        (
            cut,
            ["--timeline", "two.jsonl"],
            "two.jsonl holds 2 scripts: name one by its number, such as two.jsonl#1",
        ),
        (cut, ["--timeline", "two.jsonl#3"], "two.jsonl holds 2 scripts, counted from 1, not number 3"),
        (cut, ["--timeline", "two.jsonl#0"], "not number 0"),
        (cut, ["--timeline", "nowhere.jsonl#1"], "nowhere.jsonl does not exist"),
        (cut, ["--timeline", TIMELINE, "--plot", "p.jpg"], "give a name with .png"),
        (cut, ["--timeline", "other.json", "--out", "other.json"], "would overwrite the timeline"),
        (cut, ["--timeline", TIMELINE, "--concept", "a man"], "cannot read what 'a man' is"),
        (cut, ["--timeline", TIMELINE, "--compare", "nothing.mp4"], "nothing.mp4 does not exist"),
        (cut, ["--timeline", TIMELINE, "--window", "-1"], "Window is -1"),
        (cut, ["--features", "clip", "--pretrained", "x.safetensors"], "do not exist"),
        (cut, ["--features", "tiny", "--concept", "a man"], "nothing of the embedded model's world"),
        (cut, ["--features", "tiny", "--concept", "red circle"], "64x64 of the embedded model"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    folder: Path, make: Any, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make(folder / "v.mp4")
    (folder / "v.json").write_text("{", encoding="utf-8")
    (folder / "other.json").write_text('{"a": 1}', encoding="utf-8")
    (folder / "entries.json").write_text('[{"prompt": "red"}]', encoding="utf-8")
    (folder / "two.jsonl").write_text('{"prompts": ["a", "b"]}\n' * 2, encoding="utf-8")
    assert main(["evaluate", str(video), *arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in error
    assert error.endswith(".") and "Traceback" not in error and "Unexpected" not in error
    assert not (folder / "report.json").exists()


def test_long_videos_are_decoded_in_batches(folder: Path) -> None:
    video = write(folder / "long.mp4", [np.full((128, 128, 3), i % 255, np.uint8) for i in range(600)])
    tracemalloc.start()
    frames = sum(len(batch) for batch in media.video_batches(video))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert frames == 600
    assert most < 60 * 128 * 128 * 3


def test_batches_hold_the_frames_in_order(folder: Path) -> None:
    video = write(folder / "v.mp4", [np.full((32, 32, 3), 4 * i, np.uint8) for i in range(40)])
    batches = list(media.video_batches(video, 16))
    assert [len(batch) for batch in batches] == [16, 16, 8]
    levels = np.concatenate(batches).mean((1, 2, 3))
    assert np.abs(levels - 4 * np.arange(40)).max() < 4


@pytest.mark.parametrize(
    ("text", "window", "expected"),
    [
        # 4 s of 25 frames: in halves, whatever a section is, unless its length is known.
        ("a | b", 0, [(0.0, "a"), (2.0, "b")]),
        # Sections of 9 latent frames, 36 frames each; the third one goes back to the first prompt.
        ("0:a;;;1:b", 0, [(0.0, "a"), (1.44, "b"), (2.88, "a")]),
        ("0:a;;;1:b", 6, [(0.0, "a"), (0.96, "b"), (1.92, "a")]),
        ("a | b", 6, [(0.0, "a"), (1.92, "b")]),
    ],
)
def test_a_text_that_divides_the_video_is_read_by_its_length(text, window, expected):
    cues = Timeline(text=text).cues_for(VideoInfo(frames=100, fps=25.0, width=64, height=64), window)
    assert [(pytest.approx(start), prompt) for start, prompt in expected] == [
        (cue.start, cue.prompt) for cue in cues
    ]
