"""The command `bench transition --ratings`: what people have answered on a suite's rating page, beside its judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ....benchmarks.rating.answers import Ratings, read_ratings
from ....benchmarks.rating.figures import JudgedVideo, figures
from ....benchmarks.rating.table import table
from ....benchmarks.transition.episodes import SWITCHES
from ....nodes.files.reading import DAMAGED, read_json_file, said
from ...running.report import FILE_NAME, Record
from ...workflows.errors import WorkflowError, as_sentences

TABLE = "ratings.md"
WRITTEN_ANEW = {"schema", "kind", "videos", "images", "texts", "traces", "nodes"}  # by every report itself


def run_ratings(out: Path, files: Sequence[Path], record: Record) -> dict[str, Any]:
    """Adds what people have said to the report of the suite in `out`; raises WorkflowError with a sentence."""
    report = _suite_report(out)
    videos = _judged(report)
    ratings = _all_ratings(files, {video.path for video in videos})
    found = figures(ratings, videos)
    text = table(found)
    (out / TABLE).write_text(text, encoding="utf-8")
    print(text)
    record.videos.extend(report["videos"])
    kept = {name: value for name, value in report.items() if name not in WRITTEN_ANEW}
    return {**kept, "ratings": {"table": TABLE, **found}}


def _suite_report(out: Path) -> dict[str, Any]:
    path = out / FILE_NAME
    try:
        report = read_json_file(path)
    except OSError as error:
        raise WorkflowError(
            f"There is no report of a suite in {out} ({error.strerror}): run bench transition --suite --rate --out {out} first."
        ) from error
    except ValueError as error:
        raise WorkflowError(f"{path} is no JSON: {said(error)}") from error
    if not isinstance(report, dict) or "suite" not in report:
        raise WorkflowError(
            f"{path} is the report of something else than a suite; give the suite's folder with --out."
        )
    if "switches_in_turn" in report:
        raise WorkflowError(f"{path} is the report of long videos, which people do not rate.")
    return report


def _judged(report: Mapping[str, Any]) -> list[JudgedVideo]:
    try:
        return [
            JudgedVideo(
                path=entry["video"],
                episode=entry["episode"],
                seed=entry["seed"],
                arm=entry["arm"],
                image=entry.get("image", entry["episode"]),
                changes=entry["case"] in SWITCHES,
                success=entry["success"],
            )
            for entry in report["episodes"]
        ]
    except DAMAGED as error:
        raise WorkflowError(f"The suite's report is damaged ({said(error)}): run the suite again.") from error


def _all_ratings(files: Sequence[Path], known: set[str]) -> list[Ratings]:
    """The answers in all files; raises WorkflowError where they are no answers, of other videos, or of one name twice."""
    try:
        ratings = [read_ratings(file) for file in files]
    except ValueError as error:
        raise WorkflowError(as_sentences(str(error))) from error
    for file, person in zip(files, ratings, strict=True):
        others = sorted(set(person.videos) - known)
        if others:
            raise WorkflowError(
                f"{file.name} rates videos that this report does not have, such as {others[0]}: give the folder of their suite with --out."
            )
    names = Counter(person.rater for person in ratings)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise WorkflowError(
            f"Several files are by {twice[0]}: give one file a person, or another name in `rater` of one of them."
        )
    return ratings
