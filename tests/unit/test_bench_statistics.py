"""Statistics of the benchmarks against published numbers, and against numbers worked out by hand."""

from __future__ import annotations

from itertools import product
from math import comb, sqrt

import numpy as np
import pytest
from framepack_transitions.benchmarks.statistics import (
    auc,
    gain_interval,
    grouped_gain_interval,
    grouped_mean_interval,
    grouped_share_interval,
    mean_interval,
    paired_interval,
    rank_correlation,
    share_interval,
)
from framepack_transitions.benchmarks.statistics.distributions import (
    beta_cdf,
    student_quantile,
)
from framepack_transitions.benchmarks.statistics.groups import design_effect
from framepack_transitions.metrics.scoring.survival import fraction_reached, kaplan_meier, restricted_mean
from framepack_transitions.tiny.train.judging.tally import exact_interval

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


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_shares_have_the_exact_intervals_that_newcombe_published_in_1998(count, total, low, high):
    assert share_interval(count, total) == pytest.approx((low, high), abs=6e-5)
    assert share_interval(total - count, total) == pytest.approx((1 - high, 1 - low), abs=6e-5)


@pytest.mark.parametrize(("count", "total"), [(0, 1), (7, 9), (30, 31), (165, 183)])
def test_shares_have_the_intervals_of_binomial_sums(count, total):
    assert share_interval(count, total) == pytest.approx(exact_interval(count, total), abs=1e-9)


def test_nothing_is_known_of_a_share_of_nothing():
    assert share_interval(0, 0) == (0, 1) and paired_interval(0, 0, 0) == (-1, 1)
    with pytest.raises(ValueError, match="a share of 3 of 2"):
        share_interval(3, 2)
    with pytest.raises(ValueError, match="2 pairs gained and 2 lost are not in 0..3"):
        paired_interval(2, 2, 3)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (9, 2.2622), (30, 2.0423), (1e6, 1.96)]
)
def test_quantiles_are_those_of_the_tables_of_students_t(freedom, quantile):
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, abs=6e-5)


@pytest.mark.parametrize(("a", "b"), list(product((1, 3, 40), (1, 2, 60))))
def test_the_beta_distribution_is_a_sum_of_binomial_chances(a, b):
    count = a + b - 1
    for x in (0.01, 0.3, 0.9):
        chances = sum(comb(count, k) * x**k * (1 - x) ** (count - k) for k in range(a, count + 1))
        assert beta_cdf(x, a, b) == pytest.approx(chances, abs=1e-12)


class TestPairs:
    def test_the_interval_is_the_one_that_fagerland_and_others_published_in_2014(self):
        # Airway hyper-responsiveness before and after transplantation: 1 of 21 gained it, 7 lost it.
        assert paired_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=6e-4)

    @pytest.mark.parametrize("total", [10, 31, 183])
    def test_no_difference_in_n_pairs_does_not_exclude_a_small_one(self, total):
        end = 1.959964**2 / (total + 1.959964**2)
        assert paired_interval(0, 0, total) == pytest.approx((-end, end), abs=1e-6)

    @pytest.mark.parametrize(("gained", "lost", "total"), [(4, 1, 31), (0, 3, 31), (20, 2, 40)])
    def test_its_ends_are_z_deviations_off_where_the_likelihood_is_largest(self, gained, lost, total):
        for end in paired_interval(gained, lost, total):
            # All shares of lost pairs that go with this difference, one by one.
            shares = np.linspace(max(0, -end), (1 - end) / 2, 200_001)[1:-1]
            rest = total - gained - lost
            likelihood = (
                gained * np.log(shares + end) + lost * np.log(shares) + rest * np.log(1 - 2 * shares - end)
            )
            best = shares[likelihood.argmax()]
            deviation = sqrt(total * (2 * best + end - end**2))
            assert abs(gained - lost - total * end) / deviation == pytest.approx(1.96, abs=2e-3)

    def test_gains_are_counted_by_their_sign_and_losses_mirror_them(self):
        assert gain_interval([1, 1, 0, -1]) == paired_interval(2, 1, 4)
        low, high = paired_interval(1, 5, 31)
        assert paired_interval(5, 1, 31) == pytest.approx((-high, -low))


