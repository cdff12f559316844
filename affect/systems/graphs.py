"""Semi-supervised classification on one neighbour graph per view, whose weights are learnt with the labels.

Every view v has the normalised Laplacian L_v of its graph. Labels F [N, C] have the known rows clamped to indicators;
the others minimise, with one weight per view,

- AMGL (Nie, Li & Li 2016, Parameter-Free Auto-Weighted Multiple Graph Learning): Σ_v √tr(Fᵀ L_v F), by turns
  F_u = -L_uu⁻¹ L_ul Y for L = Σ_v α_v L_v, and α_v = 1 / (2 √tr(Fᵀ L_v F));
- AMMSS (Cai, Nie, Cai & Huang 2013, Heterogeneous Image Features Integration via Multi-modal Semi-supervised Learning
  Model): Σ_v α_v^r tr(Fᵀ L_v F) over F and α ≥ 0, Σ_v α_v = 1, by turns the same F_u for L = Σ_v α_v^r L_v, and
  α_v ∝ tr(Fᵀ L_v F)^(1/(1-r)).

The graph is the one that AMGL's authors use: w_ij of the k nearest rows falls linearly with the squared distance to 0
at the (k+1)-th (Nie, Wang, Jordan & Huang 2016, The Constrained Laplacian Rank Algorithm), symmetrised by its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import cg

from affect.errors import UserError

Floats = NDArray[np.float64]
Weighting = Callable[[Floats], tuple[Floats, float]]
"""tr(Fᵀ L_v F) of every view [V] → (factor of L_v in the problem of F [V], objective)."""

NEIGHBOURS = 5
"""The default of AMGL's authors."""
ITERATIONS = 100
TOLERANCE = 1e-8
"""A smaller relative decrease of the objective ends the iterations, as in AMGL's authors' code."""
SOLVED = 1e-10
"""Relative residual at which conjugate gradients end."""
SMALLEST = 1e-12
"""A trace counts as no less: where a view fits the labels perfectly, its weight would be infinite."""


@dataclass(frozen=True)
class Propagated:
    """Labels spread over graphs."""

    classes: Floats
    """[C] numbers of the classes that have labels."""
    soft: Floats
    """F [N, C]: rows in the order in which they were given; what no label reaches has the classes' shares of the labels."""
    factors: Floats
    """[V] factor of each view's Laplacian, α_v or α_v^r."""
    objectives: tuple[float, ...]
    """After each iteration."""

    def predict(self) -> Floats:
        """The class of every row [N]."""
        return self.classes[self.soft.argmax(axis=1)]


def amgl() -> Weighting:
    """AMGL's weights, which have no parameter."""

    def weigh(traces: Floats) -> tuple[Floats, float]:
        roots = np.sqrt(np.maximum(traces, SMALLEST))
        return 1 / (2 * roots), float(roots.sum())

    return weigh


def ammss(r: float) -> Weighting:
    """AMMSS' weights on the simplex; r > 1 evens them out."""

    def weigh(traces: Floats) -> tuple[Floats, float]:
        factors = simplex_weights(traces, r) ** r
        return factors, float(factors @ np.maximum(traces, SMALLEST))

    return weigh


def simplex_weights(traces: Floats, r: float) -> Floats:
    """The α ≥ 0, Σ α = 1 [V] that minimise Σ α_v^r traces_v."""
    logarithms = np.log(np.maximum(traces, SMALLEST)) / (1 - r)
    powers = np.exp(logarithms - logarithms.max())
    return powers / powers.sum()


def view_graphs(x: Floats, widths: Sequence[int], k: int) -> list[csr_array]:
    """Symmetric graph [N, N] of each view of x [N, D]."""
    directed = [neighbour_weights(view, k) for view in np.split(x, np.cumsum(widths)[:-1], axis=1)]
    return [csr_array((graph + graph.T) / 2) for graph in directed]


