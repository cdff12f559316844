"""Training of packs: K replicates of one network as a single stacked computation.

A network is a layout of parameters, an initialiser, one or more updates per step and a prediction. An update's loss is a
pure function (parameters, batches, scalars) → loss [K]; its noise is drawn beforehand, per replicate, from that
replicate's own streams, which is why a result does not depend on what shares the pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from affect.data.task import FitData, Inputs, by_column
from affect.errors import UserError
from affect.streams import stream, torch_stream
from affect.systems.base import Facts
from affect.systems.shards import ALONE, Shard
from affect.systems.stack import Adam, Layout, NAdam
from affect.trial import Settings

Parameters = Mapping[str, Tensor]
Scalars = Mapping[str, float | list[float]]
"""One replicate's settings that may differ within a pack; `learning_rate` and `weights` (per target) among them."""


@dataclass(frozen=True)
class Batch:
    """One mini-batch of K replicates with its noise: the B rows of it that this worker holds."""

    x: Tensor
    """[K, B, D]"""
    y: Tensor
    """[K, rows, T] normalised targets of the whole batch; empty for unlabelled batches."""
    normal: tuple[Tensor, ...]
    """Standard normal draws [K, B, d], one per width that the update asked for. May be overwritten."""
    uniform: tuple[Tensor, ...]
    """Uniform draws [K, B, d] in [0, 1). May be overwritten."""
    shard: Shard = ALONE
    others: int = 0
    """Rows of the batch that other workers hold."""
    present: Tensor | None = None
    """[K, B, V] 1 where a row has a view, 0 where its columns of x are zeros instead; None where all are there."""

    @property
    def rows(self) -> int:
        """Rows of the whole batch."""
        return self.x.shape[1] + self.others


Loss = Callable[[Parameters, Mapping[str, Batch], Mapping[str, Tensor]], Tensor]
"""Its value [K] is that of the whole batch, its gradient that through the rows which this worker holds."""


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
    freeze: Callable[[Parameters, Tensor], Parameters]
    """(parameters, calibration rows [C, D] or, of each replicate's own, [K, C, D]) → what predictions are made with."""
    predict: Callable[[Parameters, Tensor], Tensor]
    """(frozen parameters, inputs [n, D]) → normalised predictions [K, n, T], or scores of classes [K, n, C]."""
    optimiser: type[Adam] = NAdam
    learned: Callable[[Parameters], Mapping[str, Tensor]] = lambda parameters: {}
    """Parameters → what of them is worth a curve of its own, by name: [K] each."""
    impute: Callable[[Parameters, Tensor, Tensor], Tensor] | None = None
    """(frozen parameters, inputs [n, D], which views they have [n, V]) → inputs with missing views filled in [K, n, D]."""


def concordance(prediction: Tensor, truth: Tensor) -> Tensor:
    """CCC (Lin 1989, biased moments) over dim -2: [..., B, T] → [..., T]."""
    p = prediction - prediction.mean(-2, keepdim=True)
    t = truth - truth.mean(-2, keepdim=True)
    gap = prediction.mean(-2) - truth.mean(-2)
    covariance = (p * t).mean(-2)
    return 2 * covariance / (p.square().mean(-2) + t.square().mean(-2) + gap.square() + 1e-12)


def accuracy(prediction: Tensor, truth: Tensor) -> Tensor:
    """Share of rows whose highest score is the true class: [K, n, C] and [K, n, 1] → [K, 1]."""
    return (prediction.argmax(-1, keepdim=True) == truth).float().mean(-2)


