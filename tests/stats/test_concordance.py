from __future__ import annotations

import numpy as np
import pytest

from affect.stats import ccc, ccc_columns


def test_hand_worked() -> None:
    # means 2, 3; variances 2/3, 2/3; covariance 2/3: 2·(2/3) / (4/3 + 1) = 4/7
    assert ccc([1, 2, 3], [2, 3, 4]) == pytest.approx(4 / 7)


def test_definition_with_biased_moments() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=50)
    f = 0.7 * y + rng.normal(size=50) + 0.3
    rho = np.corrcoef(y, f)[0, 1]
    expected = 2 * rho * y.std() * f.std() / (y.var() + f.var() + (y.mean() - f.mean()) ** 2)
    assert ccc(y, f) == pytest.approx(expected, abs=1e-14)


def test_extremes() -> None:
    y = np.array([1.0, 2.0, 4.0])
    assert ccc(y, y) == pytest.approx(1.0)
    assert ccc(y, 2 * y.mean() - y) == pytest.approx(-1.0)
    assert ccc(y, [3.0, 3.0, 3.0]) == 0.0


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [([1.0], [1.0]), ([2.0, 2.0], [3.0, 3.0]), ([0.1] * 7, [0.1] * 7), ([1.0, 2.0], [np.nan, 1.0]), ([], [])],
)
def test_undefined_is_nan(truth: list[float], prediction: list[float]) -> None:
    assert np.isnan(ccc(truth, prediction))


def test_outliers_stay_finite() -> None:
    assert np.isfinite(ccc([1.0, 2.0, 1e12], [1.0, -1e12, 3.0]))


def test_columns_equal_one_at_a_time() -> None:
    rng = np.random.default_rng(1)
    y, f = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    f[:, 2] = y[:, 2] = 5.0
    columns = ccc_columns(y, f)
    assert columns[:2] == pytest.approx([ccc(y[:, j], f[:, j]) for j in range(2)])
    assert np.isnan(columns[2])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        ccc([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="one shape"):
        ccc_columns(np.zeros((2, 2)), np.zeros((2, 3)))