def neighbour_weights(x: Floats, k: int, queries: Floats | None = None) -> csr_array:
    """Weights [m, n], summing to 1 per row, of the k rows of x [n, D] nearest to each query [m, D]; of x to itself
    without `queries`, where no row is its own neighbour.

    With squared distances d_1 ≤ d_2 ≤ ...: w_h = (d_{k+1} - d_h) / Σ_{g ≤ k} (d_{k+1} - d_g); 1/k where all are equal.
    """
    from sklearn.neighbors import NearestNeighbors  # half a second, which no other system needs

    others = len(x) - (queries is None)
    if others < k + 1:
        raise UserError(f"{k} neighbours of a row need {k + 1} other rows in every view, but one has {max(others, 0)}.")
    distances, index = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(x).kneighbors(queries)
    gaps = np.square(distances[:, -1:]) - np.square(distances[:, :-1])
    total = gaps.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, gaps / np.where(total > 0, total, 1), 1 / k)
    starts = np.arange(0, weights.size + 1, k)
    return csr_array((weights.ravel(), index[:, :-1].ravel(), starts), (len(weights), len(x)))


def laplacian(graph: csr_array) -> csr_array:
    """I - D^-½ W D^-½ of a symmetric graph W."""
    degree = graph.sum(axis=1)
    scale = diags_array(1 / np.sqrt(degree))
    return csr_array(eye_array(len(degree)) - scale @ graph @ scale)


def propagate(laplacians: Sequence[csr_array], labelled: NDArray[np.intp], y: Floats, weigh: Weighting) -> Propagated:
    """Spread classes y [l] of the rows `labelled` [l] over graphs of N rows; their rows of F stay indicators."""
    classes, codes = np.unique(y, return_inverse=True)
    n = laplacians[0].shape[0]
    unlabelled = np.setdiff1d(np.arange(n), labelled)
    soft = np.zeros((n, len(classes)))
    soft[labelled, codes] = 1
    factors = np.full(len(laplacians), 1 / len(laplacians))
    objectives: list[float] = []
    while len(objectives) < ITERATIONS:
        combined = csr_array(sum(factor * part for factor, part in zip(factors, laplacians, strict=True)))
        soft[unlabelled] = _harmonic(combined, labelled, unlabelled, soft)
        traces = np.array([np.sum(soft * (part @ soft)) for part in laplacians])
        factors, value = weigh(traces)
        objectives.append(value)
        if len(objectives) > 1 and objectives[-2] - value < TOLERANCE * objectives[-2]:
            break
    unreached = ~soft.any(axis=1)
    soft[unreached] = np.bincount(codes) / len(codes)
    return Propagated(classes, soft, factors, tuple(objectives))


def extend(x: Floats, soft: Floats, factors: Floats, queries: Floats, widths: Sequence[int], k: int) -> Floats:
    """Soft labels [m, C] of rows that were not in the graphs: in every view the mean of their k nearest rows', with the
    graphs' weights, and over views the mean with their factors."""
    splits = np.cumsum(widths)[:-1]
    views = zip(np.split(x, splits, axis=1), np.split(queries, splits, axis=1), factors, strict=True)
    return sum(factor * (neighbour_weights(seen, k, new) @ soft) for seen, new, factor in views) / factors.sum()


def _harmonic(combined: csr_array, labelled: NDArray[np.intp], unlabelled: NDArray[np.intp], soft: Floats) -> Floats:
    """F_u [u, C] = -L_uu⁻¹ L_ul Y by conjugate gradients from the last F_u. Where no label reaches, L_uu is singular
    and the right side zero: F_u stays zero there."""
    rows = combined[unlabelled]
    inner, outer = rows[:, unlabelled], -(rows[:, labelled] @ soft[labelled])
    solved = [cg(inner, outer[:, c], x0=soft[unlabelled, c], rtol=SOLVED) for c in range(soft.shape[1])]
    if any(failed for _, failed in solved):
        raise UserError(f"Labels could not be spread over the graphs: no relative residual of {SOLVED:g} was reached.")
    return np.stack([column for column, _ in solved], axis=1)
