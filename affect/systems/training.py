"""Training of packs: K replicates of one network as a single stacked computation.

A network is a layout of parameters, an initialiser, one or more updates per step and a prediction. An update's loss is a
pure function (parameters, batches, scalars) → loss [K]; its noise is drawn beforehand, per replicate, from that
replicate's own streams, which is why a result does not depend on what shares the pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from affect.data.task import FitData, Inputs
from affect.streams import stream, torch_stream
from affect.systems.base import Facts, Fit, Replicate, Report
from affect.systems.stack import Layout, NAdam

SELECTION_ROWS, CALIBRATION_ROWS = 1024, 8192
"""Training rows (evenly spaced, at most so many) whose clean-path statistics stand for the training set's: in the
prediction after each epoch, which only selects, and in that of a finished fit."""
PREDICTION_ROWS = 8192
"""Rows predicted at a time."""

Parameters = Mapping[str, Tensor]
Scalars = Mapping[str, float | list[float]]
"""One replicate's settings that may differ within a pack; `learning_rate` and `weights` (per target) among them."""


@dataclass(frozen=True)
class Batch:
    """One mini-batch of K replicates with its noise."""

    x: Tensor
    """[K, B, D]"""
    y: Tensor
    """[K, B, T] normalised targets; empty for unlabelled batches."""
    normal: tuple[Tensor, ...]
    """Standard normal draws [K, B, d], one per width that the update asked for. May be overwritten."""
    uniform: tuple[Tensor, ...]
    """Uniform draws [K, B, d] in [0, 1). May be overwritten."""


