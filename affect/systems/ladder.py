"""P1: ladder networks for speech emotion attributes (Parthasarathy & Busso), six rows of its Table I.

The network is x [D] → 256 → 256 → one output per attribute. `STL` and `MTL` train it on CCC with dropout; the `Lad` rows
add batch normalisation, noise at every layer and a decoder that reconstructs layers 0-2 (Eq. 1 and 3); `UL` rows also
reconstruct the unlabelled pool. STL is the corner α, β ∈ {0, 1} of MTL (Section III-C), so both are one network with
three outputs: an output of weight 0 has no gradient and touches nothing else.

What the paper leaves open and what we chose: initial weights U(±√3/√fan_in), the baselines' U(±1/√fan_in); combinator
in its `sig` form with a2 = b1 = c2 = 1 and the rest 0; costs are means over units; the top of the decoder starts from
u = BN(h̃2); gradients flow through the clean path; batch-norm statistics for inference come from training inputs on
the clean path; batch size 256.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from affect.errors import UserError
from affect.streams import stream
from affect.systems import fitting, training
from affect.systems.base import Facts, Fitting, Hyperparameter, Replicate
from affect.systems.ladder_layers import COEFFICIENTS, DecoderLayer, EncoderLayer, normalise
from affect.systems.probe import probe
from affect.systems.products import affine, product
from affect.systems.shards import ALONE, Shard
from affect.systems.stack import Layout
from affect.systems.training import Batch, Network, Scalars, Update, concordance_loss
from affect.trial import Settings

ATTRIBUTES = ("arousal", "valence", "dominance")

_SHARED = {
    "learning_rate": Hyperparameter(5e-5, low=0.0, help="NADAM step size"),
    "epochs": Hyperparameter(100, low=1, structural=True, help="passes over the labelled subset, or over the pool"),
    "batch_size": Hyperparameter(256, low=8, structural=True, help="rows per mini-batch (the epoch is cut evenly)"),
    "width": Hyperparameter(256, low=1, structural=True, help="units of each of the two hidden layers"),
    "dropout_input": Hyperparameter(0.5, low=0.0, high=0.95, help="dropout between input and first hidden layer"),
}
_DENSE = {"dropout_hidden": Hyperparameter(0.5, low=0.0, high=0.95, help="dropout between the hidden layers")}
_LADDER = {
    "noise_variance": Hyperparameter(0.3, low=0.0, help="σ² of the noise added to every layer of the noisy path"),
    **{f"lambda_{layer}": Hyperparameter(1.0, low=0.0, help=f"λ of the cost at layer {layer}") for layer in range(3)},
}
_UNLABELLED = {
    "schedule": Hyperparameter(
        "alternate",
        choices=("alternate", "joint"),
        structural=True,
        help="labelled and unlabelled mini-batches as two updates in turn, or as one update of their summed losses",
    ),
    training.POOL: Hyperparameter(
        1.0,
        low=0.01,
        high=1.0,
        structural=True,
        late=True,
        help="share of the unlabelled pool that is used, drawn per seed",
    ),
}
_SINGLE = {"target": Hyperparameter("arousal", choices=ATTRIBUTES, help="the attribute this model predicts")}
_MULTI = {
    "alpha": Hyperparameter(1 / 3, low=0.0, high=1.0, help="weight of arousal in Eq. 2"),
    "beta": Hyperparameter(1 / 3, low=0.0, high=1.0, help="weight of valence in Eq. 2; dominance has 1 - α - β"),
}


@dataclass(frozen=True)
class LadderSystem:
    """One row of P1's Table I; follows `affect.systems.base.System`."""

    name: str
    ladder: bool
    unlabelled: bool
    multitask: bool
    description: str
    version: int = 1
    paper: str = "ladder"
    presets: Mapping[str, Settings] = field(default_factory=lambda: {"paper": {}})
    needs_text: bool = False
    seeded: bool = True

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        shared = dict(_SHARED)
        if self.ladder:
            # The paper keeps input dropout at .1 where the reconstruction already regularises.
            shared["dropout_input"] = Hyperparameter(0.1, low=0.0, high=0.95, help=_SHARED["dropout_input"].help)
        body = _LADDER if self.ladder else _DENSE
        return shared | body | (_UNLABELLED if self.unlabelled else {}) | (_MULTI if self.multitask else _SINGLE)

    def check(self, settings: Settings) -> None:
        if self.multitask and settings["alpha"] + settings["beta"] > 1 + 1e-9:
            raise UserError(
                f"{self.name}: alpha={settings['alpha']:g} and beta={settings['beta']:g} sum to more than 1, "
                f"which leaves a negative weight for dominance (Eq. 2)."
            )

    def weights(self, settings: Settings, targets: Sequence[str]) -> list[float]:
        """Weight of each target's loss: α, β, 1-α-β of Eq. 2, or one-hot."""
        for name in targets:
            if name not in ATTRIBUTES:
                raise UserError(f"{self.name} predicts {', '.join(ATTRIBUTES)}; it has no weight for {name}.")
        if not self.multitask:
            return [float(name == settings["target"]) for name in targets]
        alpha, beta = float(settings["alpha"]), float(settings["beta"])
        rest = max(0.0, 1.0 - alpha - beta)
        by_name = {"arousal": alpha, "valence": beta, "dominance": rest if rest > 1e-9 else 0.0}
        return [by_name[name] for name in targets]

    def scored_targets(self, settings: Settings, targets: Sequence[str]) -> tuple[str, ...]:
        weights = self.weights(settings, targets)
        return tuple(name for name, weight in zip(targets, weights, strict=True) if weight > 0)

    def may_lack(self, settings: Settings, views: int) -> Collection[int]:
        return ()

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        family = (
            "ladder" if self.ladder else "dense",
            self.unlabelled,
            settings.get("schedule"),
            settings.get(training.POOL),
        )
        return (*family, facts, settings["epochs"], settings["batch_size"], settings["width"])

    def steps(self, settings: Settings, facts: Facts) -> int:
        rows = facts.n_epoch if self.unlabelled else facts.n_labelled
        return int(settings["epochs"]) * training.batches_per_epoch(rows, int(settings["batch_size"]))

    def network(self, settings: Settings, facts: Facts) -> Network:
        sizes = (facts.width, int(settings["width"]), len(facts.targets))
        if not self.ladder:
            return dense_network(*sizes)
        return ladder_network(*sizes, self.unlabelled, settings.get("schedule"))

    def scalars(self, settings: Settings, targets: Sequence[str]) -> Scalars:
        """What may differ within a pack, as numbers; `weights` has one per target."""
        names = [
            name for name, hp in self.hyperparameters.items() if not hp.structural and isinstance(hp.default, float)
        ]
        return {name: float(settings[name]) for name in names} | {"weights": self.weights(settings, targets)}

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        network, scalars = self.network(settings, facts), self.scalars(settings, facts.targets)
        return probe(network, scalars, facts, int(settings["batch_size"]), device, largest)

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        first = replicates[0]
        network = self.network(first.settings, training.facts_of(first.data))
        scalars = [self.scalars(r.settings, r.data.targets) for r in replicates]
        return fitting.StackedFitting(network, replicates, scalars, device, shard)


