"""Statistics of censored waits against brute force, and the inertia of a trace by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from math import log

import numpy as np
import pytest
from framepack_transitions.metrics import Metric, Switch, aggregate_latencies, concordance, semantic_inertia


def latency(frames: float, censored: bool = False, valid: bool = True) -> Metric:
    return Metric(value=frames, founding=np.nan, valid=valid, censored=censored)


def product_limit_area(times, observed, horizon, step=1e-3):
    """Survival by Kaplan's and Meier's product, walked through in small steps."""
    area, grid = 0.0, np.arange(step / 2, horizon, step)
    for t in grid:
        survival = 1.0
        for event in sorted({time for time, seen in zip(times, observed) if seen and time <= t}):
            risk = sum(time >= event for time in times)
            dead = sum(time == event and seen for time, seen in zip(times, observed))
            survival *= 1 - dead / risk
        area += survival * step
    return area, survival


@pytest.mark.parametrize("seed", range(5))
def test_latencies_add_up_as_the_product_limit_says(seed):
    rng = np.random.default_rng(seed)
    times, observed = rng.integers(0, 9, 8).astype(float), rng.random(8) < 0.6
    found = aggregate_latencies([latency(t, not o) for t, o in zip(times, observed)], horizon=9)
    area, survival = product_limit_area(times, observed, 9)
    assert found.restricted_mean == pytest.approx(area, abs=5e-3)
    assert found.reached == pytest.approx(1 - survival)
    assert (found.count, found.censored) == (8, 8 - observed.sum())


def test_without_censoring_the_mean_is_the_mean():
    found = aggregate_latencies(map(latency, [2, 4, 9]))
    assert (found.restricted_mean, found.reached, found.horizon) == (5, 1, 9)


def test_a_censored_wait_counts_as_more_than_its_length():
    found = aggregate_latencies([latency(4), latency(6, censored=True), latency(10)])
    # One in three is done at 4; the one cut short at 6 then waits like the last: until 10.
    assert found.restricted_mean == pytest.approx(4 * 1 + 6 * 2 / 3)
    assert found.reached == 1


def test_what_never_comes_is_never_reached():
    found = aggregate_latencies([latency(30, censored=True)] * 3)
    assert (found.restricted_mean, found.reached) == (30, 0)


def test_what_cannot_be_told_counts_as_not_reached():
    """Of three switches one is reached; one went on for 20 frames and nothing says how it ended."""
    unknown = replace(latency(np.nan, valid=False), details={"stretch": 20.0})
    found = aggregate_latencies([latency(np.nan, valid=False), unknown, latency(4)])
    assert (found.count, found.censored, found.unknown) == (2, 1, 1)
    assert (found.restricted_mean, found.reached) == (12, 0.5)


def test_where_nothing_is_valid_nothing_is_said():
    unknown = replace(latency(np.nan, valid=False), details={"stretch": 20.0})
    for latencies in ([], [unknown]):
        found = aggregate_latencies(latencies)
        assert np.isnan(found.restricted_mean) and np.isnan(found.reached) and found.count == 0


def concordance_by_pairs(scores, times, observed):
    agreed = pairs = 0.0
    for i in range(len(times)):
        for j in range(len(times)):
            known = observed[i] and (times[i] < times[j] or (times[i] == times[j] and not observed[j]))
            if known:
                pairs += 1
                agreed += 0.5 if scores[i] == scores[j] else scores[i] < scores[j]
    return agreed / pairs


@pytest.mark.parametrize("seed", range(5))
def test_concordance_is_that_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    scores, times, observed = rng.integers(0, 5, 20), rng.integers(0, 12, 20), rng.random(20) < 0.7
    assert concordance(scores, times, observed) == pytest.approx(
        concordance_by_pairs(scores, times, observed)
    )


def test_concordance_knows_order_reverse_and_nothing():
    times = [1.0, 2, 3, 4]
    assert concordance([1, 2, 3, 4], times, [True] * 4) == 1
    assert concordance([4, 3, 2, 1], times, [True] * 4) == 0
    assert concordance([0, 0, 0, 0], times, [True] * 4) == 0.5
    assert np.isnan(concordance([1, 2], [5, 5], [False, False]))
    assert concordance([1, 2, np.nan], [1, 2, 0], [True, True, True]) == 1
    with pytest.raises(ValueError, match="of one length"):
        concordance([1, 2], [1.0], [True])


class TestInertia:
    switch = Switch(frame=37, requested=1.2, old="a", new="b")

    def trace(self, *masses, backwards=False, context=300, rest=900):
        sections = []
        for place, mass in enumerate(masses):
            index = len(masses) - 1 - place if backwards else place
            memory = {"mass": mass, "context_tokens": context, "rest_tokens": rest}
            frames = [0 if place == 0 else 36 * place + 1, 36 * place + 37]
            sections.append({"index": index, "frames": frames, "memory": memory})
        return {"sections": sorted(sections, key=lambda section: section["index"])}

    def test_attention_to_all_tokens_alike_is_no_inertia(self):
        metric = semantic_inertia(self.trace(0.25, 0.25), self.switch, 73)
        assert metric.valid and metric.value == pytest.approx(0, abs=1e-12) and metric.founding == 0.25

    def test_it_is_the_log_odds_of_the_context_in_the_section_after_the_switch(self):
        metric = semantic_inertia(self.trace(0.1, 0.6, 0.3), self.switch, 109)
        assert metric.value == pytest.approx(log(0.6 / 0.4) - log(300 / 900))
        assert metric.details["section"] == 1
        assert metric.curve[36] != metric.curve[37] == pytest.approx(metric.value)

    def test_what_runs_backwards_switches_before_the_frame(self):
        metric = semantic_inertia(self.trace(0.1, 0.6, 0.3, backwards=True), self.switch, 109)
        assert metric.founding == 0.1

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda trace: None, "no trace"),
            (lambda trace: {"sections": []}, "no trace"),
            (lambda trace: {"sections": [{"index": 0, "frames": [0, 37]}]}, "no section .* frame 37"),
            (
                lambda trace: {"sections": [{**s, "memory": None} for s in trace["sections"]]},
                "does not record",
            ),
        ],
    )
    def test_without_a_record_it_says_why(self, change, reason):
        metric = semantic_inertia(change(self.trace(0.2, 0.2)), self.switch, 73)
        assert np.isnan(metric.value) and not metric.valid
        assert re.search(reason, metric.reason)

    @pytest.mark.parametrize("mass", [0.0, 1.0])
    def test_a_mass_without_odds_has_no_value(self, mass):
        metric = semantic_inertia(self.trace(0.2, mass), self.switch, 73)
        assert np.isnan(metric.value) and "no logit" in metric.reason and metric.founding == mass
