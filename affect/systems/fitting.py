"""Packs of stacked networks in training: epochs, early stops, and the snapshots that become finished fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from affect.data.task import FitData, Inputs
from affect.systems.base import Fit, Replicate
from affect.systems.shards import ALONE, Shard
from affect.systems.training import (
    Network,
    Parameters,
    Scalars,
    Trainer,
    accuracy,
    alike,
    batch_rows,
    batches_per_epoch,
    concordance,
    epoch_size,
    pool_rows,
    pool_size,
)

SELECTION_ROWS, CALIBRATION_ROWS = 1024, 8192
"""Training rows (evenly spaced, at most so many) whose clean-path statistics stand for the training set's: in the
prediction after each epoch, which only selects, and in that of a finished fit."""
PREDICTION_ROWS = 8192
"""Rows predicted at a time."""


class StackedFitting:
    """K replicates of one network in training; follows `affect.systems.base.Fitting`.

    Per replicate and target the parameters of the best development epoch are kept. A replicate that diverges is
    frozen, one that is stopped is taken out of the stack; neither changes another bit of the others.
    """

    def __init__(
        self,
        network: Network,
        replicates: Sequence[Replicate],
        scalars: Sequence[Scalars],
        device: str,
        shard: Shard = ALONE,
    ) -> None:
        self.data = [replicate.data for replicate in replicates]
        first, settings = self.data[0], replicates[0].settings
        self.epochs, self.epoch = int(settings["epochs"]), 0
        pool = pool_rows(pool_size(first), settings)
        seeds = [replicate.seed for replicate in replicates]
        unlabelled = any("unlabelled" in update.reads for update in network.updates)
        rows = epoch_size(first) if unlabelled else len(first.labelled)
        batch_size = batch_rows(settings, rows)
        self.trainer = Trainer(network, self.data, seeds, scalars, batch_size, device, pool, shard)
        self.steps = batches_per_epoch(rows, batch_size)
        self.one_pool = alike([d.train for d in self.data]) and all(_same(d.pool, first.pool) for d in self.data)
        """Whether all replicates calibrate on the same rows in the same units."""
        calibration = [calibration_rows(d, SELECTION_ROWS) for d in (self.data[:1] if self.one_pool else self.data)]
        self.selection = (calibration[0] if self.one_pool else torch.stack(calibration)).to(device)
        """[C, D], or [K, C, D]"""
        parts = [d.development for d in self.data]
        seen = [part.take(slice(None)) for part in (parts[:1] if alike(parts) else parts)]
        self.development = (seen[0] if len(seen) == 1 else torch.stack(seen)).to(device)
        """[n, D] or, where replicates see it in units of their own, [K, n, D]"""
        self.live = list(range(len(replicates)))
        """Row of the stack → replicate."""
        self.status = ["complete"] * len(replicates)
        self.scored = (self.trainer.scalars["weights"] > 0).tolist()
        targets = len(first.targets)
        self.values = np.full((len(replicates), targets), -np.inf)
        self.kept_epochs = np.zeros((len(replicates), targets), np.int64)
        self.curves: list[list[tuple[int, str, str, float]]] = [[] for _ in replicates]
        self.learned: list[list[tuple[int, str, float]]] = [[] for _ in replicates]
        self.kept = self.trainer.flat.new_empty(targets, *self.trainer.flat.shape)
        """[T, rows of the stack, P]"""
        mean = np.stack([d.target_mean for d in self.data])[:, None]
        std = np.stack([d.target_std for d in self.data])[:, None]
        truth = (first.y_development[None] - mean) / std
        self.truth = torch.from_numpy(truth.astype(np.float32)).to(device)

    def advance(self) -> None:
        """Train one epoch, then look at the development data."""
        for _ in range(self.steps):
            self.trainer.step()
        self.epoch += 1
        self._look(self.trainer.predict(self.selection, self.development))

    def _look(self, prediction: Tensor) -> None:
        """Record the development values of this epoch and keep what improved; stop replicates that diverged."""
        network, score = self.trainer.network, accuracy if self.data[0].classes else concordance
        values = score(prediction, self.truth).double().cpu().numpy()
        finite = (torch.isfinite(self.trainer.flat).all(1) & torch.isfinite(prediction).all(2).all(1)).cpu().numpy()
        learned = {name: found.tolist() for name, found in network.learned(self.trainer.parameters).items()}
        for row, k in enumerate(self.live):
            if self.status[k] == "diverged":
                continue
            # Finite predictions may be too large for a finite score.
            if not (finite[row] and np.isfinite(values[row, self.scored[k]]).all()):
                self.status[k] = "diverged"
                self.trainer.optimiser.freeze(row)
                continue
            self.learned[k] += [(self.epoch, name, found[row]) for name, found in learned.items()]
            for t, target in enumerate(self.data[k].targets):
                if not self.scored[k][t]:
                    continue
                self.curves[k].append((self.epoch, "development", target, float(values[row, t])))
                if values[row, t] > self.values[k, t]:
                    self.values[k, t], self.kept_epochs[k, t] = values[row, t], self.epoch
                    self.kept[t, row].copy_(self.trainer.flat[row])

    def best(self) -> np.ndarray:
        """[K, T]"""
        known = np.isfinite(self.values) & (np.array(self.status) != "diverged")[:, None]
        return np.where(known, self.values, np.nan)

    def stop(self, replicates: Sequence[int]) -> None:
        """Take these out of the stack."""
        for k in replicates:
            self.status[k] = "stopped" if self.status[k] == "complete" else self.status[k]
        rows = [row for row, k in enumerate(self.live) if k not in replicates]
        if len(rows) == len(self.live):
            return
        self.live = [self.live[row] for row in rows]
        if rows:
            self.trainer.select(rows)
            self.kept, self.truth = self.kept[:, rows], self.truth[rows]
            self.development = self.development if self.development.dim() == 2 else self.development[rows]
            self.selection = self.selection if self.one_pool else self.selection[rows]
        else:
            self.epoch = self.epochs

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "live": self.live,
            "status": self.status,
            "values": torch.from_numpy(self.values),
            "kept_epochs": torch.from_numpy(self.kept_epochs),
            "curves": self.curves,
            "learned": self.learned,
            "kept": self.kept,
            "trainer": self.trainer.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.stop([k for k in range(len(self.data)) if k not in state["live"]])
        self.epoch = state["epoch"]
        self.status, self.curves = list(state["status"]), [list(curve) for curve in state["curves"]]
        self.learned = [list(each) for each in state["learned"]]
        self.values, self.kept_epochs = state["values"].numpy().copy(), state["kept_epochs"].numpy().copy()
        if self.live:
            self.kept.copy_(state["kept"])
            self.trainer.restore(state["trainer"])

    def fits(self) -> list[Fit]:
        device, rows = self.trainer.flat.device, {k: row for row, k in enumerate(self.live)}
        shared = calibration_rows(self.data[0], CALIBRATION_ROWS).to(device)
        fits = []
        for k, data in enumerate(self.data):
            own = shared if self.one_pool else calibration_rows(data, CALIBRATION_ROWS).to(device)
            fits.append(self._fit(k, rows.get(k), own))
        return fits

    @torch.no_grad()
    def _frozen(self, snapshot: Tensor, calibration: Tensor) -> Parameters:
        """A snapshot [P] as what predicts."""
        network = self.trainer.network
        return network.freeze(network.layout.unpack(snapshot[None].clone()), calibration)

    def _fit(self, k: int, row: int | None, calibration: Tensor) -> Fit:
        data, network = self.data[k], self.trainer.network
        columns = [t for t in range(len(data.targets)) if self.scored[k][t]]
        finished = row is not None and self.status[k] == "complete"
        snapshots = {t: self._frozen(self.kept[t, row], calibration) for t in columns} if finished else {}

        @torch.no_grad()
        def predict(inputs: Inputs) -> np.ndarray:
            out = np.full((len(inputs), len(data.targets)), np.nan)
            for start in range(0, len(inputs), PREDICTION_ROWS):
                rows = slice(start, start + PREDICTION_ROWS)
                x = inputs.take(rows).to(calibration.device)
                for t, parameters in snapshots.items():
                    found = network.predict(parameters, x)[0]
                    out[rows, t] = (found.argmax(-1) if data.classes else found[:, t]).cpu().numpy()
            return out * data.target_std + data.target_mean

        return Fit(
            self.status[k],
            predict,
            {data.targets[t]: int(self.kept_epochs[k, t]) for t in columns},
            tuple(self.curves[k]),
            tuple(self.learned[k]),
            imputation(network, next(iter(snapshots.values()))) if network.impute and snapshots else None,
        )


def imputation(network: Network, parameters: Parameters) -> Callable[[Inputs], np.ndarray]:
    """`Fit.impute` of one replicate."""
    device = next(iter(parameters.values())).device

    @torch.no_grad()
    def impute(inputs: Inputs) -> np.ndarray:
        filled = inputs.numpy()
        assert network.impute is not None
        for start in range(0, len(inputs), PREDICTION_ROWS):
            rows = slice(start, start + PREDICTION_ROWS)
            present = inputs.views_of(rows)
            if present is not None:
                x = torch.from_numpy(filled[rows]).to(device)
                filled[rows] = network.impute(parameters, x, present.to(device))[0].cpu().numpy()
        return filled

    return impute


def _same(pool: np.ndarray | None, other: np.ndarray | None) -> bool:
    return pool is other or (pool is not None and other is not None and np.array_equal(pool, other))


def calibration_rows(data: FitData, most: int) -> Tensor:
    """Normalised training rows [C, D] for inference statistics: all that a fit may use, or `most` evenly spaced ones."""
    rows = np.arange(data.n_train) if data.pool is None else data.pool
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)
    return data.train.take(torch.from_numpy(rows[chosen]))
