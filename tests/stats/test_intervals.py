from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from affect.stats import bootstrap_interval, mean_interval, resolvable, seeds_needed, smallest_p, widest_coverage


def test_bootstrap_agrees_with_scipy_and_is_seeded() -> None:
    d = np.random.default_rng(0).normal(0.5, 1, 40)
    low, high = bootstrap_interval(d, 0.95, seed=3)
    scipy = stats.bootstrap((d,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1))
    assert (float(low), float(high)) == pytest.approx(tuple(scipy.confidence_interval), abs=0.03)
    assert (low, high) == bootstrap_interval(d, 0.95, seed=3)
    assert (low, high) != bootstrap_interval(d, 0.95, seed=4)


def test_bootstrap_columns_equal_one_at_a_time() -> None:
    d = np.random.default_rng(1).normal(size=(10, 3))
    low, high = bootstrap_interval(d)
    alone_low, alone_high = bootstrap_interval(d[:, 1])
    assert (low[1], high[1]) == pytest.approx((alone_low, alone_high))
    assert low.shape == high.shape == (3,)


def test_intervals_need_two_seeds() -> None:
    assert np.isnan(bootstrap_interval([0.3])).all()
    assert np.isnan(bootstrap_interval([])).all()
    assert np.isnan(mean_interval([[0.3, np.nan], [np.nan, np.nan]])).all()


def test_mean_interval_equals_scipy() -> None:
    v = np.array([[0.1, 0.4, np.nan, 0.3], [0.5, 0.5, 0.7, 0.9]])
    low, high = mean_interval(v)
    for row, seen in zip(v, zip(low, high, strict=True), strict=True):
        there = row[~np.isnan(row)]
        expected = stats.t.interval(0.95, len(there) - 1, there.mean(), stats.sem(there))
        assert seen == pytest.approx(expected)


def test_range_of_few_differences_covers_less_than_95_percent() -> None:
    draws = np.random.default_rng(0).normal(0.5, 1, (20_000, 5))
    for n in range(2, 6):
        covered = ((draws[:, :n].min(1) < 0.5) & (draws[:, :n].max(1) > 0.5)).mean()
        assert widest_coverage(n) == pytest.approx(covered, abs=0.01)


def test_resolution() -> None:
    assert smallest_p(10) == 1 / 1024
    assert smallest_p(0) == 1.0
    # What 5, 7, 9 and 11 seeds can resolve, as counted by hand: 1, 6, 25 and 102 comparisons.
    for seeds, most in ((5, 1), (7, 6), (9, 25), (11, 102)):
        assert seeds_needed(most) == seeds
        assert seeds_needed(most + 1) == seeds + 1
    assert seeds_needed(15) == 9
    assert (resolvable(9, 15), resolvable(8, 15)) == (True, False)
    with pytest.raises(ValueError, match="level"):
        seeds_needed(1, 0.0)
