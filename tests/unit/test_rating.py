"""Videos rated by people: the plan and the page, the answers, and how far people and judge agree."""

from __future__ import annotations

import json
from dataclasses import replace
from math import acos, cos, isnan, pi, sin, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from framepack_transitions.benchmarks.rating.answers import PairAnswer, Ratings, SingleAnswer, read_ratings
from framepack_transitions.benchmarks.rating.figures import JudgedVideo, agreement, figures, majority
from framepack_transitions.benchmarks.rating.page import page_text, write_page
from framepack_transitions.benchmarks.rating.plan import RatedVideo, rating_plan
from framepack_transitions.benchmarks.rating.table import table
from framepack_transitions.benchmarks.statistics.kappa import (
    Counts,
    independent_interval,
    kappa,
    kappa_interval,
)

CHI_SQUARE_95 = 3.841458820694124  # of one degree of freedom
VIDEOS = [
    RatedVideo(
        path=f"takes/{episode}_{seed}_{arm}.mp4",
        episode=episode,
        seed=seed,
        arm=arm,
        old="a cat",
        new="an empty room",
        prompts=((0.0, "The cat watches."), (2.4, "The cat leaves.")),
        switch=2.4,
        until=3.6,
    )
    for episode in ("one", "two", "three", "four")
    for seed in (1, 2)
    for arm in ("plain", "treated")
]


def plan(order: int = 0) -> dict[str, Any]:
    return rating_plan(VIDEOS, suite="few", order=order)


def test_every_video_and_every_pair_is_asked_for_once() -> None:
    shown = plan()
    assert sorted(entry["video"] for entry in shown["videos"]) == sorted(video.path for video in VIDEOS)
    pairs = {frozenset((entry["left"], entry["right"])) for entry in shown["pairs"]}
    assert pairs == {
        frozenset(f"takes/{episode}_{seed}_{arm}.mp4" for arm in ("plain", "treated"))
        for episode in ("one", "two", "three", "four")
        for seed in (1, 2)
    }
    assert len(shown["pairs"]) == 8


def test_the_order_and_the_sides_depend_on_the_seed_alone() -> None:
    assert plan() == plan()
    assert plan(1)["digest"] != plan()["digest"]
    assert [entry["video"] for entry in plan(1)["videos"]] != [entry["video"] for entry in plan()["videos"]]
    sides = {"plain" in entry["left"] for order in range(3) for entry in plan(order)["pairs"]}
    assert sides == {True, False}


def test_no_text_of_a_suite_ends_the_script_that_holds_it() -> None:
    sly = [replace(video, old="</script><b>") for video in VIDEOS]
    text = page_text(rating_plan(sly, suite="few", order=0))
    data = text.split('id="plan">', 1)[1].split("</script>", 1)[0]
    assert json.loads(data)["videos"][0]["old"] == "</script><b>"


def test_the_page_names_no_address_and_may_connect_to_none() -> None:
    text = page_text(plan())
    assert "http://" not in text and "https://" not in text
    assert "default-src 'none'" in text and "connect-src" not in text


def test_a_page_of_another_order_has_a_file_of_its_own(tmp_path: Path) -> None:
    assert [write_page(tmp_path, plan(order)).name for order in (0, 3)] == ["rating.html", "rating_3.html"]


ANSWERS = {
    "schema": "framepack-transitions/ratings/1",
    "plan": "x",
    "suite": "few",
    "order": 0,
    "rater": "Ann",
    "videos": [{"video": "a", "seen": "new", "jumped": False}, {"video": "b", "seen": "half"}],
    "pairs": [{"left": "a", "right": "b", "followed": "right", "looks": "same"}],
}


