"""Missing views filled in by a matrix of low rank: softImpute-ALS (Hastie, Mazumder, Lee & Zadeh 2015, Matrix Completion
and Low-Rank SVD via Fast Alternating Least Squares, algorithm 3.1).

Over matrices M of rank at most r, with Ω the observed cells of X:

    ½ ‖P_Ω(X - M)‖²_F + λ ‖M‖_*    =    min over A Bᵀ = M of  ½ ‖P_Ω(X - A Bᵀ)‖²_F + λ/2 (‖A‖²_F + ‖B‖²_F)

The columns are expected with mean zero, so that zeros, the floor of every imputation, are the columns' means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

PATH = 20
"""λ falls geometrically in so many steps..."""
LOWEST = 0.01
"""...from the smallest λ whose solution is zero to this share of it."""
HELD_OUT = 0.1
"""Share of the whole rows of which a view is hidden to choose λ."""
SPARE = 5
"""The rank bound lies this far above the rank found at the last λ, so that the rank can grow along the path."""
MOST_RANK = 100
ITERATIONS = 100
TOLERANCE = 1e-5
"""‖ΔM‖² / ‖M‖² at which iterations end. This and the number of iterations are the defaults of the authors' package."""


@dataclass(frozen=True)
class LowRank:
    """M = U diag(d) Vᵀ."""

    u: Floats
    """[n, r] with orthonormal columns."""
    d: Floats
    """[r] ≥ 0, falling."""
    v: Floats
    """[D, r] with orthonormal columns."""

    @property
    def matrix(self) -> Floats:
        """M [n, D]."""
        return (self.u * self.d) @ self.v.T

    @property
    def basis(self) -> Floats:
        """B [D, rank] of M = A Bᵀ."""
        return (self.v * np.sqrt(self.d))[:, self.d > 0]

    @property
    def rank(self) -> int:
        return int(np.count_nonzero(self.d))


