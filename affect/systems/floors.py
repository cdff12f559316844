"""Floor rows: classical estimators from scikit-learn on the labelled subset, regularisation picked on development data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affect.data.task import FitData, Inputs
from affect.stats.concordance import ccc
from affect.study import Settings
from affect.systems.base import AtOnce, Facts, Fit, Fitting, Hyperparameter, Replicate
from affect.systems.shards import ALONE, Shard

ALPHAS = tuple(float(10.0**power) for power in range(-2, 5))
COSTS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class EstimatorSystem:
    """A scikit-learn regressor per target; follows `affect.systems.base.System`.

    `candidates()` gives the unfitted estimators between which development data choose, per target.
    """

    name: str
    description: str
    candidates: Callable[[], Sequence[Any]]
    needs_text: bool = False
    version: int = 1
    paper: str = "floor"
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    presets: Mapping[str, Settings] = field(default_factory=lambda: {"paper": {}})
    seeded: bool = False

    def check(self, settings: Settings) -> None:
        """Nothing to contradict."""

    def scored_targets(self, settings: Settings, targets: Sequence[str]) -> tuple[str, ...]:
        return tuple(targets)

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        return (self.name, facts)

    def steps(self, settings: Settings, facts: Facts) -> int:
        return 1

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """Estimators gain nothing from a pack; the time is a rough guess (quadratic in the labels for kernels)."""
        quadratic = facts.n_labelled**2 * facts.width * 2e-9
        return 1, 0.5 + (quadratic if self.name == "svr" else 0.0)

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        return AtOnce(replicates, lambda replicate: self._fit(replicate.data))

    def _fit(self, data: FitData) -> Fit:
        train = self._features(data.train, data.labelled)
        development = self._features(data.development)
        chosen = []
        for t in range(len(data.targets)):
            y = (data.y_labelled[:, t] - data.target_mean[t]) / data.target_std[t]
            truth = (data.y_development[:, t] - data.target_mean[t]) / data.target_std[t]
            fitted = [estimator.fit(train, y) for estimator in self.candidates()]
            scores = [ccc(truth, estimator.predict(development)) for estimator in fitted]
            chosen.append(fitted[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))])

        def predict(inputs: Inputs) -> np.ndarray:
            x = self._features(inputs)
            return np.stack([e.predict(x) for e in chosen], 1) * data.target_std + data.target_mean

        return Fit("complete", predict, dict.fromkeys(data.targets, 0))

    def _features(self, inputs: Inputs, index: np.ndarray | None = None) -> np.ndarray:
        """Rows `index` (all by default) of the numeric view [n, D], or their texts [n]."""
        if not self.needs_text:
            return inputs.numpy(index)
        assert inputs.text is not None, "planning admits text systems only on corpora with text"
        return inputs.text if index is None else inputs.text[index]


def _ridge() -> list[Any]:
    from sklearn.linear_model import Ridge

    return [Ridge(alpha=alpha) for alpha in ALPHAS]


def _svr() -> list[Any]:
    from sklearn.svm import SVR

    return [SVR(C=cost) for cost in COSTS]


def _tfidf_ridge() -> list[Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    return [
        make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), Ridge(alpha=alpha))
        for alpha in (0.1, 1.0, 10.0)
    ]


SYSTEMS = (
    EstimatorSystem("ridge", "ridge regression on the normalised view", _ridge),
    EstimatorSystem("svr", "support vector regression with an RBF kernel on the normalised view", _svr),
    EstimatorSystem(
        "tfidf_ridge", "ridge regression on sparse TF-IDF of the text (1-2-grams)", _tfidf_ridge, needs_text=True
    ),
)
