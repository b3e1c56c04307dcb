"""What a cluster's worker does: it runs one workflow in a folder of its own and gives back what that made, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from ..files.folders import Folders, using
from ..running.progress import NoBars
from ..running.report import Record
from ..running.runs import LocalRunner, Runner, ServerRunner
from ..workflows.errors import WorkflowError
from ..workflows.specs import NodeSpec
from ..workflows.workflow import parse_api

LISTS = ("videos", "images", "texts", "traces", "nodes")  # what is noted of a run


def known_specs(names: Sequence[str], server: str | None) -> dict[str, NodeSpec]:
    """What is known of these node classes here, or on the server as it is seen from here."""
    with TemporaryDirectory() as folder, using(_places(folder)):
        return _runner(server).specs(names)


def run_workflow(api: Mapping[str, Any], files: Mapping[str, bytes], server: str | None) -> dict[str, Any]:
    """Runs a workflow in API format, with these files in its input folder.

    The result holds `problems`, sentences where it failed, else the lists of its record and `files`, contents by path.
    """
    # On Windows a file that something still reads cannot be removed; what the run has made counts all the same.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        places = _places(folder)
        places.input.mkdir()
        for name, data in files.items():
            (places.input / name).write_bytes(data)
        record = Record(places.output)
        try:
            _run(api, _runner(server), places, record)
        except WorkflowError as error:
            return {"problems": list(error.problems)}
        written = [str(entry["path"]) for entry in (*record.videos, *record.images)]
        contents = {path: (places.output / path).read_bytes() for path in written}
        return {"problems": [], "files": contents, **{name: getattr(record, name) for name in LISTS}}


def _run(api: Mapping[str, Any], runner: Runner, places: Folders, record: Record) -> None:
    workflow = parse_api(api)
    with using(places):
        specs = runner.specs({node.class_type for node in workflow.values()})
    runner.run(workflow, specs, places=places, record=record, bars=NoBars(Event()))


def _places(folder: str) -> Folders:
    return Folders(Path(folder, "input"), Path(folder, "output"))


def _runner(server: str | None) -> Runner:
    return ServerRunner(server) if server else LocalRunner()
