"""Stages: networks that learn from inputs alone before something else is fitted. Learned once, shared by all that need it.

What is learned depends on the inputs, the stage's own settings and the seed. Within a process it is kept under the digest
of these, so that systems, label fractions and candidates which agree in them share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from affect.data.task import FitData
from affect.errors import UserError
from affect.systems import representations
from affect.systems.base import Facts, Fit, Hyperparameter, Replicate
from affect.systems.missing import refuse_contradictions
from affect.systems.probe import probe
from affect.systems.refusals import refuse_latent, refuse_single_view
from affect.systems.training import Network, Parameters, Trainer, batches_per_epoch, facts_of
from affect.trial import Settings

T = TypeVar("T")

MOST = 256
"""Results of stages that a process keeps: about 0.5 MB each at P2's sizes."""

_kept: dict[str, Any] = {}
"""Digest → result, the oldest first."""


def kept(keys: Sequence[str], make: Callable[[Sequence[int]], Sequence[T]]) -> list[T]:
    """The result of each key, of which `make` gives those that are not kept: positions among `keys` → results."""
    found = {key: _kept[key] for key in keys if key in _kept}
    wanted = {key: k for k, key in enumerate(keys) if key not in found}
    if wanted:
        found |= zip(wanted, make(list(wanted.values())), strict=True)
        _kept.update((key, found[key]) for key in wanted)
        for key in list(_kept)[:-MOST]:
            del _kept[key]
    return [found[key] for key in keys]


def digest(x: np.ndarray, *named: Any) -> str:
    """Of inputs and of whatever else determines a result, as JSON."""
    return hashlib.sha256(json.dumps([x.shape, *named]).encode() + x.tobytes()).hexdigest()


