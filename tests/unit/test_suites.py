"""Suites of TransitionBench as files: the shipped ones are whole, and a wrong one is said in a sentence."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.benchmarks.suites.episodes import CASES, read_suite
from framepack_transitions.benchmarks.suites.files import FOLDER, SHIPPED, Suite
from framepack_transitions.benchmarks.suites.long.episodes import read_long_suite
from framepack_transitions.samplers.timeline.syntaxes.table import parse
from PIL import Image

BOTH = pytest.mark.parametrize("name", ["transition", "tiny"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    return tmp_path


def suite(*changes: dict[str, Any], **shared: Any) -> dict[str, Any]:
    episode = {
        "id": "one",
        "case": "disappear",
        "image": "red.png",
        "old": {"prompt": "A ball rolls.", "state": "a ball"},
        "new": {"prompt": "The ball rolls away.", "state": "a meadow"},
        "concept": "a ball",
    }
    episodes = [
        {name: value for name, value in {**episode, **change}.items() if value is not None}
        for change in changes or ({},)
    ]
    facts = {"schema": "framepack-transitions/suite/1", "name": "mine", "workflow": "w.json"}
    return {**facts, "features": "clip", "seconds": 6, "switch": 2.4, "episodes": episodes, **shared}


def read(folder: Path, data: Any) -> Suite:
    path = folder / "suite.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return read_suite(str(path))


@BOTH
def test_a_shipped_suite_holds_every_case(name: str) -> None:
    known = read_suite(name)
    cases = Counter(episode.case for episode in known.episodes)
    assert set(cases) == set(CASES)
    assert known.name == name
    assert (FOLDER.parents[2] / "example_workflows" / "api" / known.workflow).is_file()


def test_the_suite_for_the_large_model_has_enough_of_every_change() -> None:
    known = read_suite("transition")
    cases = Counter(episode.case for episode in known.episodes)
    assert all(cases[case] >= 4 for case in CASES)
    assert cases["control"] + cases["sham"] >= 10
    images = Counter(episode.image for episode in known.episodes)
    assert len(images) >= 10 and min(images.values()) >= 3
    assert known.seeds >= 2


def test_the_suite_for_the_large_model_names_what_else_may_be_seen_by_hand() -> None:
    for episode in read_suite("transition").episodes:
        states = {episode.old.state, episode.other_state}
        assert episode.distractors is not None and len(set(episode.distractors)) >= 4, episode.id
        for text in episode.distractors:
            # What says no more than a state is seen whenever that state is.
            assert not any(words(text) <= words(state) for state in states), (episode.id, text)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text)) - {"a", "an", "the", "in", "on", "of", "with", "and", "at"}


@BOTH
def test_every_timeline_is_read_as_it_was_meant(name: str) -> None:
    for episode in read_suite(name).episodes:
        spans = parse(episode.timeline(), "brackets")
        assert (spans[0].start, spans[0].text, spans[0].state) == (0, episode.old.prompt, episode.old.state)
        if episode.case == "control":
            assert len(spans) == 1
        elif episode.case == "sham":
            assert (spans[1].start, spans[1].text, spans[1].sham) == (
                episode.switch,
                episode.old.prompt,
                True,
            )
        else:
            assert (spans[1].start, spans[1].text, spans[1].state) == (
                episode.switch,
                episode.new.prompt,
                episode.new.state,
            )


@BOTH
def test_switches_lie_where_sections_begin_and_leave_time_after_them(name: str) -> None:
    for episode in read_suite(name).episodes:
        section = 36 / 30  # nine latent frames at 30 frames a second
        assert episode.switch / section == pytest.approx(round(episode.switch / section))
        assert episode.seconds - episode.switch >= 2 * section


def test_the_start_images_are_small_and_their_rights_are_told() -> None:
    told = (FOLDER / "images" / "LICENSES.md").read_text(encoding="utf-8")
    shipped = (read_suite("transition"), read_suite("tiny"), read_long_suite("long"))
    assert len(shipped) == len(SHIPPED)
    used = {episode.image for known in shipped for episode in known.episodes}
    pictures = {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "images").iterdir()}
    assert pictures - {"images/LICENSES.md"} == used
    for image in used:
        path = FOLDER / image
        assert path.stat().st_size < 100_000
        assert path.name in told or (path.name.startswith("tiny_") and "tiny_*.png" in told)
        with Image.open(path) as picture:
            assert max(picture.size) <= 640


def test_the_suites_are_installed_with_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read pyproject.toml by itself")
    settings = tomllib.loads((FOLDER.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["framepack_transitions"]
    installed = {path for pattern in patterns for path in FOLDER.parents[2].glob(pattern)}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} <= installed


def test_a_suite_may_say_how_many_seeds_it_is_meant_for(files: Path) -> None:
    assert read(files, suite()).seeds == 1
    assert read(files, suite(seeds=3)).seeds == 3
    for wrong in (0, True, "2", 1.5):
        with pytest.raises(ValueError, match="seeds is no whole number from 1 on"):
            read(files, suite(seeds=wrong))


def test_an_episode_may_have_a_length_of_its_own(files: Path) -> None:
    first, second = read(files, suite({}, {"id": "two", "seconds": 9.5, "switch": 3})).episodes
    assert (first.seconds, first.switch) == (6, 2.4)
    assert (second.seconds, second.switch) == (9.5, 3)


def test_a_control_says_what_would_be_seen_if_the_scene_were_lost(files: Path) -> None:
    (episode,) = read(
        files, suite({"case": "control", "new": None, "concept": None, "lost": "a meadow"})
    ).episodes
    assert not episode.changes and episode.other_state == "a meadow"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"case": "dance"}, "episode one: case is 'dance'; give one of disappear, appear"),
        ({"new": None}, "episode one: new is missing"),
        ({"concept": None}, "episode one: concept is missing"),
        ({"colour": "red"}, "episode one: colour has no meaning here"),
        ({"case": "sham", "lost": "a meadow"}, "episode one: concept has no meaning here"),
        ({"old": {"prompt": "A ball rolls."}}, "episode one: old is not a prompt and a state"),
        ({"new": {"prompt": "A ball rolls.", "state": "a ball"}}, "old and new are the same"),
        ({"image": "blue.png"}, "episode one: there is no image blue.png beside the suite"),
        ({"image": "../red.png"}, "episode one: the image ../red.png lies outside the suite's folder"),
        ({"switch": 5.8}, "episode one: switch is 5.8 s of 6 s; leave at least 0.5 s"),
        ({"seconds": "six"}, "episode one: seconds and switch are no numbers"),
        ({"id": "../one"}, "episode 1 has no id of letters"),
    ],
)
def test_what_is_wrong_with_an_episode_is_said(files: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read(files, suite(change))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], 'it is no suite of the schema "framepack-transitions/suite/1"'),
        (suite(episodes=[]), "episodes is no list of at least one episode"),
        (suite(name=""), "name is no text"),
        (suite({}, {}), "several episodes have the id one"),
        (suite(colour="red"), "colour has no meaning here"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said(files: Path, data: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read(files, data)


def test_a_suite_that_is_not_there_is_said() -> None:
    with pytest.raises(
        ValueError, match="nowhere.json cannot be read.*give a file, or one of transition, tiny, long"
    ):
        read_suite("nowhere.json")
