"""Tables that the pages quote follow from the episodes that lie beside them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import framepack_transitions
import pytest
from framepack_transitions.benchmarks.agreement import confusion, judge, study
from framepack_transitions.benchmarks.agreement import pictures as agreement_pictures
from framepack_transitions.benchmarks.agreement.measuring import Scores
from framepack_transitions.benchmarks.long import pictures as long_pictures
from framepack_transitions.benchmarks.long import summary as long_summary
from framepack_transitions.benchmarks.long.measures import SectionMeasures
from framepack_transitions.benchmarks.long.results import LongResult
from framepack_transitions.benchmarks.transition import pictures, summary
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running.results import COMPRESSED, Result, save_compressed
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings

LAB = Path(framepack_transitions.__file__).resolve().parent / "docs" / "lab"
SECTION = BenchSettings().section_frames


def table_of(folder: Path) -> str:
    """The table that follows from the verdicts, clips or episodes in a folder."""
    (kept,) = (
        folder / name for name in (judge.VERDICTS, study.CLIPS, COMPRESSED) if (folder / name).is_file()
    )
    lines = gzip.decompress(kept.read_bytes()).decode().splitlines()
    if kept.name == judge.VERDICTS:
        return confusion.table(
            confusion.confusion([judge.JudgedEpisode(**json.loads(line)) for line in lines])
        )
    if kept.name == study.CLIPS:
        return agreement_pictures.table([clip_of(json.loads(line)) for line in lines])
    if "scenario" in json.loads(lines[0]):
        videos = [LongResult.from_line(line) for line in lines]
        return long_pictures.table(long_summary.rows(videos, SECTION), long_summary.kinds(videos))
    return pictures.table(summary.rows([Result.from_line(line) for line in lines], SECTION))


def clip_of(facts: dict[str, Any]) -> study.ScoredClip:
    scores = {key: inf if value == "never" else value for key, value in facts["scores"].items()}
    return study.ScoredClip(**facts | {"scores": Scores(**scores)})


@pytest.mark.parametrize("name", sorted(path.parent.name for path in LAB.glob("*/table.md")))
def test_a_table_follows_from_the_episodes_beside_it(name: str) -> None:
    assert (LAB / name / "table.md").read_text(encoding="utf-8").endswith(table_of(LAB / name))


def test_episodes_of_both_kinds_are_read(tmp_path: Path) -> None:
    measures = Measures(
        success=True,
        held=(True, True),
        latency=3,
        remaining=0.0,
        jump=None,
        jump_before=None,
        jump_after=None,
        artefacts=0.25,
    )
    results = [
        Result(
            key=f"{arm}{case}",
            case=case,
            seed=1000,
            arm=arm,
            valid=True,
            measures=measures,
            evaluations=24,
            seconds=1.0,
        )
        for arm in ("plain", "gate")
        for case in ("cut", "sham")
    ]
    assert read_back(tmp_path, results) == pictures.table(summary.rows(results, SECTION))
    sections = tuple(SectionMeasures(colour=0.0, sharpness=1.0, right=1.0) for _ in range(2))
    videos = [
        LongResult(
            key=arm,
            scenario="quiet",
            seed=1000,
            arm=arm,
            switches=(),
            sections=sections,
            evaluations=24,
            seconds=1.0,
        )
        for arm in ("plain", "gate")
    ]
    assert "right at the end" in read_back(tmp_path, videos)


def read_back(folder: Path, results: Sequence[Result] | Sequence[LongResult]) -> str:
    save_compressed(folder, results)
    return table_of(folder)
