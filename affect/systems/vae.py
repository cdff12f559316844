"""What the generative systems of P2 (Du et al., SMVAE) share: their settings, their batches, their objective.

An update reads a labelled and an unlabelled batch and minimises, per row of both (P2, Eqs. 6-8),

    F / (N_l + N_u),   F = Σ_l L(X, y) + Σ_u Σ_y q(y|X) [L(X, y) + log q(y|X)] + α Σ_l -log q(y|X),

where all y are gone through with the same noise, and α = c (N_l + N_u) / N_l. p(y) is uniform, one sample (T = 1).

What the paper leaves open and what we chose: softplus units, weights after Glorot, a classifier as wide as the encoders,
bounded log-variances (`gaussians`), batches of 100 + 100, 100 epochs; labelled rows are among the unlabelled ones too. The
preset `author_code` has what the released SMVAE does instead: one hidden layer of 50, the entropy bound summed over
dimensions, squared weights held to a sum of 1 by a penalty of 1e8, α = 5 (N_l + N_u), a N(0, 1) prior on every parameter,
ten batches to a pass, samples of pre-trained autoencoders of each view as inputs (`latents`; not where views are filled
in). It does not have that code's cut of the labelled rows into ten batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from affect.data.task import by_column
from affect.errors import UserError
from affect.systems import fitting, missing, training
from affect.systems.base import Facts, Fitting, Hyperparameter, Replicate
from affect.systems.perceptrons import Perceptron, Rows
from affect.systems.probe import probe
from affect.systems.refusals import refuse_absent_classes, refuse_hidden, refuse_latent
from affect.systems.shards import ALONE, Shard
from affect.systems.stack import Adam, Layout
from affect.systems.training import Batch, Loss, Network, Parameters, Scalars, Update
from affect.trial import Settings

SHARED = {
    "learning_rate": Hyperparameter(3e-4, low=0.0, help="Adam step size"),
    "epochs": Hyperparameter(100, low=1, structural=True, help="passes over the pool"),
    "batch_size": Hyperparameter(100, low=8, structural=True, help="labelled, and as many unlabelled, rows of a batch"),
    "batches": Hyperparameter(
        0, low=0, structural=True, late=True, help="about so many batches to a pass; 0: as many as batch_size makes"
    ),
    "latent": Hyperparameter(30, low=1, structural=True, help="dimensions of z"),
    "hidden": Hyperparameter(
        "100-50", structural=True, help="widths of the encoders' hidden layers; decoders reversed"
    ),
    "units": Hyperparameter("softplus", choices=("softplus", "relu"), structural=True, help="of the hidden layers"),
    "weight_prior": Hyperparameter(0.0, low=0.0, help="weight of a N(0, 1) prior on every parameter"),
    training.POOL: Hyperparameter(
        1.0, low=0.01, high=1.0, structural=True, help="share of the unlabelled pool that is used, drawn per seed"
    ),
}
CLASSIFICATION = {
    "c": Hyperparameter(0.5, low=0.0, help="scale of the classification loss: α = c (N_l + N_u) / N_l (Eq. 8)"),
    "alpha": Hyperparameter(
        "ratio", choices=("ratio", "rows"), structural=True, help="α = c (N_l + N_u) / N_l, or c (N_l + N_u)"
    ),
}
AUTHOR_CODE: dict[str, float | int | str] = {
    **{"hidden": "50", "batches": 10, "epochs": 1000, "weight_prior": 1.0},
    "inputs": "latents",
}


def layers(settings: Settings) -> tuple[int, ...]:
    """Widths of the encoders' hidden layers."""
    return tuple(map(int, str(settings["hidden"]).split("-")))


@dataclass(frozen=True)
class GenerativeSystem:
    """A row of P2's tables; follows `affect.systems.base.System`."""

    name: str
    description: str
    network: Callable[[Settings, Facts], Network]
    hyperparameters: Mapping[str, Hyperparameter]
    presets: Mapping[str, Settings]
    version: int = 1
    paper: str = "smvae"
    needs_text: bool = False
    takes_missing_views: bool = False
    """Whether it knows which views rows lack: those that its setting `incomplete` names or, without one, any."""
    seeded: bool = True

    def check(self, settings: Settings) -> None:
        refuse_hidden(self.name, settings)
        if settings.get("batches") and settings["batch_size"] != SHARED["batch_size"].default:
            raise UserError(
                f"{self.name}: batches={settings['batches']} leaves batch_size={settings['batch_size']} without meaning; "
                "with batches=0 it has one."
            )

    def scored_targets(self, settings: Settings, targets: Sequence[str]) -> tuple[str, ...]:
        return tuple(targets)

    def may_lack(self, settings: Settings, views: int) -> Collection[int]:
        if not self.takes_missing_views:
            return ()
        if "incomplete" in settings:
            return missing.incomplete_views(self.name, str(settings["incomplete"]), views)
        return range(views)

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        if not facts.classes:
            raise UserError(f"{self.name} tells classes apart; {', '.join(facts.targets)} has none.")
        self.network(settings, facts)  # refuses settings that do not suit the views
        refuse_latent(self.name, settings, facts)
        shapes = (settings.get(name, hp.default) for name, hp in self.hyperparameters.items() if hp.structural)
        return (self.name, facts, *shapes)

    def steps(self, settings: Settings, facts: Facts) -> int:
        size = training.batch_rows(settings, facts.n_epoch)
        return int(settings["epochs"]) * training.batches_per_epoch(facts.n_epoch, size)

    def scalars(self, settings: Settings, targets: Sequence[str]) -> Scalars:
        """What may differ within a pack, as numbers; `weights` has one per target."""
        names = [name for name, hp in self.hyperparameters.items() if not hp.structural]
        return {name: float(settings[name]) for name in names} | {"weights": [1.0] * len(targets)}

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        network, size = self.network(settings, facts), training.batch_rows(settings, facts.n_epoch)
        return probe(network, self.scalars(settings, facts.targets), facts, size, device, largest)

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        for replicate in replicates:
            self._check_data(replicate)
        network = self.network(replicates[0].settings, training.facts_of(replicates[0].data))
        scalars = [self.scalars(r.settings, r.data.targets) for r in replicates]
        return fitting.StackedFitting(network, replicates, scalars, device, shard)

    def _check_data(self, replicate: Replicate) -> None:
        """Raise `UserError` for data that a task would not have given."""
        data, setting = replicate.data, replicate.settings.get("incomplete")
        refuse_absent_classes(self.name, data)
        missing.refuse_contradictions(self.name, data, None if setting is None else str(setting))


