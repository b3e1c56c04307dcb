"""The rule that decides whether a switch succeeded, and the texts that it is decided among."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, nan

import numpy as np
import pytest
from framepack_transitions.metrics import Cue, evaluate_video
from framepack_transitions.metrics.evaluate import suggested
from framepack_transitions.metrics.results import Guard, Metric, undefined
from framepack_transitions.metrics.scoring.distractors import (
    subject_and_surroundings,
    suggested_distractors,
)
from framepack_transitions.metrics.scoring.verdict import decide
from framepack_transitions.nodes.evaluation.models import EvaluationModels, read_distractors

FAILED = Guard(name="black", ok=False, value=0.0, limit=0.02, reason="black frames")
HELD = replace(FAILED, ok=True, reason="")


def metrics(before=(0.1, 0.9), settled=(0.8, 0.1), df=nan):
    names = ("p_old", "old_before", "p_settled", "old_settled")
    shares = dict(zip(names, (*before, *settled), strict=True))
    return {
        "stf": Metric(
            0.5, nan, True, details={name: share for name, share in shares.items() if share is not None}
        ),
        "df": Metric(df, nan, isfinite(df)),
    }


@pytest.mark.parametrize(("share", "success"), [(0.8, True), (0.5, True), (0.49, False), (0.0, False)])
def test_the_new_state_needs_at_least_half_of_the_share(share, success):
    found = decide(metrics(settled=(share, 0.0)))
    assert (found.success, found.share) == (success, share)
    assert bool(found.reason) != success


def test_what_should_stay_is_judged_by_the_share_of_the_old_state():
    assert decide(metrics(settled=(0.1, 0.7)), stays=True).success
    assert not decide(metrics(settled=(0.1, 0.3)), stays=True).success, "something else is seen"


def test_without_distractors_the_old_state_has_what_the_new_one_has_not():
    alone = metrics(before=(0.2, None), settled=(0.3, None))
    assert not decide(alone).success and decide(alone, stays=True).share == pytest.approx(0.7)


def test_a_failed_guard_or_a_thing_that_is_still_there_is_no_success():
    assert decide(metrics(), [HELD]).success
    assert decide(metrics(), [HELD, FAILED]).reason == "black frames"
    assert decide(metrics(df=0.6)).success
    found = decide(metrics(df=0.4))
    assert not found.success and "still seen" in found.reason


def test_nothing_is_said_where_the_old_state_was_not_seen_or_nothing_is_known():
    found = decide(metrics(before=(0.6, 0.3)))
    assert found.success is None and "not seen before the switch (share 0.30)" in found.reason
    unknown = decide({"stf": undefined("features read no text"), "df": undefined("")})
    assert (unknown.success, unknown.reason) == (None, "features read no text")


@pytest.mark.parametrize(
    ("text", "subject", "surroundings"),
    [
        ("a man walks in a field at night", "a man walks", ["in a field", "at night"]),
        (
            "in the dark a star stands still over the sea",
            "a star stands still",
            ["in the dark", "over the sea"],
        ),
        ("across the sky, by day, a star moves up", "a star moves up", ["across the sky", "by day"]),
        ("a dog on the surface of the Moon", "a dog", ["on the surface of the Moon"]),
        ("an empty city", "an empty city", []),
    ],
)
def test_a_text_is_taken_apart_into_subject_and_surroundings(text, subject, surroundings):
    assert subject_and_surroundings(text) == (subject, surroundings)


class TestSuggestions:
    def test_half_changed_nothing_and_another_subject_are_among_them(self):
        texts = suggested_distractors("a white dog in a room by day", "a red car on a street at night")
        assert {"a white dog on a street at night", "a red car in a room by day"} <= set(texts), (
            "half-changed"
        )
        assert {"an empty street at night", "an empty room by day"} <= set(texts), "nothing"
        assert {"a blue car on a street at night", "a red bus on a street at night"} <= set(texts), "another"
        assert "a red car on a street by day" in texts and "a red car on a beach at night" in texts

    def test_the_old_subject_is_put_where_an_empty_scene_is_asked_for(self):
        texts = suggested_distractors("a white circle over the city by day", "an empty sea at night")
        assert "a white circle over the sea by day" in texts
        assert not any(text.startswith("an empty sea over") for text in texts), "a scene is no subject"

    def test_neither_state_nor_what_says_less_than_one_is_among_them(self):
        texts = suggested_distractors("an astronaut in an orange suit", "an astronaut in a bright blue suit")
        assert "an astronaut in a blue suit" not in texts
        assert "an astronaut in an orange suit" not in texts and "an astronaut in a bright red suit" in texts
        assert len(texts) == len(set(texts))

    def test_other_words_of_a_state_are_not_among_them(self):
        old = "a big red star does not move over the sea by day"
        texts = suggested_distractors(old, "at night, a little red star stays where it is over the sea")
        assert "a big red star does not move over the sea at night" not in texts, "it shows what is asked for"
        assert "a big red star does not move over the city by day" in texts
        texts = suggested_distractors(
            "a big red star glides over the sea", "a large green star drifts over the sea"
        )
        assert "a big green star glides over the sea" not in texts
        assert "a big blue star glides over the sea" in texts

    def test_articles_follow_the_word(self):
        assert "an orange car" in suggested_distractors("a red car", "a blue car")
        assert "a red apple" in suggested_distractors("an orange apple", "a blue apple")

    def test_texts_without_known_words_give_none(self):
        assert suggested_distractors("rain", "sunshine") == ()


class Named:
    """Features that are one axis for each text; frames are of the axis that their brightness counts."""

    name, logit_scale, resolution = "named", 20.0, None
    axes: tuple[str, ...] = ("a red car", "a blue car", "a green car")

    def texts(self, texts):
        return np.array([[float(text == axis) for axis in self.axes] + [0.01] for text in texts])

    def images(self, frames):
        numbers = np.round(np.asarray(frames, float).mean((1, 2, 3)) * 10).astype(int) - 1
        return np.eye(4)[np.clip(numbers, 0, 3)]


def video(*stretches):
    return np.concatenate(
        [np.full((count, 8, 8, 3), (axis + 1) / 10, np.float32) for axis, count in stretches]
    )


CUES = [Cue(0.0, "a red car"), Cue(1.0, "a blue car")]


def verdict(frames, **options):
    scores = evaluate_video(frames, CUES, extractor=Named(), flow="off", **options)
    return scores.switches[0].verdict


def test_what_is_neither_old_nor_new_is_a_success_by_two_texts_and_none_by_distractors():
    green = video((0, 30), (2, 60))
    assert verdict(green).success, "of two texts that fit equally badly each has a half"
    found = verdict(green, distractors=suggested)
    assert found.success is False and found.share < 0.01 and "a green car" in found.distractors
    blue = video((0, 30), (1, 60))
    assert verdict(blue, distractors=suggested).success
    assert verdict(blue, distractors=["a green car", "a red car"]).distractors == ("a green car",)


def test_models_give_what_the_user_wrote_or_what_follows_from_the_states():
    (switch,) = evaluate_video(video((0, 30), (1, 60)), CUES, extractor=Named(), flow="off").switches
    assert read_distractors(" \n ; ") is None and read_distractors("none") == ()
    assert read_distractors("a green car; rain\nfog") == ("a green car", "rain", "fog")
    assert "a green car" in EvaluationModels(extractor=Named()).distractors_of(switch.switch)
    assert EvaluationModels(extractor=Named(), distractors=("rain",)).distractors_of(switch.switch) == (
        "rain",
    )
    tiny = Named()
    tiny.name = "tiny"
    known = EvaluationModels(extractor=tiny).distractors_of(
        replace(switch.switch, old="a red star", new="a blue star")
    )
    assert "a green star" in known and "a purple star" not in known, "that world has no purple"