def saved(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / "ratings_ann.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_answers_are_read_as_the_page_saves_them(tmp_path: Path) -> None:
    found = read_ratings(saved(tmp_path, ANSWERS))
    assert found == Ratings(
        rater="Ann",
        order=0,
        videos={"a": SingleAnswer("new", False), "b": SingleAnswer("half", None)},
        pairs={frozenset("ab"): PairAnswer("b", "same")},
    )
    assert read_ratings(saved(tmp_path, {**ANSWERS, "rater": " "})).rater == "ratings_ann"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": "framepack-transitions/1"}, "holds no answers of the schema"),
        ({"videos": [{"video": "a", "seen": "maybe"}]}, "seen is 'maybe'; it may be old, half, new, broken"),
        ({"videos": [{"video": "a", "jumped": 1}]}, "jumped is 1; it may be False, True"),
        ({"pairs": [{"left": "a"}]}, "damaged"),
        ({"videos": 3}, "damaged"),
        ({"order": None}, "damaged"),
    ],
)
def test_other_files_are_refused_with_a_sentence(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match="ratings_ann.json") as caught:
        read_ratings(saved(tmp_path, {**ANSWERS, **change}))
    assert sentence in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        read_ratings(tmp_path / "absent.json")


def test_kappa_is_that_of_the_textbook() -> None:
    # 20 both yes, 15 differ, 15 both no: yes is 55 of 100 answers, chance is .55**2 + .45**2.
    observed, chance = 35 / 50, 0.55**2 + 0.45**2
    assert kappa(Counts(20, 15, 15)) == pytest.approx((observed - chance) / (1 - chance))
    assert kappa(Counts(5, 0, 5)) == 1
    assert kappa(Counts(0, 10, 0)) == -1
    assert isnan(kappa(Counts(10, 0, 0))) and isnan(kappa(Counts(0, 0, 0)))


def closed_form(counts: Counts) -> tuple[float, float]:
    """The roots of the cubic equation, as Donner and Eliasziw (1992) write them down."""
    n, differ, spread = counts.total, counts.differ, counts.yes * (1 - counts.yes)
    below = 4 * n * spread**2 * (CHI_SQUARE_95 + n)
    y1 = ((differ - 2 * n * spread) ** 2 + 4 * n**2 * spread**2) / below - 1
    y2 = (differ**2 - 4 * n * spread * (1 - 4 * spread) * CHI_SQUARE_95) / below - 1
    y3 = (differ + (1 - 2 * spread) * CHI_SQUARE_95) / (spread * (CHI_SQUARE_95 + n)) - 1
    v, w = y3**3 / 27 - (y2 * y3 - 3 * y1) / 6, (y3**2 / 9 - y2 / 3) ** 1.5
    theta, root = acos(v / w), sqrt(y3**2 / 9 - y2 / 3)
    low = root * (cos((theta + 2 * pi) / 3) + sqrt(3) * sin((theta + 2 * pi) / 3)) - y3 / 3
    return low, 2 * root * cos((theta + 5 * pi) / 3) - y3 / 3


@pytest.mark.parametrize("counts", [Counts(20, 15, 15), Counts(40, 4, 30), Counts(9, 2, 60)])
def test_the_interval_of_kappa_is_that_of_its_paper(counts: Counts) -> None:
    assert independent_interval(counts) == pytest.approx(closed_form(counts), abs=1e-6)


def test_agreement_in_all_answers_still_leaves_a_doubt() -> None:
    low, high = independent_interval(Counts(10, 0, 10))
    assert high == 1 and 0.5 < low < 0.9


def judges(rng: np.random.Generator, videos: int, clusters: int, agree: float) -> tuple[Any, ...]:
    """Answers of two judges who see the same of `clusters` pictures, and err on their own."""
    which = np.arange(videos) % clusters
    truth = (rng.random(clusters) < 0.6)[which]
    first, second = (truth ^ (rng.random(videos) > agree) for _ in range(2))
    return first, second, which