DENSE_GAIN, LADDER_GAIN = 1.0, 3.0**0.5
"""Initial weights are U(±gain/√fan_in): torch's default for the baselines, variance 1/fan_in for the ladder as in the
reference network. Normalised layers do not care for the scale, but the ladder's cost at layer l divides by it."""


def _dense(seed: int, name: str, rows: int, columns: int, gain: float = DENSE_GAIN) -> Tensor:
    """Weights [rows, columns] from U(±gain/√rows), drawn from the stream of that matrix's name."""
    draws = stream(seed, "init", name).uniform(-1, 1, (rows, columns)) * (gain / rows**0.5)
    return torch.from_numpy(draws.astype(np.float32))


def _encoder_parameters(seed: int, width: int, hidden: int, targets: int, gain: float) -> dict[str, Tensor]:
    """What the baselines and the ladder have in common: equal seeds start from equal weights, up to the gain."""
    return {
        "w1": _dense(seed, "w1", width, hidden, gain),
        "w2": _dense(seed, "w2", hidden, hidden, gain),
        "head": _dense(seed, "head", hidden, targets),
        "head_bias": _dense(seed, "head_bias", hidden, targets)[:1],
    }


def _keep(uniform: Tensor, p: Tensor) -> Tensor:
    """Inverted-dropout factors [K, B, D] from uniform draws; p [K] per replicate. Overwrites the draws."""
    p = p[:, None, None]
    return torch.ge(uniform, p, out=uniform).mul_(1 / (1 - p))


