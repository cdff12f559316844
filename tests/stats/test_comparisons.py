from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from affect.stats import fisher_z, holm, paired_t, sign_flip
from affect.stats.comparisons import EXACT_UP_TO


def test_fisher_z_hand_worked() -> None:
    # atanh .8 = 1.098612, atanh .78 = 1.045371; difference .053242; error sqrt(2/7338) = .016509; z = 3.2250
    assert float(fisher_z(0.80, 0.78, 7341, 7341)) == pytest.approx(stats.norm.sf(3.2250), rel=1e-3)
    # atanh .5 = .549306, error sqrt(2/100) = .141421, z = 3.884182
    assert float(fisher_z(0.5, 0.0, 103, 103)) == pytest.approx(5.1340e-5, rel=1e-3)


def test_fisher_z_is_one_tailed_and_broadcasts() -> None:
    p = fisher_z([0.6, 0.5, 0.4], 0.5, 100, 200)
    assert p[1] == pytest.approx(0.5)
    assert p[0] < 0.5 < p[2]
    forward, backward = fisher_z(0.6, 0.5, 50, 80), fisher_z(0.5, 0.6, 80, 50)
    assert float(forward + backward) == pytest.approx(1)


def test_fisher_z_undefined() -> None:
    assert np.isnan(fisher_z([0.5, np.nan, 1.0, 2.0], [0.4, 0.4, 1.0, 0.4], [3, 50, 50, 50], 50)).all()
    assert float(fisher_z(1.0, 0.9, 50, 50)) == 0.0


def test_paired_t_equals_scipy() -> None:
    d = np.random.default_rng(0).normal(0.2, 1, (9, 4))
    assert paired_t(d) == pytest.approx(stats.ttest_1samp(d, 0, alternative="greater").pvalue)
    assert paired_t(d[:, 0]) == pytest.approx(paired_t(d)[0])


def test_paired_t_without_spread() -> None:
    assert float(paired_t([0.1] * 7)) == 0.0
    assert float(paired_t([-0.1] * 7)) == 1.0
    assert np.isnan(paired_t([0.0, 0.0]))
    assert np.isnan(paired_t([0.3]))


def brute_force(d: np.ndarray) -> float:
    sums = np.array([np.dot(signs, d) for signs in product((1, -1), repeat=len(d))])
    return float(np.mean(sums >= d.sum() - 1e-9))


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_sign_flip_equals_brute_force(n: int) -> None:
    rng = np.random.default_rng(n)
    smooth, tied = rng.normal(0.3, 1, (n, 5)), np.round(rng.normal(0.1, 1, (n, 5)), 1)
    cancelling = np.resize([0.1, -0.1], (n, 2)) * [1, 3]
    for d in (smooth, -smooth, tied, cancelling, np.zeros((n, 2))):
        assert sign_flip(d) == pytest.approx([brute_force(c) for c in d.T])


def test_sign_flip_equals_scipy() -> None:
    d = np.random.default_rng(3).normal(0.5, 1, 8)
    one_tail = {"permutation_type": "samples", "n_resamples": np.inf, "alternative": "greater"}
    result = stats.permutation_test((d,), np.mean, **one_tail)
    assert float(sign_flip(d)) == pytest.approx(result.pvalue)


def test_sign_flip_smallest_p() -> None:
    assert float(sign_flip(np.arange(1, 11) / 10)) == 2.0**-10


def test_sign_flip_drawn_agrees_with_exact_and_never_gives_zero() -> None:
    rng = np.random.default_rng(5)
    d = rng.normal(0.12, 1, (EXACT_UP_TO + 1, 3))
    drawn = sign_flip(d)
    assert drawn == pytest.approx(stats.norm.sf(d.sum(axis=0) / np.sqrt((d**2).sum(axis=0))), abs=0.03)
    assert (drawn == sign_flip(d)).all()
    assert float(sign_flip(np.ones(40))) == pytest.approx(1e-4)


def test_sign_flip_refuses_incomplete_pairs() -> None:
    with pytest.raises(ValueError, match="incomplete"):
        sign_flip([0.1, np.nan])
    assert np.isnan(sign_flip([]))


def test_holm_hand_worked_with_running_maximum() -> None:
    # sorted .005 .011 .02 .04 → ×4 ×3 ×2 ×1 = .02 .033 .04 .04
    assert holm([0.011, 0.02, 0.04, 0.005]) == pytest.approx([0.033, 0.04, 0.04, 0.02])
    # without the running maximum the last would be .03, below its predecessor's .05
    assert holm([0.01, 0.025, 0.03]) == pytest.approx([0.03, 0.05, 0.05])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_holm_counts_comparisons_that_could_not_be_made() -> None:
    adjusted = holm([0.01, np.nan, 0.02])
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.04])
    assert np.isnan(adjusted[1])
    assert len(holm([])) == 0
