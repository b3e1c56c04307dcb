"""A sweep whose runs are queued to a running ComfyUI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from framepack_transitions.headless.cli import main

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]
WORKFLOW = Path(__file__).parents[2] / "example_workflows" / "api" / "tiny_timeline.json"
SHORT = {
    "Sampler.steps": "2",
    "Sampler.seconds": "2.4",
    "Prompts.seconds": "2.4",
    "Prompts.text": "a large red circle stands still in the sky by day [1.2s: an empty city at night]",
}


def test_runs_come_back_with_their_traces_and_are_not_made_twice(server, tmp_path, monkeypatch):
    changes = [word for item in SHORT.items() for word in ("--set", "=".join(item))]
    # The second server is not there: the first one does its part too.
    servers = ["--server", server.url, "--server", "http://127.0.0.1:9"]
    command = [
        "sweep",
        str(WORKFLOW),
        "--grid",
        "Sampler.seed=1,2",
        *changes,
        "--out",
        str(tmp_path),
        *servers,
    ]
    assert main(command) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [row["values"]["Sampler.seed"] for row in report["rows"]] == ["1", "2"]
    assert all(row["model calls"] >= 4 and not row["remark"] for row in report["rows"])
    assert [switches[0]["frame"] for switches in report["switches"]] == [37, 37]
    queued = server.get("/history").keys()
    assert main(command) == 0
    assert server.get("/history").keys() == queued
