"""Lin's concordance correlation coefficient (CCC)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ccc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """CCC of `prediction` [n] with `truth` [n]; see `ccc_columns`.

    Raises ValueError when the two are not one-dimensional and of equal length.
    """
    y, f = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    if y.ndim != 1 or y.shape != f.shape:
        raise ValueError(f"ccc wants two vectors of one length, not shapes {y.shape} and {f.shape}")
    return float(ccc_columns(y[:, None], f[:, None])[0])


def ccc_columns(truth: ArrayLike, prediction: ArrayLike) -> Floats:
    """CCC of each column of `prediction` [n, m] with the same column of `truth` [n, m] → [m], without unit.

    2 cov(y, f) / (var y + var f + (mean y − mean f)²) with moments divided by n (L. I-K. Lin, "A concordance
    correlation coefficient to evaluate reproducibility", Biometrics 45, 1989). NaN where it is undefined: fewer than
    two rows, both columns constant, or a value that is not finite. A constant column against a varying one gives 0.
    """
    y, f = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    if y.ndim != 2 or y.shape != f.shape:
        raise ValueError(f"ccc_columns wants two matrices of one shape, not {y.shape} and {f.shape}")
    if len(y) < 2:
        return np.full(y.shape[1], np.nan)
    finite = (np.isfinite(y) & np.isfinite(f)).all(axis=0)
    # Compared by range, not variance: rounding of the mean leaves a constant column a variance above zero.
    varies = (np.ptp(y, axis=0) > 0) | (np.ptp(f, axis=0) > 0)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        y_mean, f_mean = y.mean(axis=0), f.mean(axis=0)
        covariance = ((y - y_mean) * (f - f_mean)).mean(axis=0)
        spread = ((y - y_mean) ** 2).mean(axis=0) + ((f - f_mean) ** 2).mean(axis=0) + (y_mean - f_mean) ** 2
        return np.where(finite & varies, 2 * covariance / spread, np.nan)
