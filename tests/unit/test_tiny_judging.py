"""How trained weights are judged: episodes, counts with their exact intervals, gates, and that every question can be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from framepack_transitions.tiny.train.clock import Stopwatch
from framepack_transitions.tiny.train.judging import evaluate as evaluation
from framepack_transitions.tiny.train.judging.episodes import EVENTS, episodes_of, make_episode
from framepack_transitions.tiny.train.judging.evaluate import QUESTIONS, Question, evaluate
from framepack_transitions.tiny.train.judging.gates import GATES, Gate, gate_report, gate_table
from framepack_transitions.tiny.train.judging.questions import Examiner
from framepack_transitions.tiny.train.judging.sampling import Generator, Past, Settings
from framepack_transitions.tiny.train.judging.tally import Tally, exact_interval

QUICK = Settings(window=4, steps=1, bfloat16=False)


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny()


class Truth(Generator):
    """Draws what the prompts' episodes really show in place of sampling; the first ones of a round begin at `first`."""

    def sections(self, seeds: Any, prompts: Any, **given: Any) -> torch.Tensor:
        latents = []
        for number, seed in enumerate(seeds):
            shown = [self._window(seed, words[number], given) for words in prompts]
            shown = shown if self.settings.layout == "f1" else shown[::-1]
            latents.append(torch.cat(shown, dim=2))
        return torch.cat(latents)

    def _window(self, seed: int, prompt: str, given: dict[str, Any]) -> torch.Tensor:
        window = self.settings.window
        for event in ("none", *EVENTS):
            for pair in (False, True):
                episode = make_episode(event, seed, window=window, pair=pair)
                for section, text in enumerate(episode.prompts):
                    if text == prompt:
                        frames = np.concatenate([episode.first[None], episode.after])
                        if event != "none":
                            # Whatever was before the event, from its first section.
                            frames = np.concatenate(
                                [np.repeat(episode.first[None], 4 * window + 1, 0), episode.after]
                            )
                        begin = 1 + 4 * window * section
                        video = np.concatenate(
                            [frames[begin : begin + 1], frames[begin : begin + 4 * window]]
                        )
                        return self.encoded(video[None])[:, :, 1:]
        raise AssertionError(prompt)


def asked(examiner: Examiner, *questions: str, count: int = 6) -> Tally:
    for question in questions:
        QUESTIONS[question].ask(examiner, 0, count)
    return examiner.tally


# Episodes


def test_episodes_are_new_to_training_and_take_events_in_turn() -> None:
    part = episodes_of(EVENTS, 6, 6, window=5)
    assert [episode.event for episode in part] == list(EVENTS)
    assert {episode.seed for episode in part} == {10**9 + 1}
    assert all(len(episode.prompts) == 3 for episode in part)


def test_the_one_that_leaves_is_known() -> None:
    for seed in range(4):
        episode = make_episode("disappear", 10**9 + seed, window=5, pair=True)
        staying = [subject for subject, _ in episode.new.shown]
        assert len(staying) == 1 and episode.leaving not in staying
        assert (
            episode.leaving.colour in episode.prompts[0] and episode.leaving.shape not in episode.prompts[1]
        )
    assert make_episode("none", 10**9, window=5, pair=True).leaving is None


# Counts


@pytest.mark.parametrize(
    ("right", "count", "interval"),
    [
        (0, 10, (0.0, 1 - 0.025**0.1)),
        (10, 10, (0.025**0.1, 1.0)),
        (5, 10, (0.18709, 0.81291)),
        (1, 200, (0.000127, 0.027536)),
    ],
)
def test_exact_intervals_are_those_of_clopper_and_pearson(
    right: int, count: int, interval: tuple[float, float]
) -> None:
    assert exact_interval(right, count) == pytest.approx(interval, abs=2e-5)


def test_gates_compare_shares_and_differences() -> None:
    tally = Tally()
    tally.add("plain", [True, False, False, False])
    tally.add("remedy", [True, True, True, False])
    tally.add("sham plain", [True] * 50)
    tally.add("sham remedy", [True] * 49 + [False])
    tally.add("sham lost", [False] * 49 + [True])
    rows = {row["gate"]: row for row in gate_report(tally, "f1")}
    assert rows["plain switch"]["met"] and rows["plain switch"]["value"] == 0.25
    assert rows["balanced over plain"]["value"] == 0.5 and rows["balanced over plain"]["met"]
    loss = rows["sham loss of balanced"]
    assert loss["value"] == pytest.approx(0.02) and loss["met"] and loss["interval_of"] == "sham lost"
    assert loss["interval"] == exact_interval(1, 50)
    assert rows["text alone"]["value"] is None and rows["text alone"]["met"] is None
    text = gate_table(list(rows.values()))
    assert "plain switch" in text and "not measured" in text and "MISSED" not in text
    assert Gate(title="", figure="plain", at_least=0.3).met(0.25) is False