def soft_impute(
    x: Floats,
    observed: Mask,
    shrinkage: float,
    rank: int,
    start: LowRank | None = None,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> LowRank:
    """The M of rank at most `rank` that minimises the objective for λ = `shrinkage`; x and `observed` are [n, D].

    Each half-step fills the missing cells with the last M and solves a ridge regression for one factor. The solution is
    the convex problem's where its rank is below `rank`.
    """
    found = _begun(start or _zero(x.shape), min(rank, *x.shape), shrinkage or 1.0)
    for _ in range(iterations):
        before = found
        v, d, u = _refit(filled(x, observed, found), found.u, found.d, shrinkage)
        found = LowRank(u, d, v)
        u, d, v = _refit(filled(x, observed, found).T, found.v, found.d, shrinkage)
        found = LowRank(u, d, v)
        if _squared_distance(found, before) <= tolerance * np.sum(before.d**2):
            break
    # The algorithm's last step, which makes small values exactly zero.
    u, d, rotation = np.linalg.svd(filled(x, observed, found) @ found.v, full_matrices=False)
    return LowRank(u, np.maximum(d - shrinkage, 0), found.v @ rotation.T)


def filled(x: Floats, observed: Mask, found: LowRank) -> Floats:
    """x [n, D] where observed, M elsewhere."""
    return np.where(observed, x, found.matrix)


def objective(x: Floats, observed: Mask, shrinkage: float, found: LowRank) -> float:
    """½ ‖P_Ω(X - M)‖² + λ ‖M‖_*."""
    residual = np.where(observed, x - found.matrix, 0)
    return float(np.sum(residual**2) / 2 + shrinkage * found.d.sum())


def hidden_views(present: Mask, g: np.random.Generator) -> Mask:
    """Cells [n, V] to hide for the choice of λ: of `HELD_OUT` of the whole rows one view each, drawn from the views as
    often as they are missing elsewhere. Hiding single cells would ask for less than is asked of the imputation."""
    whole = np.flatnonzero(present.all(axis=1))
    lacking = (~present).sum(axis=0)
    if not lacking.any():
        raise UserError("No row lacks a view, so there is nothing to impute.")
    if len(whole) < 2:
        raise UserError(
            f"Imputation learns from rows that have every view, of which there must be 2; there are {len(whole)}."
        )
    rows = g.permutation(whole)[: max(1, round(HELD_OUT * len(whole)))]
    hidden = np.zeros_like(present)
    hidden[rows, g.choice(present.shape[1], len(rows), p=lacking / lacking.sum())] = True
    return hidden


def shrinkage_path(x: Floats, observed: Mask, held_out: Mask) -> list[tuple[float, int, float]]:
    """(λ, rank of its solution, mean squared error on the cells `held_out` [n, D] of the observed ones) for falling λ,
    each begun from the last solution. The first solution is zero. Ends once the error has risen twice in a row."""
    seen = observed & ~held_out
    largest = float(np.linalg.norm(np.where(seen, x, 0), 2))
    found = _zero(x.shape)
    path = [(largest, 0, float(np.mean(np.square(x[held_out]))))]
    for shrinkage in largest * np.geomspace(1, LOWEST, PATH)[1:]:
        found = soft_impute(x, seen, shrinkage, min(MOST_RANK, found.rank + SPARE), found)
        error = float(np.mean(np.square(x - found.matrix)[held_out]))
        path.append((float(shrinkage), found.rank, error))
        if len(path) > 2 and path[-1][2] > path[-2][2] > path[-3][2]:
            break
    return path


def fit_views(x: Floats, present: Mask, widths: Sequence[int], g: np.random.Generator) -> tuple[LowRank, float]:
    """M and λ for x [n, D], views of `widths` side by side of which rows lack some (`present` [n, V]). λ and with it the
    rank are those of `shrinkage_path` with the smallest error on hidden views."""
    observed = np.repeat(present, widths, axis=1)
    path = shrinkage_path(x, observed, np.repeat(hidden_views(present, g), widths, axis=1))
    best = int(np.argmin([error for _, _, error in path]))
    found = _zero(x.shape)
    for shrinkage, rank, _ in path[1 : best + 1]:
        found = soft_impute(x, observed, shrinkage, min(MOST_RANK, rank + SPARE), found)
    return found, path[best][0]


def completed(x: Floats, present: Mask, widths: Sequence[int], b: Floats, shrinkage: float) -> Floats:
    """x [m, D] with the views that a row lacks replaced, whether the row was fitted on or not: its row of A is the ridge
    regression of what is observed of it on B [D, r], as in the algorithm's half-steps, which at the minimum gives M again."""
    result = x.copy()
    patterns, which = np.unique(present, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        seen, rows = np.repeat(pattern, widths), which == number
        a = np.linalg.solve(b[seen].T @ b[seen] + shrinkage * np.eye(b.shape[1]), b[seen].T @ x[rows][:, seen].T)
        result[np.ix_(rows, ~seen)] = (b[~seen] @ a).T
    return result


def _refit(whole: Floats, side: Floats, d: Floats, shrinkage: float) -> tuple[Floats, Floats, Floats]:
    """The other factor [D, r], values [r] and this factor [n, r], rotated, of the ridge regression of `whole` [n, D] on
    the factor `side` [n, r] of values d."""
    total = d + shrinkage
    shares = np.divide(d, total, out=np.zeros_like(d), where=total > 0)
    other, values, rotation = np.linalg.svd((whole.T @ side) * shares, full_matrices=False)
    return other, values, side @ rotation.T


def _begun(start: LowRank, rank: int, scale: float) -> LowRank:
    """The M of `start` with `rank` columns: those added to U are random, those to V zero, so that M is the same, and their
    values are `scale`, so that they can grow."""
    kept = min(rank, start.rank)
    added = rank - kept
    random = np.random.default_rng(0).standard_normal((len(start.u), added))
    u, _ = np.linalg.qr(np.concatenate([start.u[:, :kept], random], axis=1))
    # QR may turn the sign of what was orthonormal already.
    u[:, :kept] = start.u[:, :kept]
    d = np.concatenate([start.d[:kept], np.full(added, scale)])
    return LowRank(u, d, np.concatenate([start.v[:, :kept], np.zeros((len(start.v), added))], axis=1))


def _zero(shape: tuple[int, ...]) -> LowRank:
    return LowRank(np.zeros((shape[0], 0)), np.zeros(0), np.zeros((shape[1], 0)))


def _squared_distance(a: LowRank, b: LowRank) -> float:
    """‖M_a - M_b‖²_F without either matrix, nor a difference of their norms, whose rounding would end iterations early."""
    left = np.linalg.qr(np.concatenate([a.u * a.d, -b.u * b.d], axis=1))[1]
    right = np.linalg.qr(np.concatenate([a.v, b.v], axis=1))[1]
    return float(np.sum((left @ right.T) ** 2))
