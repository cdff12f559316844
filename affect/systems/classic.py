"""P2's classifiers without networks: SVM and TSVM, and the graph-based AMMSS and AMGL, on all views.

P2 gives no settings. SVM and TSVM have their regularisation (and kernel width) picked on development data, as every row
of a fair comparison has; AMGL has none but its number of neighbours, where its authors' default stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from affect.systems import graphs, tsvm
from affect.systems.base import Hyperparameter
from affect.systems.estimators import UNLABELLED, EstimatorSystem
from affect.trial import Settings

Floats = NDArray[np.float64]

COSTS = (0.1, 1.0, 10.0, 100.0)
GAMMAS = (0.1, 1.0)
"""Times 1 / (columns × variance)."""
SHRINKAGES = (0.01, 0.1, 1.0)
UNLABELLED_WEIGHTS = (0.01, 0.1, 1.0)
"""λ' of the TSVM. Its balance is that of the labels, so where these are few and their shares off, less is better."""


@dataclass
class TransductiveSVM:
    """`tsvm.fit` as a scikit-learn estimator: rows of target -1 are unlabelled."""

    shrinkage: float
    unlabelled_weight: float
    found: tsvm.Tsvm = field(init=False)

    def fit(self, x: NDArray[Any], y: Floats) -> Self:
        rows, known = x.astype(np.float64), y != UNLABELLED
        self.found = tsvm.fit(
            rows[known], y[known], rows[~known], shrinkage=self.shrinkage, unlabelled_weight=self.unlabelled_weight
        )
        return self

    def predict(self, x: NDArray[Any]) -> Floats:
        return self.found.predict(x.astype(np.float64))


@dataclass
class GraphClassifier:
    """Labels spread over one graph per view, as a scikit-learn estimator: rows of target -1 are unlabelled.

    A row that was in the graphs has the label that was spread to it, others are labelled by their neighbours."""

    weigh: graphs.Weighting
    neighbours: int
    widths: Sequence[int]
    rows: Floats = field(init=False)
    found: graphs.Propagated = field(init=False)
    position: dict[bytes, int] = field(init=False)
    """A row's bytes → its position in the graphs."""

    def fit(self, x: NDArray[Any], y: Floats) -> Self:
        self.rows = x.astype(np.float64)
        self.position = {row.tobytes(): i for i, row in enumerate(self.rows)}
        known = np.flatnonzero(y != UNLABELLED)
        parts = [graphs.laplacian(graph) for graph in graphs.view_graphs(self.rows, self.widths, self.neighbours)]
        self.found = graphs.propagate(parts, known, y[known], self.weigh)
        return self

    def predict(self, x: NDArray[Any]) -> Floats:
        rows = x.astype(np.float64)
        at = np.array([self.position.get(row.tobytes(), -1) for row in rows])
        soft = self.found.soft[at]
        if (new := at < 0).any():
            found = self.found
            soft[new] = graphs.extend(self.rows, found.soft, found.factors, rows[new], self.widths, self.neighbours)
        return self.found.classes[soft.argmax(axis=1)]


def svm_candidates(settings: Settings, widths: Sequence[int]) -> list[Any]:
    """SVMs with an RBF kernel, for columns of about unit variance."""
    from sklearn.svm import SVC

    return [SVC(C=cost, gamma=gamma / sum(widths)) for gamma in GAMMAS for cost in COSTS]


def tsvm_candidates(settings: Settings, widths: Sequence[int]) -> list[Any]:
    return [TransductiveSVM(shrinkage, weight) for shrinkage in SHRINKAGES for weight in UNLABELLED_WEIGHTS]


def _graphs(weighting: Callable[[Settings], graphs.Weighting]) -> Callable[[Settings, Sequence[int]], list[Any]]:
    def candidates(settings: Settings, widths: Sequence[int]) -> list[Any]:
        return [GraphClassifier(weighting(settings), int(settings["neighbours"]), tuple(widths))]

    return candidates


_NEIGHBOURS = {
    "neighbours": Hyperparameter(graphs.NEIGHBOURS, low=1, help="nearest rows to which a row is joined, per view")
}

SYSTEMS = (
    EstimatorSystem(
        "SVM", "SVM with an RBF kernel on all views side by side", svm_candidates, classes=True, paper="smvae"
    ),
    EstimatorSystem(
        "TSVM",
        "linear transductive SVM on all views side by side",
        tsvm_candidates,
        classes=True,
        unlabelled=True,
        paper="smvae",
    ),
    EstimatorSystem(
        "AMMSS",
        "labels spread over one graph per view, whose weights lie on a simplex",
        _graphs(lambda settings: graphs.ammss(float(settings["r"]))),
        classes=True,
        unlabelled=True,
        paper="smvae",
        hyperparameters=_NEIGHBOURS
        | {"r": Hyperparameter(2.0, low=1.01, help="exponent of the views' weights: the larger, the more even")},
    ),
    EstimatorSystem(
        "AMGL",
        "labels spread over one graph per view, whose weights have no parameter",
        _graphs(lambda settings: graphs.amgl()),
        classes=True,
        unlabelled=True,
        paper="smvae",
        hyperparameters=_NEIGHBOURS,
    ),
)
