"""The rating page in a real browser: answered by a script in two sittings, saved, and read back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.rating.page import write_page
from framepack_transitions.benchmarks.rating.plan import RatedVideo, rating_plan
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.files.media import write_video

pytestmark = pytest.mark.host

PAIRS, FIRST = 40, 50
FPS, FRAMES, SWITCH, UNTIL = 30, 61, 30, 48
SEEN, JUMPED, SIDES = ("old", "half", "new", "broken"), (False, True), ("left", "same", "right")
ARMS = ("plain", "treated")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a suite that has run: forty pairs of videos, their report and the rating page."""
    out = tmp_path_factory.mktemp("suite")
    pictures = torch.zeros(FRAMES, 128, 128, 3)
    pictures[:SWITCH, ..., 0], pictures[SWITCH:, ..., 2] = 0.8, 0.8
    (out / "takes").mkdir()
    write_video(out / "takes" / "first.mp4", pictures, FPS)
    episodes, rated = [], []
    for number in range(PAIRS):
        for arm in ARMS:
            path = f"takes/episode {number}#1_{arm}.mp4"
            (out / path).hardlink_to(out / "takes" / "first.mp4")
            case = "sham" if number % 10 == 9 else "cut"
            # The judge finds every second treated one.
            success = case == "sham" or (arm == "treated" and number % 2 == 0)
            entry = {"video": path, "episode": f"e{number}", "seed": 1, "arm": arm, "case": case}
            episodes.append({**entry, "image": f"{number % 10}.png", "success": success})
            rated.append(
                RatedVideo(
                    path=path,
                    episode=f"e{number}",
                    seed=1,
                    arm=arm,
                    old="a red room",
                    new="a blue room",
                    prompts=((0.0, "Nothing moves."), (1.0, "It turns blue.")),
                    switch=SWITCH / FPS,
                    until=UNTIL / FPS,
                )
            )
    report = {"schema": "framepack-transitions/1", "kind": "bench", "suite": "few", "seconds": 12.5}
    (out / "report.json").write_text(
        json.dumps({**report, "episodes": episodes, "videos": [], "switches": []})
    )
    write_page(out, rating_plan(rated, suite="few", order=0))
    return out


def choices(suite: Path) -> dict[str, tuple[int, int]]:
    """For every item of the page, by its videos, which choice a person takes of either question."""
    text = (suite / "rating.html").read_text(encoding="utf-8")
    plan = json.loads(text.split('id="plan">', 1)[1].split("</script>", 1)[0])
    judged = {entry["video"]: entry for entry in json.loads((suite / "report.json").read_text())["episodes"]}
    found = {}
    for number, item in enumerate(plan["videos"]):
        entry = judged[item["video"]]
        right = SEEN.index("old" if entry["case"] == "sham" else "new")
        # The person agrees with the judge, but for every eighth video.
        agrees = entry["success"] != (number % 8 == 7)
        found[item["video"]] = (right if agrees else SEEN.index("half"), number % 2)
    for number, item in enumerate(plan["pairs"]):
        treated = "left" if "treated" in item["left"] else "right"
        found[f"{item['left']} {item['right']}"] = (SIDES.index(treated), number % 3)
    return found


def test_forty_pairs_are_answered_in_two_sittings_and_read_back(
    suite: Path, chromium: tuple[Path, str], tmp_path: Path
) -> None:
    chosen = choices(suite)
    answers = tmp_path / "ratings_ann.json"
    request = {
        "browser": chromium[1],
        "page": str(suite / "rating.html"),
        "profile": str(tmp_path / "profile"),
        "rater": "Ann",
        "keys": {name: [str(choice + 1) for choice in both] for name, both in chosen.items()},
        "first": FIRST,
        "pairShot": 2 * PAIRS,
        "answers": str(answers),
        "screenshots": os.environ.get("RATING_SCREENSHOTS"),
    }
    done = subprocess.run(
        ["node", str(Path(__file__).parent / "rate.cjs")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env={**os.environ, "NODE_PATH": str(chromium[0])},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)

    # It plays as far as is judged, and again; nothing that is shown tells the arm; nothing is fetched.
    assert abs(seen["played"]["furthest"] - UNTIL / FPS) < 0.25 and seen["played"]["restarts"] >= 1
    assert not any(arm in seen["played"]["text"] for arm in ARMS)
    assert seen["requested"] == []
    assert seen["resumed"] == {
        "button": "Go on",
        "rater": "Ann",
        "place": f"Video {FIRST + 1} of {2 * PAIRS}",
    }
    assert seen["places"] == [f"Video {n} of {2 * PAIRS}" for n in range(1, 2 * PAIRS + 1)] + [
        f"Pair {n} of {PAIRS}" for n in range(1, PAIRS + 1)
    ]
    assert "All is answered" in seen["end"] and "All is answered" in seen["carried"]
    assert seen["name"] == "ratings_Ann.json"

    saved = json.loads(answers.read_text(encoding="utf-8"))
    assert {
        entry["video"]: (SEEN.index(entry["seen"]), JUMPED.index(entry["jumped"]))
        for entry in saved["videos"]
    } == {name: both for name, both in chosen.items() if " takes/" not in name}
    assert {
        f"{entry['left']} {entry['right']}": (SIDES.index(entry["followed"]), SIDES.index(entry["looks"]))
        for entry in saved["pairs"]
    } == {name: both for name, both in chosen.items() if " takes/" in name}

    assert main(["bench", "transition", "--ratings", str(answers), "--out", str(suite)]) == 0
    report = json.loads((suite / "report.json").read_text(encoding="utf-8"))
    assert (report["suite"], report["seconds"], len(report["episodes"])) == ("few", 12.5, 2 * PAIRS)
    people = report["ratings"]["people"]
    # 80 videos, of which the person sees 10 otherwise than the judge.
    yes = (
        sum(entry["success"] for entry in report["episodes"]),
        sum(both[0] != SEEN.index("half") for name, both in chosen.items() if " takes/" not in name),
    )
    share = sum(yes) / 160
    assert (people["n"], people["only_first"] + people["only_second"]) == (80, 10)
    assert people["kappa"] == pytest.approx(1 - 10 / (2 * 80 * share * (1 - share)))
    assert people["kappa_ci"][0] < people["kappa"] < people["kappa_ci"][1]
    preferred = {row["question"]: row for row in report["ratings"]["preferences"] if row["case"] == "changes"}
    assert (preferred["followed"]["treated"], preferred["followed"]["plain"]) == (36, 0)
    assert np.isclose(preferred["followed"]["preferred_ci"][1], 1)
