"""`export`: videos and prompts as VBench and NarraStream-Bench read them; their rules are written out here once more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.files.media import read_video, write_video
from framepack_transitions.samplers.timeline.syntaxes.table import parse

FPS, SIDE = 10, 32
RED, BLUE, GREEN = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8), (0.1, 0.7, 0.1)


def film(path: Path, *parts: tuple[tuple[float, float, float], int]) -> Path:
    """A video of so many frames of each colour."""
    frames = [torch.tensor(colour).expand(count, SIDE, SIDE, 3) for colour, count in parts]
    write_video(path, torch.cat(frames), FPS)
    return path


def colours(path: Path) -> list[int]:
    """The strongest channel of each frame of a video."""
    frames, fps = read_video(path)
    assert fps == FPS
    return [int(channel) for channel in frames.mean((1, 2)).argmax(1)]


def export(*arguments: Any) -> int:
    return main(["export", *map(str, arguments)])


def as_vbench_reads(folder: Path) -> dict[str, str]:
    """Custom input: the file of prompts must name every video in the folder by its path, and no other."""
    prompts = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    videos = {path.name for path in (folder / "videos").iterdir() if path.suffix.lower() in (".mp4", ".gif")}
    assert set(prompts) == videos
    return prompts


def as_narrastream_reads(folder: Path, seconds: int) -> list[list[tuple[str, list[int]]]]:
    """Each video cut into segments of int(fps * seconds) frames, the last as short as it is, with the script's prompts."""
    lines = (folder / "prompt.jsonl").read_text(encoding="utf-8").splitlines()
    samples = []
    for number, line in enumerate(lines):
        seen, length = colours(folder / "video" / f"sample_{number}.mp4"), int(FPS * seconds)
        segments = [seen[first : first + length] for first in range(0, len(seen), length)]
        prompts = json.loads(line)["prompts"]
        assert len(prompts) == len(segments)
        samples.append(list(zip(prompts, segments)))
    return samples


def test_vbench_gets_each_part_between_switches_with_its_own_prompt(tmp_path: Path, capsys: Any) -> None:
    video = film(tmp_path / "a-1.mp4", (RED, 15), (BLUE, 20), (GREEN, 12))
    text = "red [1.5s: it turns blue => a blue wall] [3.5s cut: green]"
    assert export(video, "--to", "vbench", "--timeline", text, "--out", tmp_path / "out") == 0
    prompts = as_vbench_reads(tmp_path / "out")
    assert list(prompts.values()) == ["red", "it turns blue", "green"]
    seen = [colours(tmp_path / "out/videos" / name) for name in prompts]
    assert seen == [[0] * 15, [2] * 20, [1] * 12]
    assert "--mode custom_input" in capsys.readouterr().out


def test_vbench_takes_no_prompt_from_the_end_of_a_name(tmp_path: Path) -> None:
    """Where no prompt is given VBench takes the name without -NUMBER, so names of parts must not collide there."""
    videos = [
        film(tmp_path / folder / "v-1.mp4", (RED, 5))
        for folder in ("a", "b")
        if (tmp_path / folder).mkdir() is None
    ]
    assert export(*videos, "--to", "vbench", "--timeline", "red", "--out", tmp_path / "out") == 0
    names = {re.sub(r"-\d+$", "", Path(name).stem) for name in as_vbench_reads(tmp_path / "out")}
    assert len(names) == 2


def test_narrastream_gets_segments_that_show_their_prompts(tmp_path: Path) -> None:
    """A frame more than whole segments, as FramePack's videos have, is cut off; a repeated prompt is a segment, too."""
    videos = [
        film(tmp_path / "a.mp4", (RED, 20), (BLUE, 41)),
        film(tmp_path / "b.mp4", (GREEN, 18), (RED, 22)),
    ]
    scripts = [["red", "blue", "blue"], ["green", "red 雪"]]
    (tmp_path / "s.jsonl").write_text(
        "".join(json.dumps({"prompts": part}) + "\n" for part in scripts), "utf-8"
    )
    arguments = ["--timeline", tmp_path / "s.jsonl", "--segment", 2, "--out", tmp_path / "out"]
    assert export(*videos, "--to", "narrastream", *arguments) == 0
    first, second = as_narrastream_reads(tmp_path / "out", 2)
    assert first == [("red", [0] * 20), ("blue", [2] * 20), ("blue", [2] * 20)]
    assert [prompt for prompt, _ in second] == ["green", "red 雪"]
    assert second[1] == ("red 雪", [0] * 20)


def test_scripts_survive_the_way_out_and_back(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", (RED, 20), (BLUE, 20))
    line = json.dumps({"prompts": ['a "red" wall', "a blue\\wall"]})
    assert (
        export(video, "--to", "narrastream", "--timeline", line, "--segment", 2, "--out", tmp_path / "out")
        == 0
    )
    written = (tmp_path / "out/prompt.jsonl").read_text(encoding="utf-8")
    assert json.loads(written) == json.loads(line)
    assert [span.text for span in parse(written, sections=2)] == ['a "red" wall', "a blue\\wall"]


def test_a_trace_says_the_prompts_of_sections(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", (RED, 20), (BLUE, 20))
    sections = [
        {"index": 0, "frames": [20, 40], "prompt": "blue", "state": "a blue wall"},
        {"index": 1, "frames": [0, 20], "prompt": "red"},
    ]
    (tmp_path / "t.json").write_text(json.dumps({"sections": sections}), encoding="utf-8")
    assert export(video, "--to", "vbench", "--timeline", tmp_path / "t.json", "--out", tmp_path / "out") == 0
    assert list(as_vbench_reads(tmp_path / "out").values()) == ["red", "blue"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--to", "narrastream", "--timeline", "red [1.5s: blue]", "--segment", "4"],
            "changes at 1.50 s, which is no border",
        ),
        (["--to", "narrastream", "--timeline", "red"], "less than half a segment of 10 s"),
        (["--to", "narrastream", "--timeline", "red", "--segment", "0"], "segment is 0"),
        (["--to", "vbench", "--timeline", "red", "--window", "-1"], "window is -1"),
        (["--to", "vbench", "--timeline", "s.jsonl"], "holds 2 scripts, but videos: 1"),
        (["--to", "vbench", "--timeline", "nowhere.json"], "nowhere.json does not exist"),
        (
            ["--to", "vbench", "--timeline", "red", "--out", "full"],
            "--out full is there already and is not empty",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "v.mp4", (RED, 20), (BLUE, 20))
    (tmp_path / "s.jsonl").write_text('{"prompts": ["a"]}\n' * 2, encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept.txt").write_text("kept", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    out = [] if "--out" in arguments else ["--out", "out"]
    assert export("v.mp4", *arguments, *out) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.lower() in error.lower() and error.endswith(".") and "Unexpected" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_video_that_is_none_is_named(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "v.mp4").write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    for name in ("v.mp4", "nothing.mp4"):
        assert export(tmp_path / name, "--to", "vbench", "--timeline", "red", "--out", tmp_path / "out") == 1
        assert name in capsys.readouterr().err
