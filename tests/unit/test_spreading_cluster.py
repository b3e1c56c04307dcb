"""Runs on the workers of a dask.distributed cluster: files go and come as bytes, and a killed worker loses one run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="clusters need the package distributed")

import distributed
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.running import runs
from framepack_transitions.headless.spreading import cluster as cluster_module
from framepack_transitions.headless.spreading.cluster import ClusterRunner, connected
from framepack_transitions.headless.workflows.errors import WorkflowError
from PIL import Image

FLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "deep/p"}},
    "3": {"class_type": "PreviewAny", "inputs": {"source": "x"}, "_meta": {"title": "Text"}},
}


SMALL = {"threads_per_worker": 1, "dashboard_address": ":0", "host": "127.0.0.1"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers in this process, which has loaded everything."""
    with distributed.LocalCluster(n_workers=2, processes=False, protocol="tcp", **SMALL) as cluster:
        yield cluster


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    (tmp_path / "input").mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (32, 16), colour).save(tmp_path / "input" / name)
    (tmp_path / "flow.json").write_text(json.dumps(FLOW))
    return tmp_path / "flow.json"


def sweep(flow: Path, cluster: Any, *more: str) -> int:
    out = str(flow.parent / "out")
    return main(["sweep", str(flow), "--out", out, "--dask", cluster.scheduler_address, *more])


def test_inputs_go_to_the_workers_and_files_come_back(cluster: Any, flow: Path, report_page: Any) -> None:
    assert sweep(flow, cluster, "--grid", "1.image=a.png,b.png") == 0
    report = json.loads((flow.parent / "out" / "report.json").read_text(encoding="utf-8"))
    report_page.check(report, "sweep")
    assert report["dask"] == cluster.scheduler_address
    for row, colour in zip(report["rows"], [(255, 0, 0), (0, 0, 255)]):
        picture = Image.open(flow.parent / "out" / "units" / row["unit"] / row["file"])
        assert row["file"] == "deep/p_00001_.png" and picture.getpixel((0, 0)) == colour


def test_a_lora_goes_to_the_workers(cluster: Any, flow: Path) -> None:
    lora = "framepack_transitions_tiny_lora.safetensors"
    shutil.copy(runs.PACK / runs.EXAMPLES / "input" / lora, flow.parent / "input" / "mine.safetensors")
    loads = {
        "1": {"class_type": "FramePackTinyLoader", "inputs": {}},
        "2": {
            "class_type": "FramePackLoraLoader",
            "inputs": {"model": ["1", 0], "lora_name": "mine.safetensors", "strength": 1.0, "blocks": ""},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}, "_meta": {"title": "Report"}},
    }
    flow.write_text(json.dumps(loads))
    assert sweep(flow, cluster, "--grid", "2.strength=1,0.5") == 0
    report = json.loads((flow.parent / "out" / "report.json").read_text(encoding="utf-8"))
    assert [row["problems"] for row in report["rows"]] == [[], []]


def test_what_a_worker_refuses_is_said_as_it_says_it(cluster: Any, flow: Path, capsys) -> None:
    assert sweep(flow, cluster, "--grid", "1.image=a.png,nowhere.png") == 1
    assert "Node 1 LoadImage: " in (shown := capsys.readouterr().out) and "'nowhere.png'" in shown


def test_unknown_nodes_are_named(cluster: Any, flow: Path, capsys) -> None:
    flow.write_text(json.dumps({**FLOW, "9": {"class_type": "Mystery", "inputs": {}}}))
    assert sweep(flow, cluster, "--grid", "Text.source=1") == 1
    assert "Node 9 Mystery: this class is not known here" in capsys.readouterr().err


# Kills the process that runs it, unless the folder is there that it makes.
DIE_ONCE = ["sh", "-c", 'mkdir "$0" && kill -KILL $PPID']


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_what_a_killed_worker_was_at_is_done_by_another(tmp_path: Path) -> None:
    died = tmp_path / "died"
    with (
        distributed.LocalCluster(n_workers=2, processes=True, **SMALL) as cluster,
        connected(cluster.scheduler_address) as client,
    ):
        runner = ClusterRunner(client, cluster.scheduler_address)
        code = runner._ask(subprocess.call, [*DIE_ONCE, str(died)], bars=runs.ProgressBars())
        assert code == 1 and died.is_dir() and runner.answers()


def test_an_error_of_a_worker_says_what_workers_need(cluster: Any) -> None:
    with connected(cluster.scheduler_address) as client:
        runner = ClusterRunner(client, cluster.scheduler_address)
        with pytest.raises(WorkflowError, match=r"failed: ZeroDivisionError.*Workers need this package"):
            runner._ask(divmod, 1, 0, bars=runs.ProgressBars())


def too_slow() -> None:
    raise TimeoutError("the disk")


def test_a_function_that_took_too_long_is_no_answer_that_is_still_to_come(cluster: Any) -> None:
    with connected(cluster.scheduler_address) as client:
        runner = ClusterRunner(client, cluster.scheduler_address)
        with pytest.raises(WorkflowError, match="failed: TimeoutError: the disk"):
            runner._ask(too_slow, bars=runs.ProgressBars())


def slow_to_read() -> str:
    time.sleep(0.2)
    return "read"


class SlowToRead:
    """An answer that takes longer to be fetched than anyone looks for it at a time."""

    def __reduce__(self) -> Any:
        return slow_to_read, ()


def test_an_answer_is_fetched_however_long_that_takes(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "POLL_SECONDS", 0.01)
    with connected(cluster.scheduler_address) as client:
        runner = ClusterRunner(client, cluster.scheduler_address)
        assert runner._ask(SlowToRead, bars=runs.ProgressBars()) == "read"


def test_an_address_without_a_scheduler_is_named(flow: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    options = ["--grid", "Text.source=1", "--dask", "tcp://127.0.0.1:9"]
    assert main(["sweep", str(flow), "--out", str(flow.parent / "out"), *options]) == 1
    assert "No dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
