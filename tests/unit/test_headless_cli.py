"""The command line: what it prints, what it writes and with which code it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands import demo
from framepack_transitions.headless.running import runs
from framepack_transitions.headless.running.report import Record, is_result, switches, write_report
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.workflow import Node
from framepack_transitions.samplers.progress import Interrupted, report
from PIL import Image

TRACE = {
    "sections": [
        {"index": 0, "frames": [5, 9], "prompt": "night", "change": 0.0},
        {"index": 1, "frames": [1, 5], "prompt": "day", "change": 0.8},
    ]
}


class Paint:
    """Frames of one grey, with a trace as a sampler gives it."""

    RETURN_TYPES = ("IMAGE", "FRAMEPACK_TRACE")
    FUNCTION = "paint"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"image": ("IMAGE",), "steps": ("INT", {"default": 2, "min": 1}), "seed": ("INT", {})}
        }

    def paint(self, image: torch.Tensor, steps: int, seed: int) -> tuple[torch.Tensor, dict[str, Any]]:
        for step in range(steps):
            report(step + 1, steps)
        if seed == 13:
            raise Interrupted
        if seed == 14:
            raise KeyboardInterrupt
        if seed == 16:
            signal.raise_signal(signal.SIGTERM)
        if seed == 15:
            raise ValueError("this seed is cursed")
        return torch.full((9, 16, 16, 3), seed / 255), TRACE


def graph() -> dict[str, Any]:
    nodes = {
        "1": ("LoadImage", {"image": "start.png"}, "Start"),
        "2": ("PreviewAny", {"source": "hello"}, "Hello"),
        "3": ("SaveImage", {"images": ["1", 0], "filename_prefix": "first"}, "First"),
        "4": ("Paint", {"image": ["1", 0], "steps": 2, "seed": 5}, "Sampler"),
        "5": ("CreateVideo", {"images": ["4", 0], "fps": 30}, "Video"),
        "6": (
            "SaveVideo",
            {"video": ["5", 0], "filename_prefix": "clip", "format": "auto", "codec": "auto"},
            "Save",
        ),
    }
    return {
        key: {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
        for key, (kind, inputs, title) in nodes.items()
    }


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    nodes = {**runs.CORE_NODES, "Paint": Paint}
    monkeypatch.setattr(runs, "local_nodes", lambda: nodes)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "input" / "start.png")
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(graph()), encoding="utf-8")
    return path


def test_a_run_writes_its_files_and_a_report(workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(workflow)]) == 0
    out = workflow.parent / "output"
    written = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert written["schema"] == "framepack-transitions/1"
    assert (written["kind"], written["workflow"]) == ("run", "flow.json")
    assert written["videos"] == [
        {"path": "clip_00001_.mp4", "frames": 9, "fps": 30.0, "size": [16, 16], "node": "6"}
    ]
    assert written["images"] == [{"path": "first_00001_.png", "node": "3"}]
    assert written["texts"] == [{"text": "hello", "node": "2"}]
    assert written["traces"] == [{"node": "4", "trace": TRACE}]
    (switch,) = written["switches"]
    expected = {"frame": 5, "seconds": 5 / 30, "old": "day", "new": "night", "change": 0.8, "metrics": {}}
    assert expected.items() <= switch.items()
    assert {entry["node"] for entry in written["nodes"]} == set("123456")
    assert {path.name for path in out.iterdir()} == {"clip_00001_.mp4", "first_00001_.png", "report.json"}
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "hello",
        "output/clip_00001_.mp4: 9 frames, 16x16, 30 fps",
        "output/first_00001_.png",
        "output/report.json",
    ]
    assert "Sampler" in captured.err and "2/2" in captured.err


def test_the_report_has_the_documented_keys(workflow: Path, report_page: ModuleType) -> None:
    assert main(["run", str(workflow)]) == 0
    written = json.loads((workflow.parent / "output" / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "run")


def test_settings_and_folders(workflow: Path, tmp_path: Path) -> None:
    (tmp_path / "input").rename(tmp_path / "pictures")
    arguments = [
        "--input",
        "pictures",
        "--out",
        "else/where",
        "--set",
        "Save.filename_prefix=night/clip",
        "--set",
        "4.steps=1",
    ]
    assert main(["run", str(workflow), *arguments]) == 0
    assert (tmp_path / "else" / "where" / "night" / "clip_00001_.mp4").is_file()
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "Nobody.steps=1"], "--set names the node 'Nobody', which the workflow does not have"),
        (
            ["--set", "Sampler.step=1"],
            "--set names the input 'step', which node 4 Paint \"Sampler\" does not have: the closest is steps.",
        ),
        (["--set", "Sampler.steps=0"], 'Node 4 Paint "Sampler": input steps takes at least 1, got 0.'),
        (["--set", "Start.image=../flow.json"], "the file '../flow.json' is outside the input folder"),
        (
            ["--set", "Save.filename_prefix=../clip"],
            "the filename_prefix '../clip' does not name a file inside",
        ),
        (["--set", "Sampler.seed=15"], 'Node 4 Paint "Sampler" failed: this seed is cursed.'),
    ],
)
def test_what_is_wrong_is_one_sentence_and_code_1(
    workflow: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(workflow), *arguments]) == 1
    errors = capsys.readouterr().err
    assert sentence in errors
    assert "Traceback" not in errors


def test_verbose_shows_where(workflow: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["run", str(workflow), "--verbose", "--set", "4.seed=15"]) == 1
    assert "ValueError: this seed is cursed" in caplog.text


def test_sigterm_ends_a_run_as_ctrl_c_does_with_its_own_code(
    workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["run", str(workflow), "--set", "4.seed=16"]) == 128 + signal.SIGTERM
    assert "Interrupted. Written so far: output/first_00001_.png." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_while_the_program_is_loaded_leaves_no_traceback() -> None:
    program = """
import signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name.endswith("headless.cli"):
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from framepack_transitions.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Interrupted. Nothing was written.\n"


@pytest.mark.parametrize("seed", [13, 14])
def test_an_interrupt_says_what_was_written(
    workflow: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(workflow), "--set", f"4.seed={seed}"]) == 130
    assert "Interrupted. Written so far: output/first_00001_.png." in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["dance"], ["run", "x.json", "--set", "nonsense"], ["demo", "--seed", "x"]]
)
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_examples_find_the_input_folder_of_their_pack(tmp_path: Path) -> None:
    examples = tmp_path / "pack" / "example_workflows"
    assert runs.input_folder_for(examples / "api" / "tiny.json") == examples / "input"
    assert runs.input_folder_for(examples / "tiny.json") == examples / "input"
    assert runs.input_folder_for(tmp_path / "mine.json") == tmp_path / "input"


def test_switches_are_read_from_the_trace_in_the_order_of_the_video() -> None:
    assert [switch["frame"] for switch in switches(TRACE, 30)] == [5]
    assert demo.DemoVideo(label="", path="", frames=torch.zeros(0), fps=30, trace=TRACE).borders == [5]
    assert switches({}, 30) == []


def test_a_report_survives_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    record = Record(tmp_path)
    node = Node("1", "Sampler", "Sampler", {})
    record.finished(node, {"FRAMEPACK_TRACE": {"value": float("nan"), "where": Path("x")}}, {}, 0.5)
    path = write_report(tmp_path / "report.json", record.report("run"))
    assert json.loads(path.read_text(encoding="utf-8"))["traces"] == [
        {"node": "1", "trace": {"value": None, "where": "x"}}
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no disk that is always full")
def test_a_report_that_does_not_fit_on_the_disk_is_told_and_the_one_before_stays(tmp_path: Path) -> None:
    path = write_report(tmp_path / "report.json", {"kind": "run"})
    (tmp_path / ".report.json.part").symlink_to("/dev/full")
    with pytest.raises(WorkflowError, match=r"report.json cannot be written: No space left on device\.$"):
        write_report(path, {"kind": "sweep"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"kind": "run"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_that_only_showed_progress_is_no_result(tmp_path: Path) -> None:
    assert not is_result(
        {"filename": "FramePack_preview_00001_.mp4", "subfolder": "previews", "type": "temp"}
    )
    assert is_result({"filename": "a_00001_.png", "subfolder": "previews", "type": "temp"})
    assert is_result({"filename": "a_00001_.mp4", "subfolder": "", "type": "output"})


def test_the_example_with_the_embedded_model_runs(tmp_path: Path) -> None:
    settings = ["Sampler.steps=1", "Sampler.latent_frames=6", "Sampler.window=3"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    example = runs.PACK / runs.EXAMPLES / "api" / "tiny_f1.json"
    assert main(["run", str(example), "--out", str(tmp_path), *arguments]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["videos"][0] == {
        "path": "tiny_f1_00001_.mp4",
        "frames": 25,
        "fps": 30.0,
        "size": [64, 64],
        "node": "8",
    }
    assert len(written["traces"][0]["trace"]["sections"]) == 2


def test_an_output_folder_that_cannot_be_written_is_said_before_anything_runs(capsys, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert main(["demo", "--out", str(occupied / "inside")]) == 1
    error = capsys.readouterr().err
    assert "Nothing can be written to the output folder" in error and error.count("\n") == 1
