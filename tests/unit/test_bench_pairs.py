"""The judge of two subjects on videos whose truth is known, and the study that asks it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from framepack_transitions.benchmarks.transition import bench as transition
from framepack_transitions.benchmarks.transition import summary
from framepack_transitions.benchmarks.transition.arms import ARMS, PLAIN
from framepack_transitions.benchmarks.transition.bench import Bench
from framepack_transitions.benchmarks.transition.episodes import PAIR_CASES, Episode, make_episode
from framepack_transitions.benchmarks.transition.judge import judge_of
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings
from framepack_transitions.benchmarks.transition.studies import two_subjects
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands import bench as command
from framepack_transitions.headless.commands.studies import measuring
from framepack_transitions.tiny.world import Scene, draw
from PIL import Image

ADAPTIVE = next(arm for arm in ARMS if arm.name == "adaptive_cfg")
SECTION, PAST = 36, 30
SMALL = BenchSettings(window=3, steps=1, before=1, after=1)
BESIDE = {0: (16.0, 32.0), 1: (48.0, 32.0)}  # where the subject in each slot stands


def frames_of(
    scenes: list[tuple[int, Scene]], length: int, moved: tuple[int, float] | None = None
) -> np.ndarray:
    """Frames of still scenes by first frame; `moved` shifts both subjects down from a frame on, by px."""
    ways = [np.tile(np.array(place), (length, 1)) for place in BESIDE.values()]
    if moved is not None:
        for way in ways:
            way[moved[0] :, 1] += moved[1]
    return draw(scenes, *ways).astype(np.float32) / 255


def still(scene: Scene) -> Scene:
    """A scene whose subjects are small and stand still, so that they lie beside each other."""
    for slot, (subject, _) in enumerate(scene.slots):
        if subject is not None:
            scene = scene.with_subject(slot, replace(subject, size="small")).with_motion(slot, "still")
    return scene


def episode(case: str, seed: int = 1) -> Episode:
    made = make_episode(case, seed)
    return replace(made, before=still(made.before), after=still(made.after))


def measured(of: Episode, shown: Scene, moved: tuple[int, float] | None = None) -> Measures:
    """The measures when a scene is shown from the switch on."""
    frames = frames_of([(0, of.before), (PAST, shown)], PAST + 2 * SECTION, moved)
    judge = judge_of(of)
    past = judge.see(frames[:PAST])
    assert judge.is_valid(past, of)
    return judge.measure(of, past, frames[PAST:], SECTION)


@pytest.mark.parametrize("seed", range(4))
def test_in_every_episode_one_of_two_is_told_to_leave(seed: int) -> None:
    leave, sham = (make_episode(case, seed) for case in PAIR_CASES)
    assert len(leave.before.shown) == 2 and len(leave.after.shown) == 1
    assert {leave.leaving, leave.staying} == {subject for subject, _ in leave.before.shown}
    assert (leave.before.background, leave.before.night) == (leave.after.background, leave.after.night)
    assert leave.leaving is not None and leave.leaving.shape in leave.prompts[0]
    assert leave.leaving.shape not in leave.prompts[1]
    assert sham.before == sham.after and sham.prompts[0] == sham.prompts[1] and sham.leaving is None


@pytest.mark.parametrize("seed", range(3))
def test_a_subject_that_leaves_alone_is_a_success_at_once(seed: int) -> None:
    of = episode("leave", seed)
    found = measured(of, of.after)
    assert found.success and found.held == (True, True) and found.gone and found.other
    assert found.latency == 0 and found.remaining == 0 and found.artefacts == 0
    assert found.jump == pytest.approx(0, abs=0.5)


def test_a_subject_that_stays_although_told_to_leave_is_a_failure() -> None:
    of = episode("leave")
    found = measured(of, of.before)
    assert not found.success and not found.gone and found.other
    assert found.latency is None and found.remaining == 1


def test_when_both_leave_the_one_is_gone_but_the_other_is_not_as_it_was() -> None:
    of = episode("leave")
    found = measured(of, replace(of.before, subject=None, second=None))
    assert found.gone and not found.other and not found.success


def test_another_place_is_no_place_for_the_one_that_stays() -> None:
    of = episode("leave")
    elsewhere = replace(of.after, night=not of.after.night)
    found = measured(of, elsewhere)
    assert found.gone and not found.other and not found.success


def test_the_one_that_stays_jumps_in_px() -> None:
    of = episode("pair sham")
    found = measured(of, of.after, moved=(PAST, 9.0))
    assert found.jump == pytest.approx(9, abs=0.5) and found.gone is None and found.other


def test_what_is_no_scene_of_two_subjects_is_an_artefact() -> None:
    of = episode("leave")
    past = judge_of(of).see(frames_of([(0, of.before)], PAST))
    noise = np.random.default_rng(0).random((2 * SECTION, 64, 64, 3)).astype(np.float32)
    assert judge_of(of).measure(of, past, noise, SECTION).artefacts > 0.9


def test_rows_and_table_tell_both_subjects_apart(tmp_path: Path) -> None:
    asked = two_subjects.bench(tmp_path, 2, 40)
    assert [list(chunk) for chunk in asked.chunks()] == [[40, 41]] and asked.cases == PAIR_CASES
    quick = replace(asked, settings=SMALL, arms=(PLAIN, ADAPTIVE))
    results = transition.run(quick, transition.EpisodeSampler(command.load_tiny(), SMALL))
    assert {result.seed for result in results} == {40, 41}
    known = [
        replace(r, valid=True, measures=replace(r.measures, gone=r.seed == 40, other=True))
        for r in results
        if r.case == "leave"
    ] + [replace(r, valid=True) for r in results if r.case != "leave"]
    rows = summary.rows(known, SMALL.section_frames)
    row = next(row for row in rows if row["case"] == "leave" and row["technique"] == "plain")
    assert row["gone"] == 0.5 and row["other"] == 1.0 and row["n"] == 2
    assert "0.50 [" in two_subjects.table(rows)


def test_the_command_writes_table_plot_and_sheet(tmp_path: Path, monkeypatch, report_page) -> None:
    quick = {"settings": SMALL, "arms": (PLAIN, ADAPTIVE)}
    monkeypatch.setattr(two_subjects, "Bench", lambda **given: Bench(**{**given, **quick}))
    monkeypatch.setattr(measuring, "available_cores", lambda: 1)
    given = ["--study", "pairs", "--seeds", "1", "--first-seed", "3", "--bfloat16", "--out", str(tmp_path)]
    assert main(["bench", "transition", *given]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")
    assert (written["study"], written["first_seed"]) == ("pairs", 3)
    assert written["settings"]["bfloat16"] and not SMALL.bfloat16
    assert written["machine"]["dtype"] == "bfloat16"
    assert any("to quote, leave --bfloat16 out" in remark for remark in written["remarks"])
    assert {row["case"] for row in written["rows"]} == {"all", *PAIR_CASES}
    assert "other untouched" in (tmp_path / "table.md").read_text(encoding="utf-8")
    for name in (written["plot"], written["contact_sheet"]):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 100


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--first-seed", "-1"], "First seed is -1; give 0 or more"),
        (["--suite", "--first-seed", "2"], "--first-seed belongs to --study"),
        (["--suite", "--bfloat16"], "--bfloat16 belongs to --study"),
        (["--study", "long", "--bfloat16"], "The study long samples in float32; leave --bfloat16 out."),
    ],
)
def test_options_that_cannot_be_are_one_sentence(
    given: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "transition", *given, "--out", str(tmp_path)]) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(6))
def test_the_words_for_what_leaves_and_for_what_is_not_there(seed):
    pair = make_episode("leave", seed)
    assert pair.leaving is not None and pair.staying is not None
    assert pair.concept == f"a {pair.leaving.colour} {pair.leaving.shape}"
    _, colour, shape = pair.absent.split()
    assert colour not in (pair.leaving.colour, pair.staying.colour)
    assert shape not in (pair.leaving.shape, pair.staying.shape)


def test_words_where_nothing_leaves_and_where_nothing_is_there():
    sham, appear = make_episode("pair sham", 1), make_episode("appear", 1)
    assert sham.staying is not None and sham.concept == f"a {sham.staying.colour} {sham.staying.shape}"
    assert appear.concept == "nothing" and len(appear.absent.split()) == 3
