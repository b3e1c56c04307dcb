"""What the command line tells newcomers: help with examples, its version, short output and what went wrong where."""

from __future__ import annotations

import codecs
import json
import logging
import shlex
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.benchmarks.suites.episodes import read_suite
from framepack_transitions.benchmarks.suites.files import SHIPPED
from framepack_transitions.headless import help as help_pages
from framepack_transitions.headless.arguments import parser
from framepack_transitions.headless.cli import main, shortened
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.running.runs import EXAMPLES, PACK, local_nodes
from framepack_transitions.headless.workflows.errors import WorkflowError, as_sentences
from framepack_transitions.headless.workflows.executor import prepare
from framepack_transitions.headless.workflows.workflow import parse_api, read_json

API = PACK / EXAMPLES / "api"
COMMANDS = [
    *("", "demo", "run", "evaluate", "sweep", "bench", "convert", "export", "sections"),
    *("dataset", "dataset build", "dataset prune", "dataset check", "dataset recycle"),
]
BOM = codecs.BOM_UTF8


def help_page(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_page_ends_with_examples_that_parse(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, examples = help_page(command, capsys).partition(help_pages.EXAMPLES_HEADING)
    lines = [shlex.split(line) for line in examples.strip().splitlines()]
    assert lines and all(line[0] == help_pages.PROGRAM for line in lines)
    for line in lines:
        options = parser().parse_args(line[1:])
        assert command.split()[:1] in ([], [options.name]) or options.name == "demo"


@pytest.mark.parametrize("inside", [True, False])
def test_examples_name_workflows_that_exist(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PACK if inside else tmp_path)
    workflows = [parser().parse_args(shlex.split(example)).workflow for example in help_pages.run_examples()]
    assert workflows and all(path.is_file() for path in workflows)
    assert [path.is_absolute() for path in workflows] == [not inside] * len(workflows)


def test_the_version_is_the_one_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    line = next(
        line for line in (PACK / "pyproject.toml").read_text().splitlines() if line.startswith("version")
    )
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"framepack-transitions {shlex.split(line)[2]}\n"


def test_long_texts_are_cut_and_say_where_the_rest_is() -> None:
    report = Path("out/report.json")
    assert shortened("one\ntwo", report) == "one\ntwo"
    trace = json.dumps({"numbers": list(range(20_000))})
    cut = shortened(trace, report).splitlines()
    assert trace.startswith(cut[0]) and len(cut) == 2 and len(cut[0]) < 300
    assert cut[1] == f"... ({len(trace)} characters in all; the whole text is in {report})"
    many = shortened("\n".join(map(str, range(100))), report).splitlines()
    assert many[:3] == ["0", "1", "2"] and len(many) < 20


def test_a_long_text_of_a_node_is_whole_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "word " * 10_000
    flow = tmp_path / "flow.json"
    flow.write_text(json.dumps({"1": {"class_type": "PreviewAny", "inputs": {"source": text}}}))
    assert main(["run", str(flow), "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out) < 1000 and f"the whole text is in {tmp_path / 'report.json'}" in captured.out
    assert json.loads((tmp_path / "report.json").read_text())["texts"] == [{"text": text, "node": "1"}]


class Widgets:
    """Returns its widgets; `mode` and `file` have no default."""

    RETURN_TYPES = ("*",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "strength": ("FLOAT", {"default": 0.5}),
                "mode": (["slow", "fast"], {"default": "fast"}),
            },
            "optional": {"text": ("STRING", {"default": "hi"}), "mask": ("MASK", {"default": 3})},
        }

    def make(self, **widgets: Any) -> tuple[dict[str, Any]]:
        return (widgets,)


def widgets_workflow(**inputs: Any) -> dict[str, Any]:
    return {
        "1": {"class_type": "Widgets", "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }


def test_widgets_that_are_left_out_get_their_defaults() -> None:
    nodes = {**local_nodes(), "Widgets": Widgets}
    plan = prepare(parse_api(widgets_workflow()), nodes)
    assert plan.workflow["1"].inputs == {"strength": 0.5, "mode": "fast", "text": "hi"}
    plan = prepare(parse_api(widgets_workflow(strength=0.0, text="")), nodes)
    assert plan.workflow["1"].inputs == {"strength": 0.0, "mode": "fast", "text": ""}


def test_what_has_no_default_must_be_given(tmp_path: Path) -> None:
    flow = {
        "1": {"class_type": "LoadImage", "inputs": {}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    (tmp_path / "a.png").write_bytes(b"")
    with using(Folders(tmp_path, tmp_path)), pytest.raises(WorkflowError, match="image .* is missing"):
        prepare(parse_api(flow), local_nodes())


def test_a_short_workflow_runs_with_defaults(tmp_path: Path) -> None:
    example = read_json(API / "tiny_f1.json")
    sampler = next(
        node
        for node in example.values()
        if node["class_type"].startswith("FramePack") and "steps" in node["inputs"]
    )
    links = {name: value for name, value in sampler["inputs"].items() if isinstance(value, list)}
    sampler["inputs"] = {**links, "steps": 1, "latent_frames": 3, "window": 3}
    flow = tmp_path / "short.json"
    flow.write_text(json.dumps(example))
    arguments = ["--input", str(PACK / EXAMPLES / "input"), "--out", str(tmp_path / "out")]
    assert main(["run", str(flow), *arguments]) == 0
    trace = json.loads((tmp_path / "out" / "report.json").read_text())["traces"][0]["trace"]
    class_type = local_nodes()[sampler["class_type"]]
    assert trace["settings"]["seed"] == class_type.INPUT_TYPES()["required"]["seed"][1]["default"]


@pytest.mark.parametrize(("saving", "said"), [("SaveImage", False), ("PreviewImage", True)])
def test_a_workflow_that_saves_nothing_is_said(
    saving: str, said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "framepack_transitions_start.png"}},
        "2": {"class_type": saving, "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": "hello"}},
    }
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(flow))
    with caplog.at_level(logging.WARNING):
        arguments = ["--input", str(PACK / EXAMPLES / "input"), "--out", str(tmp_path / "out")]
        assert main(["run", str(path), *arguments]) == 0
    assert ("Nothing will be saved" in caplog.text) is said
    assert not said or ("SaveVideo" in caplog.text and "node 2 PreviewImage" in caplog.text)


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    flow, suite = tmp_path / "flow.json", tmp_path / "suite.json"
    flow.write_bytes(BOM + (API / "tiny_f1.json").read_bytes())
    assert read_json(flow) == read_json(API / "tiny_f1.json")
    whole = read_json(SHIPPED["tiny"])
    (tmp_path / "images").mkdir()
    for entry in whole["episodes"]:
        (tmp_path / entry["image"]).write_bytes((SHIPPED["tiny"].parent / entry["image"]).read_bytes())
    suite.write_bytes(BOM + SHIPPED["tiny"].read_bytes())
    assert read_suite(str(suite)).episodes == read_suite("tiny").episodes


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "FOLDER"],
        ["evaluate", "FOLDER"],
        ["evaluate", "x.mp4", "--timeline", "FOLDER"],
        ["evaluate", "x.mp4", "--plot", "FOLDER"],
        ["bench", "transition", "--suite", "FOLDER"],
        ["convert", "FOLDER"],
        ["bench", "transition", "--suite", "tiny", "--workflow", "FOLDER"],
    ],
)
def test_a_folder_in_place_of_a_file_is_said(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert main([argument.replace("FOLDER", "here") for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert "here is a folder" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("the video x.mp4 has no frames", ["The video x.mp4 has no frames."]),
        ("plain.mp4 is no video.", ["plain.mp4 is no video."]),
        ("seeds/a is wrong\n\nthe suite is too", ["seeds/a is wrong.", "The suite is too."]),
        ("out", ["Out."]),
        ("fps is 0", ["Fps is 0."]),
    ],
)
def test_sentences_begin_with_a_capital_but_file_names_stay(text: str, sentences: list[str]) -> None:
    assert as_sentences(text) == sentences


def test_a_list_that_is_no_timeline_is_named_as_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.json").write_text('{"a": 1}')
    assert main(["evaluate", "x.mp4", "--timeline", "prompts.json"]) == 1
    assert capsys.readouterr().err.startswith("prompts.json holds no timeline")


@pytest.mark.parametrize(
    "path",
    sorted((PACK / EXAMPLES).rglob("framepack_*.json")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_examples_of_the_13b_model_name_what_they_need_and_their_small_twin(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(path), "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    twin = path.with_name(path.name.replace("framepack_", "tiny_"))
    assert error.count("\n") == 1 and twin.is_file()
    assert "needs ComfyUI and the files of the 13B model" in error and str(twin) in error
