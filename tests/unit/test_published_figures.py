"""Tables that the pages quote follow from the episodes that lie beside them."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import framepack_transitions
import pytest
from framepack_transitions.benchmarks.agreement import confusion, judge
from framepack_transitions.benchmarks.agreement import pictures as agreement_pictures
from framepack_transitions.benchmarks.agreement import study as agreement
from framepack_transitions.benchmarks.agreement.measuring import Scores
from framepack_transitions.benchmarks.drift import table as drift
from framepack_transitions.benchmarks.drift.results import DriftResult
from framepack_transitions.benchmarks.exemplars import study as exemplars
from framepack_transitions.benchmarks.landing import table as landing_rows
from framepack_transitions.benchmarks.landing.results import LandingResult
from framepack_transitions.benchmarks.later import table as later
from framepack_transitions.benchmarks.later.results import LaterResult
from framepack_transitions.benchmarks.long import pictures as long_pictures
from framepack_transitions.benchmarks.long import summary as long_summary
from framepack_transitions.benchmarks.long.measures import SectionMeasures
from framepack_transitions.benchmarks.long.results import LongResult
from framepack_transitions.benchmarks.loras import arms as lora_arms
from framepack_transitions.benchmarks.loras import comparing
from framepack_transitions.benchmarks.loras import table as loras
from framepack_transitions.benchmarks.shots import table as shots
from framepack_transitions.benchmarks.shots.results import ShotResult
from framepack_transitions.benchmarks.transition import pictures, summary
from framepack_transitions.benchmarks.transition.arms import Arm
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running.results import COMPRESSED, Result, save_compressed
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.benchmarks.transition.studies import doses, preset_sets, two_subjects

LAB = Path(framepack_transitions.__file__).resolve().parent / "docs" / "lab"
SECTION = BenchSettings().section_frames
R = TypeVar("R")


def lines_of(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def episodes_in(folder: Path, read: Callable[[str], R]) -> list[R]:
    return [read(line) for line in lines_of(folder / COMPRESSED)]


def judge_table(folder: Path) -> str:
    episodes = [judge.JudgedEpisode(**json.loads(line)) for line in lines_of(folder / judge.VERDICTS)]
    return confusion.table(confusion.confusion(episodes))


def agreement_table(folder: Path) -> str:
    return agreement_pictures.table(
        [clip_of(json.loads(line)) for line in lines_of(folder / agreement.CLIPS)]
    )


def long_table(folder: Path) -> str:
    videos = episodes_in(folder, LongResult.from_line)
    return long_pictures.table(long_summary.rows(videos, SECTION), long_summary.kinds(videos))


def techniques_table(folder: Path) -> str:
    return pictures.table(summary.rows(episodes_in(folder, Result.from_line), SECTION))


def exemplars_table(folder: Path) -> str:
    return exemplars.table(exemplars.rows(episodes_in(folder, Result.from_line)))


def landing_table(folder: Path) -> str:
    return landing_rows.table(landing_rows.rows(episodes_in(folder, LandingResult.from_line)))


def pairs_table(folder: Path) -> str:
    return two_subjects.table(summary.rows(episodes_in(folder, Result.from_line), SECTION))


def shots_table(folder: Path) -> str:
    return shots.table(shots.rows(episodes_in(folder, ShotResult.from_line)))


def doses_table(folder: Path) -> str:
    return doses.table(summary.rows(episodes_in(folder, Result.from_line), SECTION))


def presets_table(folder: Path) -> str:
    return preset_sets.table(summary.rows(episodes_in(folder, Result.from_line), SECTION))


def later_table(folder: Path) -> str:
    return later.table(later.rows(episodes_in(folder, LaterResult.from_line)))


def drift_table(folder: Path) -> str:
    return drift.table(drift.rows(episodes_in(folder, DriftResult.from_line)))


def lora_table(folder: Path) -> str:
    results = episodes_in(folder, Result.from_line)
    trainings: dict[str, list[Arm]] = {}
    for arm in dict.fromkeys(result.arm for result in results):
        name = arm.split(", training ")[0]
        beside = lora_arms.BALANCED.techniques if name.endswith(lora_arms.PRESET) else ()
        trainings.setdefault(name, []).append(Arm(arm, beside))
    settings = [lora_arms.Setting(name, tuple(arms)) for name, arms in trainings.items()]
    return loras.table(comparing.settings_rows(settings, results), comparing.comparisons(settings, results))


TABLES: dict[str, Callable[[Path], str]] = {
    "judge": judge_table,
    "agreement": agreement_table,
    "long": long_table,
    "techniques": techniques_table,
    "exemplars": exemplars_table,
    "landing": landing_table,
    "pairs": pairs_table,
    "drift": drift_table,
    "lora": lora_table,
    "shots": shots_table,
    "later": later_table,
    "doses": doses_table,
    "presets": presets_table,
}


def clip_of(facts: dict[str, Any]) -> agreement.ScoredClip:
    scores = {key: inf if value == "never" else value for key, value in facts["scores"].items()}
    return agreement.ScoredClip(**facts | {"scores": Scores(**scores)})


@pytest.mark.parametrize("name", sorted(path.parent.name for path in LAB.glob("*/table.md")))
def test_a_table_follows_from_the_episodes_beside_it(name: str) -> None:
    published = (LAB / name / "table.md").read_text(encoding="utf-8")
    study = re.match(r"TransitionBench, study (\w+),", published)
    assert study and published.endswith(TABLES[study[1]](LAB / name))


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
    save_compressed(tmp_path, results)
    assert techniques_table(tmp_path) == pictures.table(summary.rows(results, SECTION))
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
    save_compressed(tmp_path, videos)
    assert "right at the end" in long_table(tmp_path)
