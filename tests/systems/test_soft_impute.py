"""softImpute-ALS against the convex problem's optimality conditions and against the plain SVD iterations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from affect.errors import UserError
from affect.systems.soft_impute import (
    LowRank,
    completed,
    filled,
    fit_views,
    hidden_views,
    objective,
    shrinkage_path,
    soft_impute,
)

EXACT = {"tolerance": 1e-22, "iterations": 5000}


def low_rank_matrix(n: int = 30, width: int = 12, rank: int = 3, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    g = np.random.default_rng(seed)
    return g.standard_normal((n, rank)) @ g.standard_normal((rank, width)) + noise * g.standard_normal((n, width))


def brute_force(x: np.ndarray, observed: np.ndarray, shrinkage: float) -> np.ndarray:
    """SoftImpute of Mazumder, Hastie & Tibshirani (2010): fill, soft-threshold all singular values, repeat."""
    found = np.zeros_like(x)
    for _ in range(20_000):
        u, d, vt = np.linalg.svd(np.where(observed, x, found), full_matrices=False)
        last, found = found, (u * np.maximum(d - shrinkage, 0)) @ vt
        if np.abs(found - last).max() < 1e-13:
            break
    return found


@pytest.mark.parametrize("shrinkage", [0.3, 2.0, 6.0])
@pytest.mark.parametrize("blocks", [False, True])
def test_equals_the_svd_iterations(shrinkage, blocks):
    x = low_rank_matrix()
    observed = np.random.default_rng(1).random(x.shape) < 0.7
    if blocks:
        observed = np.ones(x.shape, bool)
        observed[:10, 8:] = False
    found = soft_impute(x, observed, shrinkage, rank=12, **EXACT)
    np.testing.assert_allclose(found.matrix, brute_force(x, observed, shrinkage), atol=1e-6)


def test_optimality_conditions_hold():
    """The observed residual is λ (U Vᵀ + W), with W orthogonal to U and V and of spectral norm at most 1."""
    x = low_rank_matrix(seed=3)
    observed = np.random.default_rng(2).random(x.shape) < 0.6
    shrinkage = 2.0
    found = soft_impute(x, observed, shrinkage, rank=12, **EXACT)
    kept = found.d > 0
    assert 0 < found.rank < 12
    u, v = found.u[:, kept], found.v[:, kept]
    residual = np.where(observed, x - found.matrix, 0) / shrinkage
    np.testing.assert_allclose(u.T @ residual, v.T, atol=1e-6)
    np.testing.assert_allclose(residual @ v, u, atol=1e-6)
    assert np.linalg.norm(residual - u @ v.T, 2) <= 1 + 1e-6


def test_every_iteration_lowers_the_objective():
    x = low_rank_matrix(seed=4)
    observed = np.random.default_rng(5).random(x.shape) < 0.5
    values = [
        objective(x, observed, 1.0, soft_impute(x, observed, 1.0, 8, tolerance=0, iterations=count))
        for count in range(1, 40)
    ]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(values))
    assert values[-1] < values[0] - 0.1


def test_a_warm_start_reaches_the_same_solution():
    x = low_rank_matrix()
    observed = np.random.default_rng(1).random(x.shape) < 0.7
    cold = soft_impute(x, observed, 1.0, 10, **EXACT)
    start = soft_impute(x, observed, 8.0, 2, **EXACT)
    assert start.rank < cold.rank
    np.testing.assert_allclose(soft_impute(x, observed, 1.0, 10, start, **EXACT).matrix, cold.matrix, atol=1e-6)


def test_nothing_observed_or_a_large_lambda_give_zeros():
    x = low_rank_matrix()
    everything, nothing = np.ones(x.shape, bool), np.zeros(x.shape, bool)
    assert soft_impute(x, nothing, 1.0, 3).rank == 0
    assert soft_impute(x, everything, np.linalg.norm(x, 2) * 1.001, 3, **EXACT).rank == 0
    np.testing.assert_allclose(soft_impute(x, everything, 0.0, 12, **EXACT).matrix, x, atol=1e-8)


def two_views(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Views of 8 and 4 columns that share three factors; the second is missing in the first 80 rows."""
    x = low_rank_matrix(n, 12, 3, noise=0.2, seed=7)
    present = np.ones((n, 2), bool)
    present[:80, 1] = False
    return (x - x.mean(0)) / x.std(0), present


def test_missing_views_are_found_from_the_others():
    truth, present = two_views()
    x = np.where(np.repeat(present, (8, 4), 1), truth, 0)
    found, shrinkage = fit_views(x, present, (8, 4), np.random.default_rng(0))
    result = completed(x, present, (8, 4), found.basis, shrinkage)
    observed = np.repeat(present, (8, 4), 1)
    np.testing.assert_array_equal(result[observed], x[observed])
    error, floor = (np.mean(np.square(guess - truth)[~observed]) for guess in (result, np.zeros_like(x)))
    assert error < 0.15 * floor


def test_held_out_views_are_of_whole_rows_and_of_the_views_that_are_missing():
    _, present = two_views()
    hidden = hidden_views(present, np.random.default_rng(0))
    assert hidden.sum() == 12
    assert not hidden[:80].any()
    assert not hidden[:, 0].any()
    truth, _ = two_views()
    cells = np.repeat(hidden, (8, 4), 1)
    path = shrinkage_path(truth, np.repeat(present, (8, 4), 1), cells)
    assert path[0][1] == 0
    assert path[0][2] == pytest.approx(np.mean(truth[cells] ** 2))
    shrinkages = [step[0] for step in path]
    assert shrinkages == sorted(shrinkages, reverse=True)


def test_rows_that_were_fitted_on_are_completed_as_the_minimum_has_them():
    """And a row that was not is treated as one that was."""
    x, present = two_views()
    observed = np.repeat(present, (8, 4), 1)
    found = soft_impute(x, observed, 5.0, 12, **EXACT)
    assert 0 < found.rank < 12
    whole = completed(x, present, (8, 4), found.basis, 5.0)
    np.testing.assert_allclose(whole, filled(x, observed, found), atol=1e-6)
    np.testing.assert_array_equal(completed(x[:3], present[:3], (8, 4), found.basis, 5.0), whole[:3])
    zero = soft_impute(x, ~observed & observed, 1.0, 3)
    assert not completed(x, present, (8, 4), zero.basis, 1.0)[~observed].any()


def test_what_cannot_be_imputed_is_said():
    g = np.random.default_rng(0)
    with pytest.raises(UserError, match="nothing to impute"):
        hidden_views(np.ones((5, 2), bool), g)
    with pytest.raises(UserError, match="there must be 2; there are 0"):
        hidden_views(np.tile([True, False], (5, 1)), g)
    constant = np.zeros((6, 4))
    assert isinstance(soft_impute(constant, np.ones((6, 4), bool), 1.0, 2), LowRank)
    np.testing.assert_array_equal(
        filled(constant, np.zeros((6, 4), bool), soft_impute(constant, np.ones((6, 4), bool), 1.0, 2)), constant
    )