def concordance_loss(prediction: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Σ_t w_t (1 - CCC_t) [K] of prediction and truth [K, B, T] (Eq. 2 with C = 1 - CCC); weights [K, T]."""
    return (weights * (1 - concordance(prediction, truth))).sum(-1)


POOL = "unlabelled_fraction"
"""The setting that says how much of the unlabelled pool is used; all of it where it is not set."""


def pool_rows(rows: int, settings: Settings) -> int:
    """How many of the pool's `rows` a fit uses. An epoch has its steps all the same, or less data would mean less
    training."""
    return max(1, round(rows * float(settings.get(POOL, 1.0))))


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """An epoch is cut into this many batches of (nearly) equal size, so that no tiny last batch makes a CCC of noise."""
    return max(1, round(rows / batch_size))


def batch_rows(settings: Settings, rows: int) -> int:
    """Rows of a batch: `batch_size` or, where settings say into how many `batches` a pass over `rows` is cut, its share."""
    cut = int(settings.get("batches", 0))
    return max(1, round(rows / cut)) if cut else int(settings["batch_size"])


def batch_order(rows: int, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches of positions 0..rows-1: a fresh permutation per epoch, cut evenly."""
    while True:
        yield from np.array_split(generator.permutation(rows), batches_per_epoch(rows, batch_size))


def alike(inputs: Sequence[Inputs]) -> bool:
    """Whether replicates have the same rows in the same units, so that they can be taken at once."""
    first = inputs[0]
    return all(
        each.rows is first.rows and np.array_equal(each.mean, first.mean) and np.array_equal(each.scale, first.scale)
        for each in inputs
    )


class _Source:
    """Mini-batches of one kind (labelled or unlabelled) for all replicates, with their noise."""

    def __init__(
        self,
        kind: str,
        data: Sequence[FitData],
        seeds: Sequence[int],
        batch_size: int,
        update: Update,
        device: str,
        pool: int,
        shard: Shard,
    ) -> None:
        labelled = kind == "labelled"
        self.inputs = [replace(d.train, present=None) for d in data]
        self.alike = alike([d.train for d in data])
        self.widths = torch.tensor(self.inputs[0].widths, device=device)
        self.present = [None if d.train.present is None else torch.from_numpy(d.train.present).float() for d in data]
        self.positions = [
            torch.from_numpy(d.labelled if labelled else pool_of(d, pool, seed))
            for d, seed in zip(data, seeds, strict=True)
        ]
        rows = len(self.positions[0])
        fewest = rows // batches_per_epoch(rows, batch_size)
        if fewest < shard.size:
            raise UserError(
                f"--workers-per-trial {shard.size}: batches have {fewest} {kind} rows, and each worker needs one; use "
                "fewer workers or a larger batch_size."
            )
        self.targets = [torch.from_numpy(_normalised(d).astype(np.float32)) if labelled else None for d in data]
        self.orders = [
            batch_order(len(p), batch_size, stream(seed, "batches", kind))
            for p, seed in zip(self.positions, seeds, strict=True)
        ]
        self.update, self.device, self.shard = update, device, shard
        self.drawn = 0
        """Batches so far."""
        self.noise = [torch_stream(seed, "noise", kind, device=device) for seed in seeds]
        self.dropout = [torch_stream(seed, "dropout", kind, device=device) for seed in seeds]

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these replicates alone."""
        for name in ("inputs", "positions", "targets", "orders", "noise", "dropout", "present"):
            setattr(self, name, [getattr(self, name)[row] for row in rows])

    def next(self) -> Batch:
        chosen = [torch.from_numpy(next(order)) for order in self.orders]
        self.drawn += 1
        k, rows = len(chosen), len(chosen[0])
        own = self.shard.rows(rows)
        index = [p[c[own]] for p, c in zip(self.positions, chosen, strict=True)]
        if self.alike:
            x = self.inputs[0].take(torch.cat(index)).view(k, own.stop - own.start, -1).to(self.device)
        else:
            x = torch.stack([inputs.take(i) for inputs, i in zip(self.inputs, index, strict=True)]).to(self.device)
        present = [views[rows] for views, rows in zip(self.present, index, strict=True) if views is not None]
        there = torch.stack(present).to(self.device) if present else None
        if there is not None:
            x *= by_column(there, self.widths)
        y = [t[c] for t, c in zip(self.targets, chosen, strict=True) if t is not None]
        return Batch(
            x,
            torch.stack(y).to(self.device) if y else x.new_empty(k, rows, 0),
            tuple(self._draw(self.noise, rows, width, "normal_") for width in self.update.normal),
            tuple(self._draw(self.dropout, rows, width, "uniform_") for width in self.update.uniform),
            self.shard,
            rows - x.shape[1],
            there,
        )

    def _draw(self, generators: Sequence[torch.Generator], rows: int, width: int, fill: str) -> Tensor:
        """Own rows of a draw for all rows: noise does not depend on how many workers share a batch."""
        out = torch.empty(len(generators), rows, width, device=self.device)
        for slot, generator in zip(out, generators, strict=True):
            getattr(slot, fill)(generator=generator)
        return out[:, self.shard.rows(rows)]

    def state(self) -> dict[str, Any]:
        states = {name: [generator.get_state() for generator in getattr(self, name)] for name in ("noise", "dropout")}
        return {"drawn": self.drawn, **states}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Batch orders have no state that can be saved: they are drawn again."""
        for order in self.orders:
            for _ in range(state["drawn"]):
                next(order)
        self.drawn = state["drawn"]
        for name in ("noise", "dropout"):
            for generator, saved in zip(getattr(self, name), state[name], strict=True):
                generator.set_state(saved)


def pool_size(data: FitData) -> int:
    """Rows of the unlabelled pool."""
    return len(data.train) if data.pool is None else len(data.pool)


def epoch_size(data: FitData) -> int:
    """Unlabelled rows that make an epoch."""
    return data.epoch_rows or pool_size(data)


def pool_of(data: FitData, used: int, seed: int) -> np.ndarray:
    """Positions of the unlabelled rows that are used: the head of one permutation per seed, so that less is part of more."""
    rows = np.arange(len(data.train)) if data.pool is None else data.pool
    return rows if used == len(rows) else rows[stream(seed, "pool_subset").permutation(len(rows))[:used]]


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
        pool: int | None = None,
        shard: Shard = ALONE,
    ) -> None:
        """`pool`: how many unlabelled rows are used; all by default."""
        self.network, self.shard = network, shard
        self.flat = network.layout.pack([network.initial(seed) for seed in seeds]).to(device)
        self.parameters = self._views()
        self.scalars = {name: torch.tensor([s[name] for s in scalars], device=device) for name in scalars[0]}
        self.optimiser = network.optimiser(self.flat, self.scalars["learning_rate"].tolist())
        self.sources = {
            kind: _Source(kind, data, seeds, batch_size, update, device, pool or pool_size(data[0]), shard)
            for update in network.updates
            for kind in update.reads
        }

    def _views(self) -> dict[str, Tensor]:
        return {name: view.detach().requires_grad_() for name, view in self.network.layout.unpack(self.flat).items()}

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these replicates alone, in this order."""
        index = torch.tensor(rows, device=self.flat.device)
        self.optimiser.select(index)
        self.flat = self.optimiser.flat
        self.parameters = self._views()
        self.scalars = {name: values[index] for name, values in self.scalars.items()}
        for source in self.sources.values():
            source.select(rows)

    def step(self) -> list[Tensor]:
        """All updates of one step, in order; returns their losses [K]."""
        losses = []
        for update in self.network.updates:
            batches = {kind: self.sources[kind].next() for kind in update.reads}
            loss = update.loss(self.parameters, batches, self.scalars)
            gradients = torch.autograd.grad(loss.sum(), list(self.parameters.values()), allow_unused=True)
            starts = self.network.layout.starts
            found = {start: g for start, g in zip(starts, gradients, strict=True) if g is not None}
            self.optimiser.update(dict(zip(found, self.shard.reduce(*found.values()), strict=True)))
            losses.append(loss.detach())
        return losses

    def state(self) -> dict[str, Any]:
        sources = {kind: source.state() for kind, source in self.sources.items()}
        return {"optimiser": self.optimiser.state(), "sources": sources}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.optimiser.restore(state["optimiser"])
        for kind, source in self.sources.items():
            source.restore(state["sources"][kind])

    @torch.no_grad()
    def predict(self, calibration: Tensor, x: Tensor) -> Tensor:
        """Normalised predictions [K, n, T] of inputs [n, D], after calibration on rows [C, D]; either may be of each
        replicate's own, [K, n, D] and [K, C, D], where they see other rows or units."""
        network = self.network
        if not self.flat.is_cpu:
            return network.predict(network.freeze(self.parameters, calibration), x)
        # One replicate at a time: the activations of all of n rows would not fit in cache, nor K of them in reason.
        rows = []
        for k in range(len(self.flat)):
            one = {name: value[k : k + 1] for name, value in self.parameters.items()}
            frozen = network.freeze(one, calibration if calibration.dim() == 2 else calibration[k])
            rows.append(network.predict(frozen, x if x.dim() == 2 else x[k]))
        return torch.cat(rows)


def facts_of(data: FitData) -> Facts:
    """Sizes of a task as `System.structure` knows them when planning."""
    inputs = data.train
    sizes = (len(data.labelled), pool_size(data), len(data.development))
    return Facts(inputs.width, data.targets, *sizes, inputs.widths, data.classes, data.epoch_rows)
