"""A workflow is queued to a ComfyUI, watched, and its files fetched; the server here is a small imitation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch

pytest.importorskip("websockets", reason="server runs need the package websockets")

from framepack_transitions.headless.cli import main
from framepack_transitions.headless.files import media
from framepack_transitions.headless.running import client, patience
from framepack_transitions.headless.running.progress import ProgressBars
from framepack_transitions.headless.running.server import Server
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.workflow import parse_api

if TYPE_CHECKING:
    from fake_comfy import FakeComfy

PROMPT = "0f4a"  # the imitation's only prompt id
WORKFLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "start.png"}},
    "2": {"class_type": "Work", "inputs": {"image": ["1", 0], "steps": 4}, "_meta": {"title": "Worker"}},
    "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "filename_prefix": "clip"}},
}


@pytest.fixture
def comfy(tmp_path: Path, fake_comfy: ModuleType) -> Iterator[FakeComfy]:
    media.write_video(tmp_path / "made.mp4", torch.rand(5, 16, 32, 3), 30)
    with fake_comfy.serving((tmp_path / "made.mp4").read_bytes()) as fake:
        yield fake


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "start.png").write_bytes(b"the picture")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(WORKFLOW), encoding="utf-8")
    return path


def run(comfy: FakeComfy, workflow: Path, *more: str) -> int:
    return main(["run", str(workflow), "--server", comfy.url, "--out", str(workflow.parent / "out"), *more])


def test_inputs_go_up_and_outputs_come_down(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(comfy, workflow, "--set", "Worker.steps=9") == 0
    assert b"the picture" in comfy.uploads[0] and b'filename="start.png"' in comfy.uploads[0]
    prompt = comfy.queued[0]["prompt"]
    assert prompt["1"]["inputs"]["image"] == "start (1).png"
    assert prompt["2"]["inputs"] == {"image": ["1", 0], "steps": 9}
    assert comfy.viewed == [comfy.file]
    out = workflow.parent / "out"
    assert (out / "clip_00001_.mp4").read_bytes() == comfy.video
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["kind"] == "run" and report["server"] == comfy.url
    assert report["videos"] == [
        {"path": "clip_00001_.mp4", "frames": 5, "fps": 30.0, "size": [32, 16], "node": "3"}
    ]
    captured = capsys.readouterr()
    assert "done well" in captured.out and "clip_00001_.mp4" in captured.out
    assert "Worker" in captured.err and "4/4" in captured.err


def test_a_lost_progress_connection_costs_only_the_bars(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "POLL_SECONDS", 0.05)
    comfy.events = comfy.events[:1]
    assert run(comfy, workflow) == 0


def test_a_file_that_only_the_server_has_is_left_to_it(comfy: FakeComfy, workflow: Path) -> None:
    assert run(comfy, workflow, "--set", "1.image=there.png") == 0
    assert comfy.uploads == []
    assert comfy.queued[0]["prompt"]["1"]["inputs"]["image"] == "there.png"


@pytest.mark.parametrize("name", ["nowhere.png", "../mine.json"])
def test_files_are_only_uploaded_from_the_input_folder(
    comfy: FakeComfy, workflow: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(comfy, workflow, "--set", f"1.image={name}") == 1
    assert not comfy.uploads and not comfy.queued
    assert f"'{name}'" in capsys.readouterr().err


def test_refused_nodes_are_named(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.refusal = {
        "error": {"message": "Prompt outputs failed validation", "details": ""},
        "node_errors": {
            "2": {
                "class_type": "Work",
                "errors": [{"message": "Value 9 bigger than max of 8", "details": "steps"}],
            }
        },
    }
    assert run(comfy, workflow) == 1
    assert (
        'The server refuses node 2 Work "Worker": Value 9 bigger than max of 8: steps.'
        in capsys.readouterr().err
    )


def test_a_refusal_as_a_whole_is_said(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.refusal = {"error": {"message": "Prompt has no outputs", "details": ""}, "node_errors": []}
    assert run(comfy, workflow) == 1
    assert "The server refuses the workflow: Prompt has no outputs." in capsys.readouterr().err


def test_a_failed_node_is_named(comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comfy.status = {
        "status_str": "error",
        "completed": False,
        "messages": [
            ["execution_start", {}],
            ["execution_error", {"node_id": "2", "node_type": "Work", "exception_message": "out of\nmemory"}],
        ],
    }
    assert run(comfy, workflow) == 1
    assert 'On the server, node 2 Work "Worker" failed: out of memory.' in capsys.readouterr().err
    assert not (workflow.parent / "out").exists()


def test_unknown_nodes_are_named(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.write_text(
        json.dumps({**WORKFLOW, "7": {"class_type": "Mystery", "inputs": {}}}), encoding="utf-8"
    )
    assert run(comfy, workflow) == 1
    assert "Node 7 Mystery: this class is not known here" in capsys.readouterr().err


def test_a_workflow_that_was_taken_out_of_the_queue_is_not_queued_again(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.forgets, comfy.stays = 1, True
    assert run(comfy, workflow) == 1
    assert "no longer knows the queued workflow" in capsys.readouterr().err and len(comfy.queued) == 1


def test_a_server_that_was_restarted_gets_the_workflow_again(
    comfy: FakeComfy, workflow: Path, caplog: pytest.LogCaptureFixture
) -> None:
    comfy.forgets = 2
    assert run(comfy, workflow) == 0
    assert len(comfy.queued) == 3 and caplog.text.count("The workflow is queued again.") == 2
    assert (workflow.parent / "out" / "clip_00001_.mp4").read_bytes() == comfy.video


def test_a_workflow_that_ends_the_server_again_and_again_is_given_up(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.forgets = 10
    assert run(comfy, workflow) == 1
    assert len(comfy.queued) == 4 and "was restarted while the workflow ran." in capsys.readouterr().err


def test_names_from_the_server_cannot_leave_the_output_folder(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.file = {"filename": "x.mp4", "subfolder": "../..", "type": "output"}
    assert run(comfy, workflow) == 1
    assert "cannot be used" in capsys.readouterr().err


MALFORMED = [
    [],
    "text",
    None,
    {"data": 5},
    {"type": "progress_state", "data": {"prompt_id": PROMPT, "nodes": [1]}},
    {"type": "progress_state", "data": {"prompt_id": PROMPT, "nodes": {"2": {"value": None, "max": "x"}}}},
    {"type": "progress", "data": {"prompt_id": PROMPT, "node": "2", "value": 1, "max": float("inf")}},
    {"type": "progress", "data": {"prompt_id": PROMPT, "node": "99\x1b[2J", "value": 1, "max": 9}},
]


def test_malformed_events_do_not_end_a_healthy_run(
    comfy: FakeComfy, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.events = [*MALFORMED, *comfy.events]
    assert run(comfy, workflow) == 0
    assert (workflow.parent / "out" / "clip_00001_.mp4").read_bytes() == comfy.video
    assert "\x1b[2J" not in capsys.readouterr().err


def test_a_server_that_is_gone_for_a_while_is_waited_for(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "POLL_SECONDS", 0.01)
    comfy.away = 3
    assert run(comfy, workflow) == 0
    assert comfy.away == 0 and len(comfy.queued) == 1
    assert caplog.text.count("Waiting for it") == 1
    assert (workflow.parent / "out" / "clip_00001_.mp4").read_bytes() == comfy.video


def test_a_server_that_stays_away_ends_the_run_with_a_sentence(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0)
    comfy.away = 10**6
    assert run(comfy, workflow) == 1
    assert "No ComfyUI answers" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["clip_00009_.mp4", "clip_00009_.png"])
@pytest.mark.parametrize("data", [b"", b"<html>", b"\x89PNG\r\n\x1a\n\0\0", b"\0\0\0\x18ftypmp42"])
def test_a_file_that_is_none_does_not_get_its_name(
    comfy: FakeComfy, workflow: Path, name: str, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.video, comfy.file = data, {**comfy.file, "filename": name}
    assert run(comfy, workflow) == 1
    assert f"The server's file {name} cannot be used" in capsys.readouterr().err
    assert list((workflow.parent / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("a\x1b[31mb_00001_.mp4", "a[31mb_00001_.mp4"),
        ('a<b>:"c".mp4', "a_b___c__00001_.mp4"),
        ("x" * 4000 + ".mp4", "x" * 100 + "_00001_.mp4"),
        ("a\u202eb.mp4", "ab_00001_.mp4"),
    ],
)
def test_names_of_the_server_are_made_plain(
    comfy: FakeComfy, workflow: Path, name: str, there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    comfy.file, comfy.text = {**comfy.file, "filename": name}, "red \x1b[31m text"
    assert run(comfy, workflow) == 0
    names = [path.name for path in (workflow.parent / "out").iterdir()]
    assert sorted(names) == sorted([there, "report.json"])
    assert "\x1b" not in capsys.readouterr().out


def test_an_interrupt_reaches_the_server(
    comfy: FakeComfy, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "_handle", stop)
    assert run(comfy, workflow) == 130
    assert comfy.posts == [("/queue", {"delete": [PROMPT]}), ("/interrupt", {"prompt_id": PROMPT})]


def test_a_server_that_is_not_there_is_named(workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(workflow), "--server", "127.0.0.1:9"]) == 1
    assert "No ComfyUI answers at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["file:///etc", "ftp://x", "http://"])
def test_only_web_addresses_are_servers(url: str) -> None:
    with pytest.raises(WorkflowError, match="takes an address"):
        Server(url)


def test_the_address_of_the_events_follows_that_of_the_server() -> None:
    assert Server("https://host/comfy/").events_url.startswith("wss://host/comfy/ws?clientId=")
    assert Server("localhost:8188").events_url.startswith("ws://localhost:8188/ws?clientId=")


def test_the_bar_of_a_finished_node_stays_closed(capsys: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars()
    event = {
        "type": "progress_state",
        "data": {
            "prompt_id": PROMPT,
            "nodes": {
                "2": {"value": 4, "max": 4, "state": "finished"},
                "5": {"value": 0, "max": 9, "state": "pending"},
            },
        },
    }
    assert not client._handle(event, PROMPT, parse_api(WORKFLOW), bars)
    assert "Worker: 100%" in capsys.readouterr().err
    client._handle(event, PROMPT, parse_api(WORKFLOW), bars)
    client._handle(event, "another run", parse_api(WORKFLOW), bars)
    assert capsys.readouterr().err == ""
