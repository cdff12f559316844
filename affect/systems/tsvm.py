"""Transductive linear SVM: the labels of the unlabelled rows are variables of the SVM's objective.

Per class against the rest, with f(x) = w·x + b (b is the weight of a constant column, penalised like the others) and
squared hinge losses V(m) = max(0, 1 - m)², over w and over labels t of the u unlabelled rows:

    J(w, t) = λ/2 ‖w‖² + 1/(2l) Σ_labelled V(y_i f(x_i)) + λ'/(2u) Σ_unlabelled V(t_j f(x_j))
    where as large a share of the t_j is +1 as of the y_i.

The problem and its balance are Joachims' (1999, Transductive Inference for Text Classification using Support Vector
Machines); squared losses, primal Newton steps and switching many pairs at once are Sindhwani & Keerthi's (2006, Large
Scale Semi-supervised Linear SVMs). For fixed w, switching a pair (+1, -1) lowers J exactly where the second has the
larger f, so labelling the rows of largest f as +1 is the best labelling of all; for fixed t, Newton's method finds the
one best w. Both steps alternate until J falls no more, while λ' doubles from `START` of its final value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Floats = NDArray[np.float64]

START = 1e-5
"""Share of λ' with which the unlabelled rows begin, as in Joachims' algorithm 1."""
FALL = 1e-12
"""Labels are switched for as large a relative fall of J, so that equal labellings, or rounding, cannot alternate for ever."""
NEWTON_STEPS = 100
"""A bound that is never met: Newton's method on piecewise quadratics takes about ten."""


@dataclass(frozen=True)
class Tsvm:
    """One linear function per class."""

    classes: Floats
    """[C] their numbers."""
    weights: Floats
    """[D + 1, C], the constant last."""

    def scores(self, x: Floats) -> Floats:
        """x [n, D] → f of each class [n, C]."""
        return x @ self.weights[:-1] + self.weights[-1]

    def predict(self, x: Floats) -> Floats:
        """x [n, D] → the class of largest f [n]."""
        return self.classes[self.scores(x).argmax(axis=1)]


def fit(
    labelled: Floats, y: Floats, unlabelled: Floats, *, shrinkage: float = 1e-3, unlabelled_weight: float = 1.0
) -> Tsvm:
    """One transductive SVM per class that occurs in y [l], against the rest; the largest f wins.

    `shrinkage` is λ and `unlabelled_weight` λ'; their defaults are Sindhwani & Keerthi's. Without unlabelled rows
    this is an SVM; where y holds one class, everything is of that class.
    """
    classes = np.unique(y)
    if len(classes) == 1:
        return Tsvm(classes, np.zeros((labelled.shape[1] + 1, 1)))
    known, pool = _with_constant(labelled), _with_constant(unlabelled)
    columns = [
        fit_binary(known, np.where(y == number, 1.0, -1.0), pool, shrinkage, unlabelled_weight)[0] for number in classes
    ]
    return Tsvm(classes, np.stack(columns, axis=1))


def fit_binary(
    labelled: Floats, y: Floats, unlabelled: Floats, shrinkage: float, unlabelled_weight: float
) -> tuple[Floats, Floats]:
    """Rows with their constant column, y in {-1, +1} → (w [D + 1], t [u]), a local minimum of J: neither another w nor
    another balanced t alone lowers it."""
    x = np.concatenate([labelled, unlabelled])
    w = squared_hinge_svm(labelled, y, np.full(len(y), 1 / len(y)), shrinkage)
    t = balanced_labels(unlabelled @ w, y)
    annealed = START if len(unlabelled) else 1.0
    while True:
        share = np.full(len(t), annealed * unlabelled_weight / max(len(t), 1))
        weight = np.concatenate([np.full(len(y), 1 / len(y)), share])
        w = squared_hinge_svm(x, np.concatenate([y, t]), weight, shrinkage, w)
        switched = balanced_labels(unlabelled @ w, y)
        value, lower = (objective(w, x, np.concatenate([y, each]), weight, shrinkage) for each in (t, switched))
        if lower < value * (1 - FALL):
            t = switched
        elif annealed < 1:
            annealed = min(1.0, 2 * annealed)
        else:
            return w, t


def balanced_labels(f: Floats, y: Floats) -> Floats:
    """±1 for each f [u]: +1 for the largest ones, as large a share of them as of y."""
    positive = round(np.mean(y > 0) * len(f))
    t = np.full(len(f), -1.0)
    t[np.argsort(-f, kind="stable")[:positive]] = 1.0
    return t


def objective(w: Floats, x: Floats, y: Floats, weight: Floats, shrinkage: float) -> float:
    """λ/2 ‖w‖² + ½ Σ weight_i max(0, 1 - y_i w·x_i)²."""
    return float(shrinkage / 2 * w @ w + weight @ np.square(np.maximum(0, 1 - y * (x @ w))) / 2)


def squared_hinge_svm(x: Floats, y: Floats, weight: Floats, shrinkage: float, start: Floats | None = None) -> Floats:
    """The w [D] that minimises `objective`, exactly: Newton's method (Keerthi & DeCoste 2005) ends once a full step
    leaves the set of rows inside the margin as it was."""
    w = np.zeros(x.shape[1]) if start is None else start
    inside, value = 1 - y * (x @ w) > 0, objective(w, x, y, weight, shrinkage)
    for _ in range(NEWTON_STEPS):
        rows = x[inside]
        scaled = rows * weight[inside, None]
        hessian = rows.T @ scaled
        hessian.flat[:: len(w) + 1] += shrinkage
        step = cho_solve(cho_factor(hessian), scaled.T @ y[inside]) - w
        length = 1.0
        while (lower := objective(w + length * step, x, y, weight, shrinkage)) > value and length > 1e-10:
            length /= 2
        w, value = w + length * step, min(value, lower)
        before, inside = inside, 1 - y * (x @ w) > 0
        if length == 1.0 and np.array_equal(before, inside):
            break
    return w


def _with_constant(x: Floats) -> Floats:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
