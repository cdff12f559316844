"""Intervals of means over seeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
_RESAMPLES = 10_000
_DRAWS = 4_000_000
_CHUNK = 4_000_000


def bootstrap_interval(differences: ArrayLike, level: float = 0.95, seed: int = 0) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval (low, high) of the mean paired difference.

    `differences` is [n] over seeds or [n, m] for m comparisons (which then share their resamples); complete. 10,000
    resamples from `seed`, down to 1,000 with more than 400 seeds. NaN below two seeds. With very few seeds
    the interval is too narrow (`widest_coverage`), which reports say.
    """
    d = np.asarray(differences, np.float64)
    n = len(d)
    if n < 2:
        empty = np.full(d.shape[1:], np.nan)[()]
        return empty, empty
    columns = d.reshape(n, -1)
    generator = np.random.default_rng(seed)
    resamples = min(_RESAMPLES, max(_RESAMPLES // 10, _DRAWS // n))
    means = np.empty((resamples, columns.shape[1]))
    for start in range(0, resamples, size := max(1, _CHUNK // n)):
        rows = min(size, resamples - start)
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        # How often each seed was drawn, so that one matrix product serves all comparisons.
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = counts.astype(np.float64) @ columns / n
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low.reshape(d.shape[1:])[()], high.reshape(d.shape[1:])[()]


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Student's t interval (low, high) of the mean over the last axis of `values` [..., n]; NaN entries are left out.

    NaN where fewer than two values are there.
    """
    v = np.asarray(values, np.float64)
    there = ~np.isnan(v)
    n = there.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, v, 0).sum(axis=-1) / n
        squares = np.where(there, (v - mean[..., None]) ** 2, 0).sum(axis=-1)
        half = stdtrit(np.maximum(n - 1, 1), (1 + level) / 2) * np.sqrt(squares / (n - 1) / n)
    half = np.where(n > 1, half, np.nan)
    return mean - half, mean + half