@dataclass(frozen=True)
class Joined:
    """A labelled and an unlabelled batch as one: B rows, the labelled ones first."""

    x: Tensor
    """[K, B, D]; what stands in for missing views is zero."""
    normal: tuple[Tensor, ...]
    """[K, B, ·]"""
    present: Tensor | None
    """[K, B, V] whether a row has a view; None where all are there."""
    rows: Rows
    """Every row with its class, or with all classes."""
    shard: Shard
    labelled: int
    unlabelled: int
    """Rows of the whole batches, of all workers."""

    @property
    def total(self) -> int:
        return self.labelled + self.unlabelled

    def summed(self, own: Tensor) -> Tensor:
        """A sum over this worker's rows [K] as one over all rows: its value of all, its gradient of these."""
        if self.shard.size == 1:
            return own
        (whole,) = self.shard.reduce(own.detach())
        return own + (whole - own.detach())


def network_of(
    nets: Sequence[Perceptron],
    loss: Loss,
    normal: tuple[int, ...],
    predict: Callable[[Parameters, Tensor], Tensor],
    extra: Mapping[str, Tensor] | None = None,
    **others: Any,
) -> Network:
    """One update of labelled and unlabelled rows by Adam. `extra`: initial values of parameters of no network."""
    extra = extra or {}
    shapes = {name: shape for net in nets for name, shape in net.shapes.items()}
    layout = Layout(shapes | {name: tuple(value.shape) for name, value in extra.items()})

    def initial(seed: int) -> dict[str, Tensor]:
        return {name: value for net in nets for name, value in net.initial(seed).items()} | dict(extra)

    update = Update("joint", ("labelled", "unlabelled"), loss, normal, uniform=())
    return Network(layout, initial, (update,), lambda p, calibration: p, predict, optimiser=Adam, **others)


def join(batches: Mapping[str, Batch], widths: Sequence[int], classes: int) -> Joined:
    labelled, unlabelled = batches["labelled"], batches["unlabelled"]
    shard = labelled.shard
    x = torch.cat((labelled.x, unlabelled.x), 1)
    present = None
    if labelled.present is not None and unlabelled.present is not None:
        present = torch.cat((labelled.present, unlabelled.present), 1) > 0
        x = x.masked_fill_(~by_column(present, widths), 0)
    return Joined(
        x,
        tuple(torch.cat(pair, 1) for pair in zip(labelled.normal, unlabelled.normal, strict=True)),
        present,
        Rows(labelled.y[:, shard.rows(labelled.rows), 0].long(), unlabelled.x.shape[1], classes),
        shard,
        labelled.rows,
        unlabelled.rows,
    )


def expected(rows: Rows, value: Tensor, scores: Tensor) -> Tensor:
    """-Σ_l value - Σ_u Σ_y q(y|X) [value - log q(y|X)] [K]: the sums J of Eq. 7, where `value` [K, R] is -L(X, y) and
    `scores` [K, B, C] are the classifier's."""
    known, rest = value[:, : rows.labelled], value[:, rows.labelled :]
    log_q = scores[:, rows.labelled :].log_softmax(-1).transpose(1, 2)
    rest = rest.view(len(rest), rows.classes, rows.unlabelled)
    return (log_q.exp() * (log_q - rest)).sum((1, 2)) - known.sum(1)


def classification(rows: Rows, scores: Tensor) -> Tensor:
    """Σ_l -log q(y|X) [K] from the classifier's scores [K, B, C]."""
    log_q = scores[:, : rows.labelled].log_softmax(-1)
    return -log_q.gather(2, rows.y.unsqueeze(-1)).sum((1, 2))


def alpha(joined: Joined, rule: str, c: Tensor) -> Tensor:
    """Weight of the classification loss [K] from its scale: `ratio` as in the paper, `rows` as in the authors' code."""
    return c * (joined.total / joined.labelled if rule == "ratio" else joined.total)


def per_row(joined: Joined, own: Tensor, p: Parameters, prior: Tensor, n_pool: int) -> Tensor:
    """The loss [K] from this worker's part of F, with a N(0, 1) prior on the parameters that the N rows of the pool share."""
    if prior.any():
        squares = torch.stack([value.square().flatten(1).sum(1) for value in p.values()]).sum(0)
        own = own + squares * prior * (0.5 * joined.total / (n_pool * joined.shard.size))
    return joined.summed(own) / joined.total
