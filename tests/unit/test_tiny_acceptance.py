"""What the shipped weights of the embedded model can do, measured as docs/lab/TINY-LOG.md says, on fewer episodes.

Each gate has the goal that was set for the model, and a bound that the shipped weights meet on these
episodes: where they miss the goal, the bound is what they reach, with room for other arithmetic, so that a
worse set of weights fails. Guidance 10, real guidance 1, episodes that training has not seen.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest
from framepack_transitions.tiny.bundle import WEIGHTS, TinyBundle, load_tiny
from framepack_transitions.tiny.train.clip import retrieval
from framepack_transitions.tiny.train.judging.evaluate import evaluate
from framepack_transitions.tiny.train.judging.sampling import Settings

pytestmark = [
    pytest.mark.skipif(not (WEIGHTS / "dit.safetensors").is_file(), reason="no weights are shipped"),
    pytest.mark.xdist_group("tiny_acceptance"),
]
EPISODES = 8  # an event


@dataclass(frozen=True)
class Gate:
    """A figure's goal and the bound that the shipped weights are held to."""

    goal: float
    bound: float


# docs/lab/TINY-LOG.md has the figures of all gates on more episodes, and says which goals are missed.
SURVIVAL = Gate(goal=0.94, bound=0.75)
ZERO_HISTORY = Gate(goal=0.95, bound=0.80)
NEW_HISTORY = Gate(goal=0.98, bound=0.90)
PLAIN = Gate(goal=0.40, bound=0.45)
STAYED = Gate(goal=0.45, bound=0.30)
GAIN = Gate(goal=0.45, bound=0.40)
SHAM_LOSS = Gate(goal=0.03, bound=0.13)
SHAM_JUMP = Gate(goal=1.0, bound=1.5)
PAIR_NAMED = Gate(goal=0.90, bound=0.50)
PAIR_OTHER = Gate(goal=0.95, bound=0.60)
CODEC = Gate(goal=0.99, bound=0.99)
RETRIEVAL = Gate(goal=0.97, bound=0.95)

ORIGINAL_ZERO_HISTORY = Gate(goal=0.90, bound=0.70)
ORIGINAL_PLAIN = Gate(goal=0.45, bound=0.60)
ORIGINAL_GAIN = Gate(goal=0.40, bound=0.20)
ORIGINAL_END = Gate(goal=0.95, bound=0.50)


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny()


@pytest.fixture(scope="module")
def report(bundle: TinyBundle) -> dict[str, Any]:
    found = evaluate(bundle, EPISODES, questions=("text_alone", "switches", "history_shows"))
    few = evaluate(bundle, 2, questions=("survival", "shams", "codec"))
    pairs = evaluate(bundle, 5, questions=("pair_text", "pair_leaves"))
    found |= {name: few[name] for name in ("survival", "sham", "codec")} | {"pair": pairs["pair"]}
    logging.getLogger(__name__).info("%s", found)
    return found


@pytest.fixture(scope="module")
def original_report() -> dict[str, Any]:
    """The same questions of the transformer for the original layout."""
    found = evaluate(
        load_tiny(layout="original"),
        4,
        Settings(layout="original"),
        questions=("text_alone", "switches", "end_image"),
    )
    logging.getLogger(__name__).info("%s", found)
    return found


def test_scenes_survive_three_sections(report: dict[str, Any]) -> None:
    assert report["survival"]["section_3"] >= SURVIVAL.bound


def test_the_prompt_is_understood_without_a_history(report: dict[str, Any]) -> None:
    assert report["zero"]["success"] >= ZERO_HISTORY.bound


def test_the_prompt_is_understood_with_a_history_of_the_same_scene(report: dict[str, Any]) -> None:
    assert report["new"]["success"] >= NEW_HISTORY.bound


def test_the_memory_wins_without_a_remedy(report: dict[str, Any]) -> None:
    assert report["plain"]["success"] <= PLAIN.bound
    assert report["plain"]["stayed"] >= STAYED.bound


def test_early_real_guidance_and_a_gate_help(report: dict[str, Any]) -> None:
    assert report["remedy"]["success"] - report["plain"]["success"] >= GAIN.bound


def test_they_cost_little_where_nothing_should_change(report: dict[str, Any]) -> None:
    plain, remedy = report["sham"]["plain"], report["sham"]["remedy"]
    assert plain["success"] - remedy["success"] <= SHAM_LOSS.bound
    assert remedy["jump"] - plain["jump"] <= SHAM_JUMP.bound


def test_of_two_subjects_each_is_drawn_as_it_is_named(report: dict[str, Any]) -> None:
    assert report["pair"]["pair named"] >= PAIR_NAMED.bound


def test_without_a_history_the_one_that_is_not_named_is_gone_and_the_other_there(
    report: dict[str, Any],
) -> None:
    assert report["pair"]["pair zero gone"] >= 0.95
    assert report["pair"]["pair zero other"] >= PAIR_OTHER.bound


def test_the_detector_reads_the_world_through_the_codec(report: dict[str, Any]) -> None:
    assert report["codec"]["one"] >= CODEC.bound and report["codec"]["pair"] >= CODEC.bound


def test_the_original_layout_understands_the_prompt(original_report: dict[str, Any]) -> None:
    assert original_report["zero"]["success"] >= ORIGINAL_ZERO_HISTORY.bound


def test_in_the_original_layout_the_memory_wins_and_the_remedy_helps(original_report: dict[str, Any]) -> None:
    plain, remedy = (original_report[name]["success"] for name in ("plain", "remedy"))
    assert plain <= ORIGINAL_PLAIN.bound
    assert remedy - plain >= ORIGINAL_GAIN.bound


def test_the_original_layout_ends_where_the_end_image_says(original_report: dict[str, Any]) -> None:
    assert original_report["end"] >= ORIGINAL_END.bound


def test_weights_are_small_and_say_how_they_were_made() -> None:
    from safetensors import safe_open

    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert {file.stem for file in files} >= {"dit", "dit_original", "codec", "text", "vision"}
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 45 * 10**6
    for file in files:
        with safe_open(file, "pt") as opened:
            assert {"made_by", "recipe", "steps_done", "guidance"} <= opened.metadata().keys()


def test_clip_finds_the_caption_of_a_frame() -> None:
    pytest.importorskip("open_clip")
    found = retrieval(WEIGHTS)
    assert found["scenes"] >= RETRIEVAL.bound and found["places"] == 1
