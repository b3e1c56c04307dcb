"""The demonstration: the shipped example with the embedded model, its video and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .folders import Folders
from .media import read_video
from .progress import Bars
from .report import Record, in_video_order
from .runs import EXAMPLES, PACK, Job, input_folder_for, run_here
from .sheet import Row, save_sheet
from .workflow import Setting

WORKFLOW = PACK / EXAMPLES / "api" / "tiny_f1.json"
SAMPLER = "Sampler"
SHEET = "contact_sheet.png"


def run_demo(out: Path, seed: int | None, record: Record, bars: Bars) -> dict[str, Any]:
    """Runs the embedded workflow and draws its contact sheet; raises WorkflowError or Interrupted."""
    settings = [] if seed is None else [Setting(SAMPLER, "seed", str(seed))]
    facts = run_here(Job(WORKFLOW, Folders(input_folder_for(WORKFLOW), out), settings), record, bars)
    sheet = draw_sheet(record)
    return {**facts, "contact_sheet": sheet.name}


def draw_sheet(record: Record) -> Path:
    """Draws the videos of the record, one strip each, in the order in which they were written."""
    traces = [entry["trace"] for entry in record.traces]
    rows = []
    for number, video in enumerate(record.videos):
        frames, _ = read_video(record.out / video["path"])
        trace = traces[number] if number < len(traces) else {}
        rows.append(
            Row(Path(video["path"]).stem.strip("_") if len(record.videos) > 1 else "", frames, borders(trace))
        )
    return save_sheet(record.out / SHEET, rows)


def borders(trace: Mapping[str, Any]) -> list[int]:
    """The first frame of every section but the first."""
    return [section["frames"][0] for section in in_video_order(trace)][1:]
