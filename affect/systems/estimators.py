"""Systems made of scikit-learn estimators: a few candidates are fitted, and development data pick one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affect.data.task import FitData, Inputs
from affect.errors import UserError
from affect.stats.metrics import score_columns
from affect.systems.base import AtOnce, Facts, Fit, Fitting, Hyperparameter, Replicate
from affect.systems.refusals import refuse_absent_classes
from affect.systems.shards import ALONE, Shard
from affect.trial import Settings

Features = Callable[[Inputs, np.ndarray | None], np.ndarray]
"""(n samples, positions of those that are wanted or None for all) → what estimators see of them, one row each."""

BLOCK = 1024
"""Rows of a kernel that are computed at a time."""
UNLABELLED = -1.0
"""The target of unlabelled rows, as scikit-learn's semi-supervised estimators have it."""


@dataclass(frozen=True)
class EstimatorSystem:
    """An estimator per target; follows `affect.systems.base.System`.

    `candidates(settings, widths)` gives the unfitted estimators between which development data choose, per target;
    `widths` are the columns of each view.
    """

    name: str
    description: str
    candidates: Callable[[Settings, tuple[int, ...]], Sequence[Any]]
    classes: bool = False
    """Whether it tells classes apart; otherwise it predicts continuous targets."""
    unlabelled: bool = False
    """Whether it fits on the unlabelled pool too."""
    kernel: bool = False
    """Whether its estimators see, in the place of a row's columns, its RBF kernel with each labelled row."""
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

    def may_lack(self, settings: Settings, views: int) -> Collection[int]:
        return ()

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        if self.classes != bool(facts.classes):
            does, has = ("tells classes apart", "none") if self.classes else ("predicts values", "classes")
            raise UserError(f"{self.name} {does}; {', '.join(facts.targets)} has {has}.")
        return (self.name, facts)

    def steps(self, settings: Settings, facts: Facts) -> int:
        return 1

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """Estimators gain nothing from a pack; the time is a rough guess."""
        seconds = 0.5
        if self.unlabelled:
            seconds += facts.n_pool**2 * facts.width * 2e-9
        if self.kernel:
            seconds += facts.n_labelled**2 * (facts.width * 1e-10 + 1e-7)
        return 1, seconds

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        return AtOnce(
            replicates,
            lambda r: self._fit(r, _kernel(r.data) if self.kernel else self._features, r.data.train.widths),
        )

    def _fit(self, replicate: Replicate, features: Features, widths: tuple[int, ...]) -> Fit:
        data = replicate.data
        if self.classes:
            refuse_absent_classes(self.name, data)
        rows = data.labelled
        if self.unlabelled:
            pool = np.arange(len(data.train)) if data.pool is None else data.pool
            rows = np.concatenate([rows, np.setdiff1d(pool, rows)])
        train, development = features(data.train, rows), features(data.development, None)
        chosen = []
        for t in range(len(data.targets)):
            y = np.full(len(rows), UNLABELLED)
            y[: len(data.labelled)] = (data.y_labelled[:, t] - data.target_mean[t]) / data.target_std[t]
            truth = (data.y_development[:, t] - data.target_mean[t]) / data.target_std[t]
            fitted = [e.fit(train, y) for e in self.candidates(replicate.settings, widths)]
            predicted = np.stack([estimator.predict(development) for estimator in fitted], 1)
            scores = score_columns(data.metric, np.repeat(truth[:, None], len(fitted), 1), predicted)
            chosen.append(fitted[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))])

        def predict(inputs: Inputs) -> np.ndarray:
            x = features(inputs, None)
            return np.stack([e.predict(x) for e in chosen], 1) * data.target_std + data.target_mean

        return Fit("complete", predict, dict.fromkeys(data.targets, 0))

    def _features(self, inputs: Inputs, index: np.ndarray | None = None) -> np.ndarray:
        """The numeric views side by side [n, D], or the texts [n]."""
        if not self.needs_text:
            return inputs.numpy(index)
        assert inputs.text is not None, "planning admits text systems only on corpora with text"
        return inputs.text if index is None else inputs.text[index]


def _kernel(data: FitData) -> Features:
    """n samples → their RBF kernel [n, labelled rows], as wide as scikit-learn's `gamma="scale"`. One matrix product
    serves all candidates and targets, where libsvm would compute each of its entries again for each of them."""
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.utils import gen_batches

    rows = data.train.numpy(data.labelled).astype(np.float64)
    gamma = 1 / (rows.shape[1] * (rows.var() or 1.0))

    def features(inputs: Inputs, index: np.ndarray | None) -> np.ndarray:
        positions = np.arange(len(inputs)) if index is None else index
        found = np.empty((len(positions), len(rows)))
        for block in gen_batches(len(positions), BLOCK):  # the kernel of all rows at once would be there twice
            found[block] = rbf_kernel(inputs.numpy(positions[block]).astype(np.float64), rows, gamma)
        return found

    return features
