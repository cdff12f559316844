"""Floor rows: classical estimators from scikit-learn on the labelled subset, regularisation picked on development data."""

from __future__ import annotations

from typing import Any

from affect.systems.estimators import EstimatorSystem

ALPHAS = tuple(float(10.0**power) for power in range(-2, 5))
COSTS = (0.1, 1.0, 10.0)
LOGISTIC_COSTS = tuple(float(10.0**power) for power in range(-4, 3))


def _ridge(*_: Any) -> list[Any]:
    from sklearn.linear_model import Ridge

    return [Ridge(alpha=alpha) for alpha in ALPHAS]


def _svr(*_: Any) -> list[Any]:
    from sklearn.svm import SVR

    return [SVR(kernel="precomputed", C=cost) for cost in COSTS]


def _logistic(*_: Any) -> list[Any]:
    from sklearn.linear_model import LogisticRegression

    return [LogisticRegression(C=cost, max_iter=1000) for cost in LOGISTIC_COSTS]


def _tfidf_ridge(*_: Any) -> list[Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    return [
        make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), Ridge(alpha=alpha))
        for alpha in (0.1, 1.0, 10.0)
    ]


SYSTEMS = (
    EstimatorSystem("ridge", "ridge regression on the normalised view", _ridge),
    EstimatorSystem("svr", "support vector regression with an RBF kernel on the normalised view", _svr, kernel=True),
    EstimatorSystem("logistic", "logistic regression on the normalised views", _logistic, classes=True),
    EstimatorSystem(
        "tfidf_ridge", "ridge regression on sparse TF-IDF of the text (1-2-grams)", _tfidf_ridge, needs_text=True
    ),
)