@pytest.mark.parametrize(("videos", "clusters", "agree"), [(40, 40, 0.9), (40, 10, 0.9), (80, 40, 0.97)])
def test_the_interval_of_kappa_holds_the_truth_as_often_as_it_says(
    videos: int, clusters: int, agree: float
) -> None:
    """The truth is kappa over very many videos: both say yes, by the share of yes and of errors."""
    rng = np.random.default_rng(7)
    yes = 0.6 * agree + 0.4 * (1 - agree)
    truth = 1 - 2 * agree * (1 - agree) / (2 * yes * (1 - yes))
    held = [
        low <= truth <= high
        for low, high in (
            kappa_interval(first, second, [str(name) for name in which])
            for first, second, which in (judges(rng, videos, clusters, agree) for _ in range(60))
        )
        if not isnan(low)
    ]
    assert len(held) > 50 and np.mean(held) >= 0.93


JUDGED = [
    JudgedVideo(
        path=f"{episode}{arm}",
        episode=episode,
        seed=1,
        arm=arm,
        image=episode,
        changes=episode != "s",
        success=success,
    )
    for episode, plain, treated in (("a", False, True), ("b", True, True), ("s", True, None))
    for arm, success in (("plain", plain), ("treated", treated))
]


def person(name: str, seen: dict[str, str], pairs: dict[str, tuple[str, str]] | None = None) -> Ratings:
    return Ratings(
        rater=name,
        order=0,
        videos={path: SingleAnswer(value, value == "broken") for path, value in seen.items()},
        pairs={
            frozenset((f"{episode}plain", f"{episode}treated")): PairAnswer(*choice)
            for episode, choice in (pairs or {}).items()
        },
    )


ANN = person(
    "Ann",
    {
        "aplain": "half",
        "atreated": "new",
        "bplain": "broken",
        "btreated": "new",
        "splain": "old",
        "streated": "new",
    },
    {"a": ("atreated", "aplain"), "b": ("same", "btreated"), "s": ("same", "same")},
)


def test_what_a_person_saw_is_set_against_the_judge() -> None:
    found = figures([ANN], JUDGED)
    # The judge says nothing of one of the six, and differs in one of the others.
    (row,) = found["raters"]
    assert (row["n"], row["both"], row["only_first"], row["only_second"], row["neither"]) == (5, 3, 1, 0, 1)
    assert row["kappa"] == pytest.approx(1 - 1 / (2 * 5 * 0.7 * 0.3))
    assert found["people"] == {key: row[key] for key in found["people"]}
    plain, treated, plain_sham, treated_sham = found["seen"]
    assert (plain["n"], plain["half"], plain["broken"], plain["success"], plain["jumped"]) == (
        2,
        1,
        1,
        0,
        0.5,
    )
    assert (treated["success"], treated["jumped"]) == (1, 0)
    assert (plain_sham["success"], treated_sham["success"]) == (1, 0)
    followed, looks, *_ = found["preferences"]
    assert (followed["treated"], followed["same"], followed["plain"], followed["preferred"]) == (1, 1, 0, 1)
    assert (looks["treated"], looks["same"], looks["plain"], looks["preferred"]) == (1, 0, 1, 0.5)
    assert "kappa" in table(found) and "followed the prompt" in table(found)


def test_several_people_count_by_their_majority() -> None:
    bob, eve = (
        person("Bob", {"aplain": "old", "atreated": "old"}),
        person("Eve", {"aplain": "new", "atreated": "new"}),
    )
    assert majority([{"a": True, "b": True}, {"a": False, "b": True}, {"b": False}]) == {"b": True}
    found = figures([ANN, bob, eve], JUDGED)
    assert [row["raters"] for row in found["between"]] == [["Ann", "Bob"], ["Ann", "Eve"], ["Bob", "Eve"]]
    assert found["people"]["n"] == 5 and found["people"]["only_second"] == 0


def test_without_common_videos_there_is_no_kappa() -> None:
    nothing = agreement({"aplain": True}, {"bplain": True}, JUDGED)
    assert (nothing["n"], nothing["kappa"], nothing["kappa_ci"]) == (0, None, None)
    assert "| -" in table(figures([person("Ann", {})], JUDGED))
