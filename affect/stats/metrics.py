"""The metrics of tasks, by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from affect.stats.concordance import Floats, ccc_columns


def score_columns(metric: str, truth: ArrayLike, prediction: ArrayLike) -> Floats:
    """`ccc` or `accuracy` of each column of `prediction` [n, m] with the same column of `truth` [n, m] → [m]."""
    return {"ccc": ccc_columns, "accuracy": accuracy_columns}[metric](truth, prediction)


def accuracy_columns(truth: ArrayLike, prediction: ArrayLike) -> Floats:
    """Share of rows in which both agree, per column [n, m] → [m]; NaN without rows."""
    y, f = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    if y.ndim != 2 or y.shape != f.shape:
        raise ValueError(f"accuracy_columns wants two matrices of one shape, not {y.shape} and {f.shape}")
    return (y == f).mean(axis=0) if len(y) else np.full(y.shape[1], np.nan)


def frobenius_ratio(error: ArrayLike, whole: float) -> float:
    """NMSE of imputed values as P2 defines it (Section 4.3.3): the Frobenius norm of their error over that of what they
    stand in for; NaN where that is zero."""
    return float(np.linalg.norm(np.asarray(error, np.float64)) / whole) if whole > 0 else float("nan")