def _forward(p: Mapping[str, Tensor], x: Tensor, drop1: Tensor | None = None, drop2: Tensor | None = None) -> Tensor:
    """Two ReLU layers and the head: x [K, B, D], dropout factors of the shapes of x and of the first layer → [K, B, T]."""
    h = x if drop1 is None else x * drop1
    h = affine(p["b1"], h, p["w1"]).relu_()
    h = h if drop2 is None else h * drop2
    h = affine(p["b2"], h, p["w2"]).relu_()
    return affine(p["head_bias"], h, p["head"])


def _predict(p: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Predictions [K, n, T] for inputs [n, D]."""
    return _forward(p, x.expand(len(p["w1"]), -1, -1))


def dense_network(width: int, hidden: int, targets: int) -> Network:
    """The baselines: ReLU layers with dropout before each (Section IV-D), CCC loss."""
    layout = Layout(
        {"w1": (width, hidden), "b1": (1, hidden), "w2": (hidden, hidden), "b2": (1, hidden)}
        | {"head": (hidden, targets), "head_bias": (1, targets)}
    )

    def initial(seed: int) -> dict[str, Tensor]:
        biases = {
            "b1": _dense(seed, "b1", width, hidden)[:1],
            "b2": _dense(seed, "b2", hidden, hidden)[:1],
        }
        return _encoder_parameters(seed, width, hidden, targets, DENSE_GAIN) | biases

    def loss(p: Mapping[str, Tensor], batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        batch = batches["labelled"]
        masks = [
            _keep(uniform, scalars[name]) if scalars[name].any() else None
            for name, uniform in zip(("dropout_input", "dropout_hidden"), batch.uniform, strict=True)
        ]
        prediction = batch.shard.gather(_forward(p, batch.x, *masks), batch.rows)
        return concordance_loss(prediction, batch.y, scalars["weights"])

    update = Update("labelled", ("labelled",), loss, normal=(), uniform=(width, hidden))
    return Network(layout, initial, (update,), lambda p, calibration: p, _predict)


def ladder_network(width: int, hidden: int, targets: int, unlabelled: bool, schedule: Any) -> Network:
    """The ladder (Section III-B): clean and noisy encoder in one product, decoder down to the input."""
    layout = Layout(
        {"w1": (width, hidden), "gamma1": (hidden,), "beta1": (hidden,)}
        | {"w2": (hidden, hidden), "gamma2": (hidden,), "beta2": (hidden,)}
        | {"v1": (hidden, width), "v2": (hidden, hidden)}
        | {f"combine{layer}": (COEFFICIENTS, d) for layer, d in enumerate((width, hidden, hidden))}
        # Last, for it alone has no gradient in unlabelled updates, which so reach over one piece.
        | {"head": (hidden, targets), "head_bias": (1, targets)}
    )

    def initial(seed: int) -> dict[str, Tensor]:
        parameters = _encoder_parameters(seed, width, hidden, targets, LADDER_GAIN)
        parameters["v1"] = _dense(seed, "v1", hidden, width, LADDER_GAIN)
        parameters["v2"] = _dense(seed, "v2", hidden, hidden, LADDER_GAIN)
        for layer in (1, 2):
            parameters |= {f"gamma{layer}": torch.ones(hidden), f"beta{layer}": torch.zeros(hidden)}
        for layer, d in enumerate((width, hidden, hidden)):
            coefficients = torch.zeros(COEFFICIENTS, d)
            coefficients[[1, 4, 6]] = 1.0  # a2, b1, c2
            parameters[f"combine{layer}"] = coefficients
        return parameters

    def passes(p: Mapping[str, Tensor], batch: Batch, scalars: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both encoders and the decoder: (noisy prediction [K, rows, T], Σ λ_l C_d [K])."""
        k, rows, _ = batch.x.shape
        cut = batch.shard, batch.others
        std = scalars["noise_variance"].sqrt()[:, None, None]
        noise0, noise1, noise2 = batch.normal
        noisy0 = torch.addcmul(batch.x, noise0, std, out=noise0)
        both = batch.x.new_empty(k, 2, rows, width)
        both[:, 0] = batch.x
        if scalars["dropout_input"].any():
            # Without the usual factor 1/(1-p): the batch normalisation that follows takes it out again.
            keep = torch.ge(batch.uniform[0], scalars["dropout_input"][:, None, None], out=batch.uniform[0])
            torch.mul(noisy0, keep, out=both[:, 1])
        else:
            both[:, 1] = noisy0
        noise1, noise2 = noise1.mul_(std), noise2.mul_(std)
        pre1 = product(both.view(k, 2 * rows, width), p["w1"]).view(k, 2, rows, hidden)
        clean1, noisy1, h1, mean1, rstd1 = EncoderLayer.apply(pre1, noise1, p["gamma1"], p["beta1"], False, *cut)
        pre2 = product(h1.view(k, 2 * rows, hidden), p["w2"]).view(k, 2, rows, hidden)
        clean2, noisy2, h2, mean2, rstd2 = EncoderLayer.apply(pre2, noise2, p["gamma2"], p["beta2"], True, *cut)
        top = h2.view(k, rows, hidden)
        estimate2, cost2 = DecoderLayer.apply(top, noisy2, p["combine2"], clean2, mean2, rstd2, *cut)
        estimate1, cost1 = DecoderLayer.apply(
            product(estimate2, p["v2"]), noisy1, p["combine1"], clean1, mean1, rstd1, *cut
        )
        zero, one = batch.x.new_zeros(k, 1, width), batch.x.new_ones(k, 1, width)
        _, cost0 = DecoderLayer.apply(product(estimate1, p["v1"]), noisy0, p["combine0"], batch.x, zero, one, *cut)
        costs = scalars["lambda_0"] * cost0 + scalars["lambda_1"] * cost1 + scalars["lambda_2"] * cost2
        return batch.shard.gather(affine(p["head_bias"], top, p["head"]), batch.rows), costs

    def labelled_loss(p: Mapping[str, Tensor], batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        prediction, costs = passes(p, batches["labelled"], scalars)
        return concordance_loss(prediction, batches["labelled"].y, scalars["weights"]) + costs

    def unlabelled_loss(p: Mapping[str, Tensor], batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        return passes(p, batches["unlabelled"], scalars)[1]

    def joint_loss(p: Mapping[str, Tensor], batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        return labelled_loss(p, batches, scalars) + unlabelled_loss(p, batches, scalars)

    def freeze(p: Mapping[str, Tensor], calibration: Tensor) -> dict[str, Tensor]:
        """The clean path with batch-norm statistics of the calibration rows [C, D], as a plain network: γ((hW - μ)/σ + β)
        is hW' + b'."""
        frozen = {"head": p["head"], "head_bias": p["head_bias"]}
        h = calibration.expand(len(p["w1"]), -1, -1)
        for layer in ("1", "2"):
            unit, mean, rstd = normalise(product(h, p["w" + layer]))
            scale, shift = p["gamma" + layer][:, None], p["beta" + layer][:, None]
            h = unit.add_(shift).mul_(scale).relu_()
            frozen["w" + layer] = p["w" + layer] * (rstd * scale)
            frozen["b" + layer] = (shift - mean * rstd) * scale
        return frozen

    draws = {"normal": (width, hidden, hidden), "uniform": (width,)}
    labelled = Update("labelled", ("labelled",), labelled_loss, **draws)
    if not unlabelled:
        updates: tuple[Update, ...] = (labelled,)
    elif schedule == "joint":
        updates = (Update("joint", ("labelled", "unlabelled"), joint_loss, **draws),)
    else:
        updates = (labelled, Update("unlabelled", ("unlabelled",), unlabelled_loss, **draws))
    return Network(layout, initial, updates, freeze, _predict)


def _system(name: str, description: str) -> LadderSystem:
    unlabelled = "+UL" in name
    # 2: unlabelled updates leave the head alone, which they moved on by its momentum.
    version = 2 if unlabelled else 1
    return LadderSystem(name, name.startswith("Lad"), unlabelled, name.endswith("MTL"), description, version)


SYSTEMS = (
    _system("STL", "single-task network: one attribute, dropout, CCC loss"),
    _system("MTL", "multitask network: three attributes weighted α, β, 1-α-β"),
    _system("Lad+L+STL", "ladder network on the labelled subset, one attribute"),
    _system("Lad+L+MTL", "ladder network on the labelled subset, three attributes"),
    _system("Lad+UL+STL", "ladder network on labelled and unlabelled data, one attribute"),
    _system("Lad+UL+MTL", "ladder network on labelled and unlabelled data, three attributes"),
)
