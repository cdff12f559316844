"""P2's two-stage classifiers: SVM or TSVM on a representation that MAE, DCCA or DCCAE learned from inputs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from affect.data.task import Inputs
from affect.systems.base import AtOnce, Facts, Fit, Fitting, Replicate
from affect.systems.classic import svm_candidates, tsvm_candidates
from affect.systems.estimators import EstimatorSystem
from affect.systems.refusals import refuse_hidden
from affect.systems.shards import ALONE, Shard
from affect.systems.stages import DCCA, DCCAE, MAE, Stage, diverged
from affect.systems.training import facts_of
from affect.trial import Settings


@dataclass(frozen=True, kw_only=True)
class RepresentedSystem(EstimatorSystem):
    """An estimator on what a stage makes of the views; follows `affect.systems.base.System`."""

    stage: Stage

    def check(self, settings: Settings) -> None:
        refuse_hidden(self.name, settings)

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        self.stage.refuse(self.name, settings, facts)
        return (*super().structure(settings, facts), *self.stage.structure(settings))

    def steps(self, settings: Settings, facts: Facts) -> int:
        return self.stage.steps(settings, facts)

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """The stage's, to which the guess for the estimators is added."""
        size, seconds = self.stage.probe(settings, facts, device, largest)
        _, rest = super().probe(settings, facts, device, largest)
        return size, seconds + rest / self.steps(settings, facts)

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        learned = self.stage.learn(self.name, replicates, device)
        frozen = {id(replicate): parameters for replicate, parameters in zip(replicates, learned, strict=True)}
        network = self.stage.network(replicates[0].settings, facts_of(replicates[0].data))

        def fit(replicate: Replicate) -> Fit:
            parameters = frozen[id(replicate)]
            if parameters is None:
                return diverged(replicate.data)

            @torch.no_grad()
            def features(inputs: Inputs, index: np.ndarray | None) -> np.ndarray:
                x = inputs.take(slice(None) if index is None else torch.from_numpy(index))
                return network.predict(parameters, x)[0].numpy()

            width = features(replicate.data.train, np.zeros(1, np.int64)).shape[1]
            return self._fit(replicate, features, (width,))

        return AtOnce(replicates, fit)


def _systems(stage: Stage, does: str) -> tuple[RepresentedSystem, RepresentedSystem]:
    shared: dict[str, Any] = {
        "classes": True,
        "paper": "smvae",
        "hyperparameters": stage.hyperparameters,
        "seeded": True,
        "stage": stage,
        "version": 2,
    }
    return (
        RepresentedSystem(f"{stage.name}+SVM", f"SVM on {does}", svm_candidates, **shared),
        RepresentedSystem(f"{stage.name}+TSVM", f"linear TSVM on {does}", tsvm_candidates, unlabelled=True, **shared),
    )


SYSTEMS = (
    *_systems(MAE, "the code of an autoencoder of all views"),
    *_systems(DCCA, "codes of views that correlate most"),
    *_systems(DCCAE, "codes of views that correlate and can be decoded"),
)