@dataclass(frozen=True)
class Stage:
    """A network of inputs alone, trained by Adam to its last epoch."""

    name: str
    network: Callable[[Settings, Facts], Network]
    hyperparameters: Mapping[str, Hyperparameter]
    rows_per_latent: int = 0
    """A batch has at least so many rows per latent dimension: with fewer, covariances have no inverse but r's."""

    def refuse(self, system: str, settings: Settings, facts: Facts, prefix: str = "") -> None:
        """A `UserError` for settings and sizes that this stage cannot do; `prefix` is that of its settings' names."""
        refuse_single_view(system, facts)
        refuse_latent(system, settings, facts, prefix)
        if rows := facts.n_complete or facts.n_pool:
            self._refuse_few(system, settings, rows, prefix)

    def structure(self, settings: Settings) -> tuple[Any, ...]:
        return (self.name, *(settings[name] for name, hp in self.hyperparameters.items() if hp.structural))

    def steps(self, settings: Settings, facts: Facts) -> int:
        return int(settings["epochs"]) * batches_per_epoch(facts.n_epoch, int(settings["batch_size"]))

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """See `affect.systems.base.System.probe`."""
        network, size = self.network(settings, facts), int(settings["batch_size"])
        return probe(network, self._scalars(settings), facts, size, device, largest)

    def seconds(self, settings: Settings, facts: Facts, device: str) -> float:
        """What learning takes, as measured."""
        _, each = self.probe(settings, facts, device, 1)
        return each * self.steps(settings, facts)

    def learn(self, system: str, replicates: Sequence[Replicate], device: str) -> list[Parameters | None]:
        """Frozen parameters of each replicate, on the CPU; None where they diverged. Replicates share their structure;
        their settings are this stage's."""
        rows = [complete_rows(system, replicate.data) for replicate in replicates]
        keys = [self._key(each, index, device) for each, index in zip(replicates, rows, strict=True)]

        def train(chosen: Sequence[int]) -> list[Parameters]:
            # Batches are stacked, so those learn together that have equally many complete rows.
            found: dict[int, Parameters] = {}
            for count in dict.fromkeys(len(rows[k]) for k in chosen):
                some = [k for k in chosen if len(rows[k]) == count]
                learned = self._train(system, [replicates[k] for k in some], [rows[k] for k in some], device)
                found.update(zip(some, learned, strict=True))
            return [found[k] for k in chosen]

        return [found if _finite(found) else None for found in kept(keys, train)]

    def _train(
        self, system: str, replicates: Sequence[Replicate], rows: Sequence[np.ndarray], device: str
    ) -> list[Parameters]:
        settings, batch_size = replicates[0].settings, int(replicates[0].settings["batch_size"])
        self._refuse_few(system, settings, len(rows[0]), "")
        data = [
            replace(replicate.data, train=replace(replicate.data.train, present=None), pool=index)
            for replicate, index in zip(replicates, rows, strict=True)
        ]
        network = self.network(settings, facts_of(data[0]))
        seeds, scalars = [r.seed for r in replicates], [self._scalars(r.settings) for r in replicates]
        trainer = Trainer(network, data, seeds, scalars, batch_size, device)
        for _ in range(self.steps(settings, facts_of(replicates[0].data))):
            trainer.step()
        flat = trainer.flat.cpu()
        with torch.no_grad():
            return [
                network.freeze(network.layout.unpack(flat[k : k + 1].clone()), one.train.take(torch.from_numpy(index)))
                for k, (one, index) in enumerate(zip(data, rows, strict=True))
            ]

    def _scalars(self, settings: Settings) -> dict[str, float]:
        return {name: float(settings[name]) for name, hp in self.hyperparameters.items() if not hp.structural}

    def _refuse_few(self, system: str, settings: Settings, rows: int, prefix: str) -> None:
        """Refuse batches of `rows` that have every view if they are too small for the latent dimensions."""
        size, latent = int(settings["batch_size"]), int(settings["latent"])
        batch, fewest = rows // batches_per_epoch(rows, size), self.rows_per_latent * latent
        if batch < fewest:
            larger = f"{prefix}batch_size so that they have at least {fewest}, or " if rows >= fewest else ""
            raise UserError(
                f"{system}: {rows:,} rows have every view, and batches of {batch} are too few for {latent} latent dimensions; "
                f"choose {larger}{prefix}latent of at most {batch // self.rows_per_latent}."
            )

    def _key(self, replicate: Replicate, rows: np.ndarray, device: str) -> str:
        own = {name: replicate.settings[name] for name in self.hyperparameters}
        train = replace(replicate.data.train, present=None)
        kind = device.partition(":")[0]
        steps = self.steps(own, facts_of(replicate.data))
        return digest(train.numpy(rows), train.widths, self.name, own, steps, replicate.seed, kind)


def diverged(data: FitData) -> Fit:
    """What becomes of a replicate whose stage diverged."""
    return Fit("diverged", lambda inputs: np.full((len(inputs), len(data.targets)), np.nan))


def training_rows(data: FitData) -> np.ndarray:
    """Positions in `data.train` of the rows from which stages learn: the pool, which in a transductive task is the labelled
    rows and the test part (P2, Section 4.2.1)."""
    return np.arange(len(data.train)) if data.pool is None else data.pool


def complete_rows(system: str, data: FitData) -> np.ndarray:
    """Those of the training rows that have every view."""
    rows = training_rows(data)
    if data.train.present is None:
        return rows
    refuse_contradictions(system, data, None)
    whole = rows[data.train.present[rows].all(axis=1)]
    if len(whole) == 0:
        raise UserError(f"{system}: no training row has every view, so nothing relates them.")
    return whole


def _finite(parameters: Parameters) -> bool:
    return all(bool(value.isfinite().all()) for value in parameters.values())


MAE = Stage("MAE", representations.mae_network, representations.MAE_SETTINGS)
DCCA = Stage("DCCA", representations.dcca_network, representations.DCCA_SETTINGS, rows_per_latent=2)
DCCAE = Stage("DCCAE", representations.dccae_network, representations.DCCAE_SETTINGS, rows_per_latent=2)
CORRNET = Stage("CorrNet", representations.corrnet_network, representations.CORRNET_SETTINGS)
