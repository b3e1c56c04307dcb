"""Statistics of the benchmark against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from framepack_transitions.benchmarks.statistics import bootstrap_interval
from framepack_transitions.metrics.scoring.survival import fraction_reached, kaplan_meier, restricted_mean

# At risk 5, 4, 2: survival 4/5, then 4/5 * 3/4, then 3/5 * 1/2. The waits of 3 and 6 were cut short.
TIMES, OBSERVED = [1, 2, 3, 5, 6], [True, True, False, True, False]


def test_the_survival_curve_of_a_worked_example():
    times, survival = kaplan_meier(TIMES, OBSERVED)
    assert times.tolist() == [1, 2, 5]
    assert survival == pytest.approx([0.8, 0.6, 0.3])


@pytest.mark.parametrize(
    ("horizon", "area"),
    [
        (1, 1),
        (2, 1.8),
        (5, 1 + 0.8 + 3 * 0.6),
        (6, 1 + 0.8 + 1.8 + 0.3),
        (10, 1 + 0.8 + 1.8 + 5 * 0.3),
    ],
)
def test_the_restricted_mean_is_the_area_below_the_curve(horizon, area):
    assert restricted_mean(TIMES, OBSERVED, horizon) == pytest.approx(area)


def test_what_is_never_reached_waits_until_the_horizon():
    assert restricted_mean([36, 36], [False, False], 36) == 36
    assert fraction_reached([36, 36], [False, False]) == 0


def test_without_censoring_both_are_what_one_would_count():
    assert restricted_mean([0, 4, 8], [True] * 3, 36) == pytest.approx(4)
    assert fraction_reached([0, 4, 36, 36], [True, True, False, False]) == pytest.approx(0.5)


@pytest.mark.parametrize(("times", "observed"), [([], []), ([1, 2], [True])])
def test_no_curve_without_matching_times(times, observed):
    with pytest.raises(ValueError, match="as many times as flags"):
        kaplan_meier(times, observed)


class TestBootstrap:
    values = np.random.default_rng(0).random(40)

    def test_the_same_seed_gives_the_same_interval(self):
        assert bootstrap_interval([self.values], 3) == bootstrap_interval([self.values], 3)
        assert bootstrap_interval([self.values], 3) != bootstrap_interval([self.values], 4)

    def test_it_covers_the_mean_about_as_the_normal_theory_says(self):
        low, high = bootstrap_interval([self.values], 0, rounds=20000)
        error = self.values.std() / np.sqrt(len(self.values))
        assert [low, high] == pytest.approx(self.values.mean() + np.array([-1.96, 1.96]) * error, abs=0.01)

    def test_it_is_paired_a_constant_gain_is_certain(self):
        before = bootstrap_interval([self.values], 0)
        after = bootstrap_interval([self.values + 0.25], 0)
        assert np.subtract(after, before) == pytest.approx([0.25, 0.25])
        assert bootstrap_interval([np.full(40, 0.25)], 0) == pytest.approx((0.25, 0.25))

    def test_strata_are_resampled_within_themselves(self):
        assert bootstrap_interval([np.zeros(10), np.ones(30)], 0) == pytest.approx((0.75, 0.75))

    def test_nothing_to_resample_gives_no_interval(self):
        assert np.isnan(bootstrap_interval([[], []], 0)).all()
