"""P2's two-stage systems for missing views: an imputation without labels, then SMVAE on what it filled in.

SMVAE trains on the filled-in rows as if they had been seen. The imputations are softImpute-ALS (`soft_impute`), DCCAE and
CorrNet (`representations`), trained on the rows that have every view, and as their floor the training means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from affect.data.task import FitData, Inputs
from affect.streams import stream
from affect.systems import latents, multiview, soft_impute, training
from affect.systems.base import Facts, Fit, Fitting, Hyperparameter, Replicate
from affect.systems.fitting import StackedFitting, imputation
from affect.systems.refusals import refuse_hidden
from affect.systems.shards import ALONE, Shard
from affect.systems.stages import CORRNET, DCCAE, Stage, digest, diverged, kept, training_rows
from affect.systems.training import facts_of
from affect.systems.vae import GenerativeSystem
from affect.trial import Settings

PREFIX = "imputer_"
"""Of the settings of an imputation, beside SMVAE's of the same names."""

Impute = Callable[[Inputs], np.ndarray]
"""See `Fit.impute`."""
Imputer = Callable[[str, Sequence[Replicate], str], Sequence[Impute | None]]
"""(System, replicates, device) → what fills in the inputs of each; None where it diverged."""


def by_means(system: str, replicates: Sequence[Replicate], device: str) -> list[Impute]:
    """Missing views are zeros, for inputs are normalised."""
    return [lambda inputs: inputs.numpy() for _ in replicates]


def by_low_rank(system: str, replicates: Sequence[Replicate], device: str) -> list[Impute]:
    """softImpute-ALS on the training rows."""
    rows = [training_rows(replicate.data) for replicate in replicates]

    def fit(k: int) -> Impute:
        train, seed = replicates[k].data.train, replicates[k].seed
        if train.present is None or train.present[rows[k]].all():
            return lambda inputs: inputs.numpy()
        x = train.numpy(rows[k]).astype(np.float64)
        found, shrinkage = soft_impute.fit_views(x, train.present[rows[k]], train.widths, stream(seed, "hidden_views"))
        basis = found.basis

        def impute(inputs: Inputs) -> np.ndarray:
            x = inputs.numpy()
            if inputs.present is None:
                return x
            whole = soft_impute.completed(x.astype(np.float64), inputs.present, inputs.widths, basis, shrinkage)
            return whole.astype(np.float32)

        return impute

    keys = [_key(replicate, index) for replicate, index in zip(replicates, rows, strict=True)]
    return kept(keys, lambda chosen: [fit(k) for k in chosen])


def _key(replicate: Replicate, rows: np.ndarray) -> str:
    train = replicate.data.train
    present = None if train.present is None else train.present[rows].tobytes().hex()
    return digest(train.numpy(rows), train.widths, "softImpute-ALS", present, replicate.seed)


def by_stage(stage: Stage) -> Imputer:
    """The network of a stage that can fill in views."""

    def impute(system: str, replicates: Sequence[Replicate], device: str) -> list[Impute | None]:
        own = [replace(replicate, settings=_own(replicate.settings)) for replicate in replicates]
        network = stage.network(own[0].settings, facts_of(own[0].data))
        return [None if p is None else imputation(network, p) for p in stage.learn(system, own, device)]

    return impute


def _own(settings: Settings) -> dict[str, Any]:
    """An imputation's settings, by its own names."""
    return {name.removeprefix(PREFIX): value for name, value in settings.items() if name.startswith(PREFIX)}


class ImputedFitting(StackedFitting):
    """A pack whose inputs were filled in; `imputes` says by what."""

    imputes: Sequence[Impute | None] = ()

    def fits(self) -> list[Fit]:
        found = []
        for fit, impute, data in zip(super().fits(), self.imputes, self.data, strict=True):
            if impute is None:
                found.append(diverged(data))
            else:
                found.append(replace(fit, impute=impute) if fit.status == "complete" else fit)
        return found


@dataclass(frozen=True, kw_only=True)
class ImputedSystem(GenerativeSystem):
    """A generative system after an imputation; follows `affect.systems.base.System`."""

    imputer: Imputer
    stage: Stage | None = None
    """The stage behind the imputer."""

    def check(self, settings: Settings) -> None:
        super().check(settings)
        if PREFIX + "hidden" in settings:
            refuse_hidden(self.name, settings, PREFIX + "hidden")

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        if self.stage:
            self.stage.refuse(self.name, _own(settings), facts, PREFIX)
        return super().structure(settings, facts)

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """The generative system's, to which the stage's time is added."""
        size, seconds = super().probe(settings, facts, device, largest)
        if self.stage:
            seconds += self.stage.seconds(_own(settings), facts, device) / self.steps(settings, facts)
        return size, seconds

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        for replicate in replicates:
            self._check_data(replicate)
        imputes = self.imputer(self.name, replicates, device)
        whole = side_by_side([replicate.data for replicate in replicates], imputes)
        ready = [replace(replicate, data=data) for replicate, data in zip(replicates, whole, strict=True)]
        network = self.network(ready[0].settings, training.facts_of(ready[0].data))
        scalars = [self.scalars(r.settings, r.data.targets) for r in ready]
        fitting = ImputedFitting(network, ready, scalars, device, shard)
        fitting.imputes = imputes
        return fitting


def side_by_side(data: Sequence[FitData], imputes: Sequence[Impute | None]) -> list[FitData]:
    """Tasks whose rows were filled in each in its own way, as tasks that share their arrays, which replicates of a pack
    do: the K · N filled-in rows in one, of which each task labels its own and has its own as pool."""
    if all(each.train.present is None for each in data):
        return list(data)
    filled = [
        each.train.numpy() if impute is None else impute(each.train) for each, impute in zip(data, imputes, strict=True)
    ]
    n, widths = len(filled[0]), data[0].train.widths
    arrays = tuple(np.split(np.concatenate(filled), np.cumsum(widths)[:-1], axis=1))
    train = Inputs(arrays, np.arange(len(data) * n), np.zeros(sum(widths)), np.ones(sum(widths)))
    return [
        replace(
            each,
            train=train,
            labelled=each.labelled + k * n,
            pool=(np.arange(n) if each.pool is None else each.pool) + k * n,
        )
        for k, each in enumerate(data)
    ]


_SMVAE = next(system for system in multiview.SYSTEMS if system.name == "SMVAE")
_ON_FEATURES = {name: hp for name, hp in _SMVAE.hyperparameters.items() if name not in latents.SETTINGS}


def _system(name: str, does: str, imputer: Imputer, stage: Stage | None = None) -> ImputedSystem:
    own: Mapping[str, Hyperparameter] = stage.hyperparameters if stage else {}
    return ImputedSystem(
        name,
        f"SMVAE on missing views filled in by {does}",
        _SMVAE.network,
        {**_ON_FEATURES, **{PREFIX + setting: hp for setting, hp in own.items()}},
        _SMVAE.presets,
        version=2 if stage else 1,
        takes_missing_views=True,
        imputer=imputer,
        stage=stage,
    )


SYSTEMS = (
    _system("MeanImputation", "their training means", by_means),
    _system("SoftImputeALS", "a matrix of low rank", by_low_rank),
    _system("DCCAE", "what is decoded from correlated codes of the others", by_stage(DCCAE), DCCAE),
    _system("CorrNet", "a correlational network", by_stage(CORRNET), CORRNET),
)