Loss = Callable[[Parameters, Mapping[str, Batch], Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Update:
    """One optimiser update of a step: the batches it reads, its loss, and the noise widths it needs per row."""

    name: str
    reads: tuple[str, ...]
    loss: Loss
    normal: tuple[int, ...]
    uniform: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A stacked network."""

    layout: Layout
    initial: Callable[[int], Mapping[str, Tensor]]
    """Seed → one replicate's parameters."""
    updates: tuple[Update, ...]
    """The updates of one step, in order."""
    predict: Callable[[Parameters, Tensor, Tensor], Tensor]
    """(parameters, calibration rows [C, D], inputs [n, D]) → normalised predictions [K, n, T]."""


def concordance(prediction: Tensor, truth: Tensor) -> Tensor:
    """CCC (Lin 1989, biased moments) over dim -2: [..., B, T] → [..., T]."""
    p = prediction - prediction.mean(-2, keepdim=True)
    t = truth - truth.mean(-2, keepdim=True)
    gap = prediction.mean(-2) - truth.mean(-2)
    covariance = (p * t).mean(-2)
    return 2 * covariance / (p.square().mean(-2) + t.square().mean(-2) + gap.square() + 1e-12)


def concordance_loss(prediction: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Σ_t w_t (1 - CCC_t) [K] of prediction and truth [K, B, T] (Eq. 2 with C = 1 - CCC); weights [K, T]."""
    return (weights * (1 - concordance(prediction, truth))).sum(-1)


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """An epoch is cut into this many batches of (nearly) equal size, so that no tiny last batch makes a CCC of noise."""
    return max(1, round(rows / batch_size))


def batch_order(rows: int, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches of positions 0..rows-1: a fresh permutation per epoch, cut evenly."""
    while True:
        yield from np.array_split(generator.permutation(rows), batches_per_epoch(rows, batch_size))


class _Source:
    """Mini-batches of one kind (labelled or unlabelled) for all replicates, with their noise."""

    def __init__(
        self, kind: str, data: Sequence[FitData], seeds: Sequence[int], batch_size: int, update: Update, device: str
    ) -> None:
        labelled = kind == "labelled"
        self.inputs = data[0].train
        self.positions = [torch.from_numpy(d.labelled if labelled else np.arange(len(d.train))) for d in data]
        self.targets = [torch.from_numpy(_normalised(d).astype(np.float32)) if labelled else None for d in data]
        self.orders = [
            batch_order(len(p), batch_size, stream(seed, "batches", kind))
            for p, seed in zip(self.positions, seeds, strict=True)
        ]
        self.update, self.device = update, device
        self.noise = [torch_stream(seed, "noise", kind, device=device) for seed in seeds]
        self.dropout = [torch_stream(seed, "dropout", kind, device=device) for seed in seeds]

    def next(self) -> Batch:
        chosen = [torch.from_numpy(next(order)) for order in self.orders]
        k, rows = len(chosen), len(chosen[0])
        index = torch.cat([p[c] for p, c in zip(self.positions, chosen, strict=True)])
        x = self.inputs.take(index).to(self.device).view(k, rows, -1)
        y = [t[c] for t, c in zip(self.targets, chosen, strict=True) if t is not None]
        return Batch(
            x,
            torch.stack(y).to(self.device) if y else x.new_empty(k, rows, 0),
            tuple(self._draw(self.noise, rows, width, "normal_") for width in self.update.normal),
            tuple(self._draw(self.dropout, rows, width, "uniform_") for width in self.update.uniform),
        )

    def _draw(self, generators: Sequence[torch.Generator], rows: int, width: int, fill: str) -> Tensor:
        out = torch.empty(len(generators), rows, width, device=self.device)
        for slot, generator in zip(out, generators, strict=True):
            getattr(slot, fill)(generator=generator)
        return out


def _normalised(data: FitData) -> np.ndarray:
    return (data.y_labelled - data.target_mean) / data.target_std


class Trainer:
    """State of a pack between steps: parameters, optimiser, batches. `step()` makes every update of a step once."""

    def __init__(
        self,
        network: Network,
        data: Sequence[FitData],
        seeds: Sequence[int],
        scalars: Sequence[Scalars],
        batch_size: int,
        device: str,
    ) -> None:
        self.network = network
        self.flat = network.layout.pack([network.initial(seed) for seed in seeds]).to(device)
        self.parameters = {
            name: view.detach().requires_grad_() for name, view in network.layout.unpack(self.flat).items()
        }
        self.scalars = {name: torch.tensor([s[name] for s in scalars], device=device) for name in scalars[0]}
        self.optimiser = NAdam(self.flat, self.scalars["learning_rate"].tolist())
        self.sources = {
            kind: _Source(kind, data, seeds, batch_size, update, device)
            for update in network.updates
            for kind in update.reads
        }

    def step(self) -> list[Tensor]:
        """All updates of one step, in order; returns their losses [K]."""
        losses = []
        for update in self.network.updates:
            batches = {kind: self.sources[kind].next() for kind in update.reads}
            loss = update.loss(self.parameters, batches, self.scalars)
            gradients = torch.autograd.grad(loss.sum(), list(self.parameters.values()), materialize_grads=True)
            self.optimiser.update(gradients)
            losses.append(loss.detach())
        return losses

    @torch.no_grad()
    def predict(self, calibration: Tensor, x: Tensor) -> Tensor:
        """Normalised predictions [K, n, T] of inputs [n, D]."""
        predict = self.network.predict
        if not self.flat.is_cpu:
            return predict(self.parameters, calibration, x)
        # One replicate at a time: the activations of all of n rows would not fit in cache, nor K of them in reason.
        rows = [
            predict({name: value[k : k + 1] for name, value in self.parameters.items()}, calibration, x)
            for k in range(len(self.flat))
        ]
        return torch.cat(rows)


def calibration_rows(data: FitData, most: int) -> Tensor:
    """Normalised training rows [C, D] for inference statistics: all of them, or `most` evenly spaced ones."""
    count = min(most, data.n_train)
    return data.train.take(torch.from_numpy(np.linspace(0, data.n_train - 1, count).astype(np.int64)))


def facts_of(data: FitData) -> Facts:
    """Sizes of a task as `System.structure` knows them when planning."""
    return Facts(data.train.width, data.targets, len(data.labelled), len(data.train), len(data.development))


def fit_pack(
    network: Network,
    replicates: Sequence[Replicate],
    scalars: Sequence[Scalars],
    *,
    device: str,
    report: Report,
) -> list[Fit]:
    """Train a pack and keep, per replicate and target, the parameters of its best development epoch."""
    data = [r.data for r in replicates]
    first, settings = data[0], replicates[0].settings
    epochs, batch_size = int(settings["epochs"]), int(settings["batch_size"])
    trainer = Trainer(network, data, [r.seed for r in replicates], scalars, batch_size, device)
    driving = "unlabelled" if "unlabelled" in trainer.sources else "labelled"
    rows = len(first.train) if driving == "unlabelled" else len(first.labelled)
    selection = calibration_rows(first, SELECTION_ROWS).to(device)
    development = first.development.take(slice(None)).to(device)
    keeper = _Keeper(trainer, data)
    for epoch in range(1, epochs + 1):
        for _ in range(batches_per_epoch(rows, batch_size)):
            trainer.step()
        keeper.look(epoch, trainer.predict(selection, development))
        report(epoch, epochs)
    calibration = calibration_rows(first, CALIBRATION_ROWS).to(device)
    return [keeper.fit(k, calibration) for k in range(len(replicates))]


class _Keeper:
    """Watches development predictions: best epoch and snapshot per replicate and target, curves, divergence."""

    def __init__(self, trainer: Trainer, data: Sequence[FitData]) -> None:
        self.trainer, self.data = trainer, data
        k, t = len(data), len(data[0].targets)
        device = trainer.flat.device
        mean = np.stack([d.target_mean for d in data])[:, None]
        std = np.stack([d.target_std for d in data])[:, None]
        truth = (data[0].y_development[None] - mean) / std
        self.truth = torch.from_numpy(truth.astype(np.float32)).to(device)
        self.scored = (trainer.scalars["weights"] > 0).tolist()
        self.best = np.full((k, t), -np.inf)
        self.epochs = np.zeros((k, t), np.int64)
        self.kept = trainer.flat.new_empty(t, *trainer.flat.shape)
        self.alive = [True] * k
        self.curves: list[list[tuple[int, str, str, float]]] = [[] for _ in data]

    def look(self, epoch: int, prediction: Tensor) -> None:
        """Record development CCC [K, T] of this epoch and keep what improved; stop replicates that diverged."""
        values = concordance(prediction, self.truth).double().cpu().numpy()
        finite = (torch.isfinite(self.trainer.flat).all(1) & torch.isfinite(prediction).all(2).all(1)).tolist()
        for k, targets in enumerate(d.targets for d in self.data):
            if not self.alive[k]:
                continue
            if not finite[k]:
                self.alive[k] = False
                self.trainer.optimiser.freeze(k)
                continue
            for t, target in enumerate(targets):
                if not self.scored[k][t]:
                    continue
                self.curves[k].append((epoch, "development", target, float(values[k, t])))
                if values[k, t] > self.best[k, t]:
                    self.best[k, t], self.epochs[k, t] = values[k, t], epoch
                    self.kept[t, k].copy_(self.trainer.flat[k])

    def fit(self, k: int, calibration: Tensor) -> Fit:
        data, network = self.data[k], self.trainer.network
        columns = [t for t in range(len(data.targets)) if self.scored[k][t]]
        snapshots = {t: self.kept[t, k].clone() for t in columns} if self.alive[k] else {}

        @torch.no_grad()
        def predict(inputs: Inputs) -> np.ndarray:
            out = np.full((len(inputs), len(data.targets)), np.nan)
            for start in range(0, len(inputs), PREDICTION_ROWS):
                rows = slice(start, start + PREDICTION_ROWS)
                x = inputs.take(rows).to(calibration.device)
                for t, flat in snapshots.items():
                    value = network.predict(network.layout.unpack(flat[None]), calibration, x)[0, :, t]
                    out[rows, t] = value.cpu().numpy()
            return out * data.target_std + data.target_mean

        return Fit(
            "complete" if self.alive[k] else "diverged",
            predict,
            {data.targets[t]: int(self.epochs[k, t]) for t in columns},
            tuple(self.curves[k]),
        )
