"""When steps are reused, against the published rules and tables worked out apart from the pack."""

from __future__ import annotations

import json
from math import inf

import numpy as np
import pytest
import torch
from framepack_transitions.samplers.denoising.caching.criteria import (
    F1_MAGNITUDES,
    AccumulatedChange,
    criterion_of,
    magnitude_ratio,
    relative_change,
    resampled,
    teacache_change,
)
from framepack_transitions.samplers.denoising.caching.section import SectionCache
from framepack_transitions.samplers.denoising.caching.slopes import (
    RecordedSlopes,
    nearest_slope,
    no_slope,
    steady_slope,
)
from framepack_transitions.samplers.sigmas import flow_sigmas
from framepack_transitions.samplers.techniques.base import NEGATIVE, POSITIVE, Prediction
from framepack_transitions.samplers.techniques.schedule.step_cache import StepCache


def signals(count: int, *, pace: float, seed: int = 0) -> list[torch.Tensor]:
    """Tokens [1, 6, 4] that wander."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(count, 1, 6, 4, generator=generator)
    return list(torch.randn(1, 6, 4, generator=generator) + pace * steps.cumsum(dim=0))


class Run:
    """A section whose model only counts: its residual in step i under a prediction is `residual(i)`."""

    def __init__(self, settings: StepCache, steps: int = 25, **changes) -> None:
        self.sigmas = flow_sigmas(steps, 7.0)
        self.computed: list[int] = []
        self.taken: dict[int, torch.Tensor] = {}
        options = {"restarts": (), "slope": no_slope, "reuses": True, **changes}
        self.cache = SectionCache(settings, sigmas=self.sigmas, **options)

    def run(self, told=None, residual=lambda step: torch.full((1, 2, 3), float(step)), wanted=(POSITIVE,)):
        for step, sigma in enumerate(self.sigmas[:-1].tolist()):
            predictions = wanted(step) if callable(wanted) else wanted
            evaluation = self.cache.begin(sigma, predictions, lambda kind, step=step: told[step])
            if evaluation.is_computed:
                self.computed.append(step)
                if evaluation.blocks is not None:
                    evaluation.blocks.computed.update(
                        {number: residual(step) for number in range(len(predictions))}
                    )
            else:
                self.taken[step] = evaluation.blocks.residuals[0]
            self.cache.end(evaluation)
        return self


@pytest.mark.parametrize(
    ("threshold", "longest", "first", "evaluations"),
    [(0.1, 3, 0.2, 12), (0.15, 4, 0.2, 10), (0.1, 2, 0.25, 13)],
)
def test_magcache_skips_as_its_published_rule_does_on_framepack_f1(threshold, longest, first, evaluations):
    settings = StepCache(mode="magcache", threshold=threshold, longest_run=longest, first=first)
    assert len(Run(settings).run().computed) == evaluations


def test_magcache_never_reuses_a_step_whose_own_ratio_is_far_from_one():
    ratios = [1.0] * 24
    ratios[11], ratios[15] = 1.061, 0.939
    settings = StepCache(
        mode="magcache", threshold=10, longest_run=0, first=0.0, magnitudes=", ".join(map(str, ratios))
    )
    assert Run(settings).run().computed == [0, 12, 16, 24]


def test_a_table_is_itself_at_its_own_number_of_steps_and_keeps_sizes_at_others():
    own = resampled(F1_MAGNITUDES, 25)
    np.testing.assert_allclose(own, [1.0, *F1_MAGNITUDES])
    for steps in (7, 13, 49):
        other = resampled(F1_MAGNITUDES, steps)
        assert len(other) == steps
        np.testing.assert_allclose(np.prod(other), np.prod(F1_MAGNITUDES))
    halved = resampled(F1_MAGNITUDES, 13)
    np.testing.assert_allclose(halved[1:], np.reshape(F1_MAGNITUDES, (12, 2)).prod(axis=1))


@pytest.mark.parametrize(
    ("change", "expected"), [(0.0, 0.0961), (0.03, 0.0522), (0.1, 0.1291), (0.15, 0.1617)]
)
def test_teacaches_polynomial_has_the_values_of_upstream(change, expected):
    assert teacache_change(change) == pytest.approx(expected, abs=2e-4)


def upstream_decisions(tokens: list[np.ndarray], threshold: float) -> list[int]:
    """The steps that TeaCache in lllyasviel/FramePack computes, from its modulated inputs; a transcription of its rule."""
    coefficients = [733.226126, -401.131952, 67.5869174, -3.149878, 0.09612379]
    computed, total = [], 0.0
    for step, now in enumerate(tokens):
        if step in (0, len(tokens) - 1):
            computed.append(step)
            total = 0.0
            continue
        before = tokens[step - 1]
        change = np.abs(now - before).mean() / np.abs(before).mean()
        total += np.poly1d(coefficients)(change)
        if total >= threshold:
            computed.append(step)
            total = 0.0
    return computed


@pytest.mark.parametrize("threshold", [0.1, 0.15, 0.3, 1.0])
@pytest.mark.parametrize("pace", [0.02, 0.05, 0.1])
def test_teacache_decides_as_upstream_does(threshold, pace):
    told = signals(25, pace=pace)
    settings = StepCache(mode="teacache", threshold=threshold, longest_run=0, first=0.0)
    expected = upstream_decisions([signal.double().numpy() for signal in told], threshold)
    assert Run(settings).run(told).computed == expected


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.6])
def test_history_sums_relative_changes_since_the_latest_computed_step(threshold):
    told = signals(25, pace=0.05)
    numbers = [signal.double().numpy() for signal in told]
    expected, total = [0], 0.0
    for step in range(1, 25):
        total += np.abs(numbers[step] - numbers[step - 1]).sum() / np.abs(numbers[step - 1]).sum()
        if total > threshold or step == 24:
            expected.append(step)
            total = 0.0
    settings = StepCache(mode="history", threshold=threshold, longest_run=0, first=0.0)
    assert Run(settings).run(told).computed == expected


def test_first_block_compares_with_the_latest_computed_step():
    told = [torch.full((1, 2, 2), value) for value in (1.0, 1.05, 1.09, 1.12, 1.18, 1.21, 1.24, 1.3)]
    settings = StepCache(mode="first_block", threshold=0.1, longest_run=0, first=0.0)
    assert Run(settings, steps=8).run(told).computed == [0, 3, 6, 7]


def test_a_change_without_anything_to_compare_with_is_infinite():
    one = torch.ones(1, 2, 3)
    assert relative_change(one, None) == relative_change(one, torch.ones(1, 3, 3)) == inf
    assert relative_change(3 * one, one) == 2
    assert AccumulatedChange("past").cost(0, one) == inf
    assert criterion_of(StepCache(mode="magcache"), 25).signal is None


def test_a_magnitude_is_the_mean_ratio_of_the_tokens_lengths():
    before = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    now = torch.tensor([[[0.0, 10.0], [4.0, 0.0]]])
    assert magnitude_ratio(now, before) == pytest.approx((10 / 5 + 4 / 1) / 2)


ALWAYS = StepCache(threshold=10.0, longest_run=0, first=0.0)
STILL = [torch.ones(1, 1, 1)] * 25


def test_first_and_last_steps_and_runs_are_bounded():
    assert Run(ALWAYS).run(STILL).computed == [0, 24]
    assert Run(StepCache(threshold=10.0, longest_run=0, first=0.2)).run(STILL).computed == [0, 1, 2, 3, 4, 24]
    assert Run(StepCache(threshold=10.0, longest_run=3, first=0.0), steps=12).run(STILL).computed == [
        0,
        4,
        8,
        11,
    ]


def test_where_settings_jump_a_step_and_the_next_are_computed_and_nothing_before_is_used():
    run = Run(ALWAYS, steps=12, restarts=(5,), slope=lambda a, b, i: 100.0 * a).run(STILL)
    assert run.computed == [0, 5, 6, 11]
    # From 7 on the two latest are 5 and 6: 6 + 500 (6 - 5).
    assert run.taken[4].unique().tolist() == [0.0] and run.taken[7].unique().tolist() == [506.0]


def test_a_new_prediction_is_computed_with_all_others_and_one_that_went_and_came_is_taken():
    other = Prediction("previous")
    run = Run(ALWAYS, steps=12).run(
        STILL, wanted=lambda step: (POSITIVE, other) if 4 <= step < 6 or step >= 8 else (POSITIVE,)
    )
    assert run.computed == [0, 4, 11]


def test_a_negative_prediction_that_only_another_node_asks_for_is_reused_with_the_others():
    cache = Run(ALWAYS, steps=4).cache
    for sigma in flow_sigmas(4, 7.0)[:2].tolist():
        evaluation = cache.begin(sigma, (POSITIVE,), lambda kind: STILL[0])
        evaluation.blocks.computed.update({0: torch.ones(1, 1, 1), 1: torch.zeros(1, 1, 1)})
        cache.end(evaluation)
    assert sorted(evaluation.blocks.residuals) == [0, 1]
    assert NEGATIVE in evaluation.predictions


def test_solvers_that_evaluate_between_the_steps_count_as_the_step_before():
    cache = Run(ALWAYS, steps=4).cache
    sigmas = flow_sigmas(4, 7.0).tolist()
    for sigma in (sigmas[0], (sigmas[0] + sigmas[1]) / 2, sigmas[1], sigmas[3], sigmas[3] / 2):
        evaluation = cache.begin(sigma, (POSITIVE,), lambda kind: STILL[0])
        if evaluation.is_computed:
            evaluation.blocks.computed[0] = torch.ones(1, 1, 1)
        cache.end(evaluation)
    assert cache.describe() == {"computed": 4, "reused": 1, "reused_steps": [1]}


def test_a_section_that_reuses_nothing_asks_for_nothing_and_keeps_nothing():
    run = Run(ALWAYS, steps=6, reuses=False).run(told=None)
    assert run.computed == [0, 1, 2, 3, 4, 5]
    assert run.cache.describe() == {"computed": 6, "reused": 0, "reused_steps": []}


@pytest.mark.parametrize(("a", "b", "i", "slope"), [(0, 1, 2, 0.5), (0, 1, 4, 1.5), (2, 5, 6, 1 / 6)])
def test_a_steady_slope_is_half_the_latest_pace(a, b, i, slope):
    assert steady_slope(a, b, i) == pytest.approx(slope)
    assert no_slope(a, b, i) == 0


def wandering(step: int) -> torch.Tensor:
    """Residuals on a straight line, at uneven pace."""
    return torch.tensor([[[1.0, -2.0, 0.5]]]) + step**1.5 * torch.tensor([[[0.3, 0.1, -0.7]]])


def test_recorded_slopes_give_back_residuals_that_lie_on_a_line():
    settings = StepCache(threshold=10.0, longest_run=2, first=0.0, correction="recorded")
    recording = Run(settings, steps=12, slope=None).run(STILL, wandering)
    assert recording.computed == list(range(12))
    slopes = RecordedSlopes(json.loads(json.dumps(recording.cache.describe()["slopes"])))
    later = Run(settings, steps=12, slope=slopes).run(STILL, wandering)
    assert later.computed == [0, 3, 6, 9, 11]
    for step in (4, 5, 7, 8, 10):
        torch.testing.assert_close(later.taken[step], wandering(step))


def test_a_recorded_slope_comes_as_near_as_any():
    generator = torch.Generator().manual_seed(0)
    first, second, third = torch.randn(3, 1, 4, 5, generator=generator)

    def miss(slope: float) -> float:
        return float((third - second - slope * (second - first)).square().sum())

    best = nearest_slope(first, second, third)
    assert miss(best) < min(miss(best + 0.01), miss(best - 0.01))
    assert RecordedSlopes([(0, 2, 3, best)])(0, 2, 3) == best
    assert RecordedSlopes([(0, 2, 3, best)])(0, 1, 3) == 0
