"""Tests of one system against another: the papers' own, and those that hold.

Paired tests take `differences` (system minus baseline), [n] over seeds or [n, m] for m comparisons at once, complete
and finite; they return a float or [m]. p is one-tailed: small when the system is better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtr

Floats = NDArray[np.float64]

EXACT_UP_TO = 30
"""Seeds up to which `sign_flip` counts all 2^n flips."""
_FLIPS = 9_999
_CHUNK = 1_000_000


def fisher_z(r1: ArrayLike, r2: ArrayLike, n1: ArrayLike, n2: ArrayLike) -> Floats:
    """One-tailed p that correlation `r1` over `n1` rows exceeds `r2` over `n2` rows, as of independent samples.

    Fisher's transformation: z = (atanh r1 − atanh r2) / sqrt(1/(n1 − 3) + 1/(n2 − 3)). Arguments broadcast. NaN where
    an n is 3 or less, an argument is NaN, a correlation lies beyond ±1, or both are the same perfect correlation.
    """
    a, b, n, m = (np.asarray(x, np.float64) for x in (r1, r2, n1, n2))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(1 / np.where(n > 3, n - 3, np.nan) + 1 / np.where(m > 3, m - 3, np.nan))
        return np.asarray(ndtr(-(np.arctanh(a) - np.arctanh(b)) / error))


def paired_t(differences: ArrayLike) -> Floats:
    """One-tailed p of Student's t test that the mean difference exceeds 0.

    NaN below two seeds or when every difference is 0; differences that are equal but not 0 give 0 or 1.
    """
    d = _differences(differences)
    n = len(d)
    if n < 2:
        return np.full(d.shape[1:], np.nan)[()]
    mean = d.mean(axis=0)
    # Compared by range: rounding of the mean leaves equal differences a deviation above zero.
    error = np.where(np.ptp(d, axis=0) > 0, d.std(axis=0, ddof=1) / np.sqrt(n), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(stdtr(n - 1, -(mean / error)))[()]


def sign_flip(differences: ArrayLike, seed: int = 0) -> Floats:
    """One-tailed p of the sign-flip permutation test: the share of all 2^n flips whose sum is at least the one seen.

    Exact up to `EXACT_UP_TO` seeds; above that 9,999 flips drawn from `seed`, with the flip seen added to both counts
    (B. Phipson and G. K. Smyth, 2010, "Permutation p-values should never be zero"). NaN without seeds.
    """
    d = _differences(differences)
    if len(d) == 0:
        return np.full(d.shape[1:], np.nan)[()]
    columns = d.reshape(len(d), -1)
    p = _exact_flips(columns) if len(d) <= EXACT_UP_TO else _drawn_flips(columns, seed)
    return p.reshape(d.shape[1:])[()]


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p of a family `p` [m], with the running maximum, so that adjusted values keep the order of p.

    A NaN (a comparison that could not be made) stays NaN and still counts: the family is what was declared.
    """
    given = np.asarray(p, np.float64)
    if given.ndim != 1:
        raise ValueError(f"holm wants one family [m], not shape {given.shape}")
    order = np.argsort(np.where(np.isnan(given), np.inf, given), kind="stable")
    steps = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.fmax.accumulate(steps), 1.0) if len(given) else steps
    return np.where(np.isnan(given), np.nan, adjusted)


def _differences(differences: ArrayLike) -> Floats:
    d = np.asarray(differences, np.float64)
    if d.ndim not in (1, 2):
        raise ValueError(f"differences are [n] or [n, m], not of shape {d.shape}")
    if not np.isfinite(d).all():
        raise ValueError("differences must be finite: leave out the pairs that are incomplete")
    return d


def _exact_flips(columns: Floats) -> Floats:
    """All 2^n flips of every column, counted as pairs (sum over one half, sum over the other): 2^(n/2) numbers do."""
    half = len(columns) // 2
    p = np.empty(columns.shape[1])
    for j, d in enumerate(columns.T):
        left, right = _flipped_sums(d[:half]), np.sort(_flipped_sums(d[half:]))
        least = d.sum() - _slack(d)
        p[j] = (len(right) - np.searchsorted(right, least - left, side="left")).sum() / 2.0 ** len(d)
    return p


def _flipped_sums(d: Floats) -> Floats:
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _drawn_flips(columns: Floats, seed: int) -> Floats:
    """The same drawn flips for every column: a bit each, and one matrix product per chunk."""
    n = len(columns)
    generator = np.random.default_rng(seed)
    seen = columns.sum(axis=0)
    least = seen - _slack(columns)
    extreme = np.ones(columns.shape[1])
    for start in range(0, _FLIPS, size := max(1, _CHUNK // n)):
        flips = min(size, _FLIPS - start)
        bits = np.frombuffer(generator.bytes(flips * -(-n // 8)), np.uint8).reshape(flips, -1)
        kept = np.unpackbits(bits, axis=1, count=n).astype(np.float64)
        sums = 2.0 * (kept @ columns) - seen  # what is kept, less what is not
        extreme += (sums >= least).sum(axis=0)
    return extreme / (_FLIPS + 1)


def _slack(d: Floats) -> Floats:
    """Sums that are equal in exact arithmetic must count as equal: far above rounding, far below any difference."""
    return np.asarray(1e-12 * np.abs(d).sum(axis=0))