class TestMeans:
    values = np.random.default_rng(0).normal(size=40)

    def test_the_same_values_give_the_same_interval(self):
        assert mean_interval(self.values) == mean_interval(self.values.tolist())

    def test_normal_values_have_about_the_interval_of_students_t(self):
        error = self.values.std(ddof=1) / sqrt(40)
        student = self.values.mean() + 2.0227 * error * np.array([-1, 1])
        low, high = mean_interval(self.values)
        assert student[0] - 0.1 * error < low <= student[0] + 1e-4
        assert student[1] - 1e-4 <= high < student[1] + 0.3 * error

    def test_the_long_tail_of_skewed_values_is_not_excluded(self):
        values = np.exp(2 * self.values)
        low, high = mean_interval(values)
        assert high - values.mean() > 1.5 * (values.mean() - low)

    @pytest.mark.parametrize("values", [[], [3.0], [0.0] * 31, [0.0] * 30 + [1.0]])
    def test_too_few_values_that_differ_have_no_interval(self, values):
        assert mean_interval(values) is None

    def test_it_moves_and_grows_with_the_values(self):
        low, high = mean_interval(self.values)
        assert mean_interval(3 * self.values + 1) == pytest.approx((3 * low + 1, 3 * high + 1))


class TestGroups:
    def test_values_of_their_own_are_worth_themselves(self):
        successes, gains = [[1], [0], [1], [1]], [[1], [0], [-1], [0], [1]]
        assert design_effect(successes) == pytest.approx(1)
        assert grouped_share_interval(successes) == pytest.approx(share_interval(3, 4))
        assert grouped_gain_interval(gains) == pytest.approx(paired_interval(2, 1, 5))
        values = np.random.default_rng(1).normal(size=12)
        assert grouped_mean_interval([[value] for value in values]) == mean_interval(values)

    def test_videos_that_are_all_alike_within_an_image_are_worth_one_each(self):
        groups = [[1.0] * 3] * 6 + [[0.0] * 3] * 2
        # The variance of the sum over 8 images, that over 24 videos, and Student's t for 7 and for 23 degrees of freedom.
        between, within = (6 * 0.75**2 + 2 * 2.25**2) * 8 / 7, 24 * (24 * 0.75 * 0.25) / 23
        effect = between / within * (2.3646 / 2.0687) ** 2
        assert design_effect(groups) == pytest.approx(effect, rel=1e-4) and effect > 3
        low, high = grouped_share_interval(groups)
        assert low < share_interval(6, 8)[0] and high > share_interval(6, 8)[1]

    def test_where_all_succeed_every_image_counts_as_one_video(self):
        assert grouped_share_interval([[1, 1]] * 10) == pytest.approx(share_interval(10, 10))
        assert grouped_gain_interval([[0, 0, 0]] * 10) == pytest.approx(paired_interval(0, 0, 10))
        assert grouped_share_interval([[1, 1, 1]]) == pytest.approx(share_interval(1, 1))

    def test_a_single_image_has_no_interval_of_a_mean(self):
        assert grouped_mean_interval([[1.0, 2.0, 3.0], []]) is None

    def test_values_that_are_alike_within_an_image_make_a_wider_interval(self):
        values = np.random.default_rng(2).normal(size=(10, 4))
        alike = np.repeat(values[:, :1], 4, axis=1)
        apart = alike.ravel()
        low, high = grouped_mean_interval(list(alike))
        narrow = mean_interval(apart)
        assert high - low > 1.6 * (narrow[1] - narrow[0])


class TestRanking:
    @pytest.mark.parametrize("seed", range(5))
    def test_auc_counts_the_pairs_that_are_in_order(self, seed):
        rng = np.random.default_rng(seed)
        yes, no = rng.integers(0, 6, 17), rng.integers(-2, 4, 11)
        pairs = [(high > low) + 0.5 * (high == low) for high, low in product(yes, no)]
        assert auc(yes, no) == pytest.approx(np.mean(pairs))

    def test_auc_of_separate_groups(self):
        assert auc([2, 3], [0, 1]) == 1 and auc([0], [1]) == 0
        assert np.isnan(auc([], [1]))

    @pytest.mark.parametrize("seed", range(5))
    def test_rank_correlation_is_that_of_ranks_counted_one_by_one(self, seed):
        rng = np.random.default_rng(seed)
        first, second = rng.integers(0, 5, 9), rng.integers(0, 5, 9)

        def places(values):
            return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]

        x, y = (np.array(places(values)) - 5 for values in (first, second))
        assert rank_correlation(first, second) == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)))

    def test_rank_correlation_sees_order_only(self):
        assert rank_correlation([1, 2, 3], [1, 10, 1000]) == pytest.approx(1)
        assert rank_correlation([1, 2, 3], [3, 2, -5]) == pytest.approx(-1)
        assert np.isnan(rank_correlation([1, 1], [1, 2]))