# Questions


@pytest.mark.parametrize("layout", GATES)
def test_a_model_that_does_what_it_is_told_is_right_in_everything(bundle: TinyBundle, layout: str) -> None:
    settings = replace(QUICK, layout=layout)
    examiner = Examiner(Truth(bundle, settings), Tally(), {"plain": ()})
    tally = asked(
        examiner, "text_alone", "survival", "pair_text", "pair_leaves", "switches", "shams", count=4
    )
    expected = {
        "zero": 1,
        "survival section_3": 1,
        "pair named": 1,
        "pair both": 1,
        "plain": 1,
        "sham plain": 1,
    }
    expected |= {
        "pair zero gone": 1,
        "pair zero other": 1,
        "pair zero right": 1,
        "plain stayed": 0,
        "sham lost": 0,
    }
    found = {name: tally.share(name) for name in expected}
    assert found == pytest.approx(expected, abs=0.51), "a detail of a clip may lie behind an edge"
    assert np.mean([abs(found[name] - expected[name]) for name in expected]) < 0.06


@pytest.mark.parametrize("layout", GATES)
def test_every_question_can_be_asked_of_generated_videos(bundle: TinyBundle, layout: str) -> None:
    examiner = Examiner(Generator(bundle, replace(QUICK, layout=layout)), Tally(), evaluation.TRIALS)
    questions = [name for name in QUESTIONS if evaluation.ONLY_IN.get(name, layout) == layout]
    tally = asked(examiner, *questions, count=1)
    measured = {row["gate"]: row["n"] for row in gate_report(tally, layout)}
    # Nothing is counted of a switch whose past was not right.
    unsure = ("switch", "balanced")
    assert all(count for gate, count in measured.items() if not any(word in gate for word in unsure)), (
        measured
    )
    assert set(evaluation.report_of(tally, layout)) >= {
        "survival",
        "zero",
        "new",
        "plain",
        "remedy",
        "sham",
        "pair",
    }


def test_larger_pictures_can_be_judged(bundle: TinyBundle) -> None:
    examiner = Examiner(Generator(bundle, replace(QUICK, scale=2)), Tally(), evaluation.TRIALS)
    tally = asked(examiner, "text_alone", "codec", count=1)
    assert tally.asked["zero"] == 1 and tally.asked["codec pair"] == 21


def test_an_evaluation_ends_in_time(bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_of, watch = [], Stopwatch(limit=100.0)

    def taking(name: str, seconds: float) -> Question:
        def ask(_: Examiner, first: int, count: int) -> None:
            asked_of.append((name, first, count))
            watch.before += seconds

        return Question(ask, QUESTIONS[name].sections)

    monkeypatch.setitem(QUESTIONS, "text_alone", taking("text_alone", 20.0))
    monkeypatch.setitem(QUESTIONS, "switches", taking("switches", 70.0))
    report = evaluate(bundle, 8, questions=("text_alone", "switches"), watch=watch)
    assert asked_of == [("text_alone", 0, 16), ("switches", 0, 16)], "no time for a second round"
    assert report["survival"]["section_1"] is None
    watch.before = 0.0
    asked_of.clear()
    evaluate(bundle, 8, questions=("text_alone",), watch=watch)
    assert asked_of == [("text_alone", first, 16) for first in (0, 16, 32)]


def test_sections_come_in_the_order_of_the_video(bundle: TinyBundle) -> None:
    episode = make_episode("none", 10**9, window=2)
    for layout in GATES:
        generator = Generator(bundle, replace(QUICK, window=2, layout=layout))
        order = [0, 1] if layout == "f1" else [1, 0]
        both = generator.sections([1], [[episode.prompts[s]] for s in order], start=episode.first[None])
        first = generator.sections(
            [1], [[episode.prompts[order[0]]]], start=episode.first[None], to_come=1 * (layout == "original")
        )
        after = generator.sections(
            [1],
            [[episode.prompts[order[1]]]],
            start=episode.first[None],
            past=Past(latents=first, sections=1),
        )
        in_time = [first, after] if layout == "f1" else [after, first]
        torch.testing.assert_close(both, torch.cat(in_time, dim=2))
