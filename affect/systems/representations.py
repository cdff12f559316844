"""Representations of several views that are learned without labels, and what some of them say of a missing view.

Encoders f_v and decoders g_v are perceptrons; x_v has B rows in a batch; z-scored views are compared by squared errors.

- MAE, the bimodal deep autoencoder (Ngiam, Khosla, Kim, Nam, Lee & Ng 2011, Multimodal Deep Learning): one code
  z = Σ_v f_v(x_v), a linear layer on all encoders' last hidden ones; all views are decoded from it, when every view is
  given and when one alone is and the others are zeros. No pre-training by Boltzmann machines.
- DCCA (Andrew et al. 2013) maximises the correlations Σρ of the codes f_v(x_v) (`correlation`).
- DCCAE (Wang, Arora, Livescu & Bilmes 2015, On Deep Multi-View Representation Learning) also decodes each view from its
  own code: -Σρ + λ Σ_v mean over rows of |x_v - g_v(f_v(x_v))|². Neither paper says how to fill in a view; here its code
  is the linear regression on the codes of the others, for two views the prediction by canonical correlations.
- CorrNet (Chandar, Khapra, Larochelle & Ravindran 2016, Correlational Neural Networks): one layer, h = σ(Σ_v x_v W_v + b)
  and x_v' = h W_vᵀ + c_v; errors of all views decoded from all, and from each alone, minus λ Σ_j corr_j of the hidden
  units of each view alone. Views are filled in by what is decoded from those that are there.

With more than two views, correlations are summed over pairs. Codes of MAE are put out with mean 0 and variance 1, those of
DCCA and DCCAE whitened per view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from affect.data.task import by_column
from affect.streams import stream
from affect.systems.base import Facts, Hyperparameter
from affect.systems.correlation import covariance, expected, regularised, total_correlation, whitened
from affect.systems.perceptrons import Perceptron
from affect.systems.products import affine
from affect.systems.stack import Adam, Layout
from affect.systems.training import Batch, Network, Parameters, Update
from affect.systems.vae import SHARED, layers
from affect.trial import Settings

_OPTIMISER = {name: SHARED[name] for name in ("learning_rate", "epochs", "batch_size")}
_SHAPE = {name: SHARED[name] for name in ("latent", "hidden", "units")}
_RIDGE = {"ridge": Hyperparameter(1e-4, low=1e-8, structural=True, help="r, on the diagonal of the codes' covariances")}
_BATCH = {"batch_size": Hyperparameter(100, low=8, structural=True, help="rows of a batch, at least 2 × latent")}

MAE_SETTINGS = _OPTIMISER | _SHAPE
DCCA_SETTINGS = _OPTIMISER | _SHAPE | _BATCH | _RIDGE
DCCAE_SETTINGS = DCCA_SETTINGS | {
    "reconstruction": Hyperparameter(0.01, low=0.0, help="λ, weight of the squared errors beside Σρ")
}
CORRNET_SETTINGS = _OPTIMISER | {
    "learning_rate": Hyperparameter(1e-3, low=0.0, help="Adam step size"),
    "latent": Hyperparameter(50, low=1, structural=True, help="hidden units"),
    "correlation": Hyperparameter(2.0, low=0.0, help="λ, weight of the correlations beside the squared errors"),
}


def mae_network(settings: Settings, facts: Facts) -> Network:
    """Views x_v [K, B, D_v] to one code z [K, B, latent] of mean 0 and variance 1, and back (Ngiam et al. 2011)."""
    encoders, decoders = coders(settings, facts)

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        x = batches["unlabelled"].x
        views = x.split(list(facts.widths), -1)
        given = _codes(p, encoders, views)
        absent = _codes(p, encoders, [view.new_zeros(len(view), 1, view.shape[2]) for view in views])
        nothing = torch.stack(absent).sum(0)
        z = torch.cat([torch.stack(given).sum(0), *(g - a + nothing for g, a in zip(given, absent, strict=True))], 1)
        return _errors(_decoded(p, decoders, [z] * len(views)), x.repeat(1, len(views) + 1, 1)) * (len(views) + 1)

    def freeze(p: Parameters, calibration: Tensor) -> Parameters:
        codes = code(p, calibration).double()
        return {**p, "centre": codes.mean(1, keepdim=True), "spread": codes.std(1, keepdim=True)}

    def code(p: Parameters, x: Tensor) -> Tensor:
        return torch.stack(_codes(p, encoders, _views(p, x, facts))).sum(0)

    def predict(p: Parameters, x: Tensor) -> Tensor:
        return (code(p, x) - p["centre"]) / p["spread"].clamp(min=1e-8)

    return _network((*encoders, *decoders), loss, freeze, predict)


def dcca_network(settings: Settings, facts: Facts) -> Network:
    """Views x_v [K, B, D_v] to whitened codes side by side [K, B, V · latent] (Andrew et al. 2013)."""
    encoders, _ = coders(settings, facts)
    ridge = float(settings["ridge"])

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        return -total_correlation(_codes(p, encoders, batches["unlabelled"].x.split(list(facts.widths), -1)), ridge)

    return _network(encoders, loss, *_canonical(encoders, facts, ridge))


def dccae_network(settings: Settings, facts: Facts) -> Network:
    """As `dcca_network`, with a decoder per view, which also fills in views [K, n, D] (Wang et al. 2015)."""
    encoders, decoders = coders(settings, facts)
    ridge, widths = float(settings["ridge"]), list(facts.widths)

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        x = batches["unlabelled"].x
        codes = _codes(p, encoders, x.split(widths, -1))
        errors = _errors(_decoded(p, decoders, codes), x)
        return scalars["reconstruction"] * errors - total_correlation(codes, ridge)

    def impute(p: Parameters, x: Tensor, present: Tensor) -> Tensor:
        codes = torch.cat(_codes(p, encoders, _views(p, x, facts)), -1)
        latent = codes.shape[-1] // len(widths)
        known = (present > 0).repeat_interleave(latent, 1)
        found = expected(codes, p["centre"], p["covariance"], known).float()
        return _filled(x, torch.cat(_decoded(p, decoders, found.split(latent, -1)), -1), present, facts)

    return _network((*encoders, *decoders), loss, *_canonical(encoders, facts, ridge), impute)


def corrnet_network(settings: Settings, facts: Facts) -> Network:
    """Views x_v [K, B, D_v] to hidden units h [K, B, latent], and back with tied weights (Chandar et al. 2016)."""
    latent, widths = int(settings["latent"]), list(facts.widths)
    shapes = {f"w{v + 1}": (width, latent) for v, width in enumerate(widths)} | {"b": (1, latent)}
    shapes |= {f"c{v + 1}": (1, width) for v, width in enumerate(widths)}

    def initial(seed: int) -> dict[str, Tensor]:
        """As perceptrons begin: Glorot's uniform weights, biases 0."""
        values = {}
        for name, (a, b) in shapes.items():
            draws = stream(seed, "init", f"corrnet.{name}").uniform(-1, 1, (a, b)) * (6 / (facts.width + latent)) ** 0.5
            values[name] = torch.from_numpy(draws.astype(np.float32)) if name[0] == "w" else torch.zeros(a, b)
        return values

    def hidden(p: Parameters, views: Mapping[int, Tensor]) -> Tensor:
        value = p["b"]
        for v, x in views.items():
            value = affine(value, x, p[f"w{v + 1}"])
        return value.sigmoid()

    def decoded(p: Parameters, h: Tensor) -> Tensor:
        return torch.cat([affine(p[f"c{v + 1}"], h, p[f"w{v + 1}"].mT) for v in range(len(widths))], -1)

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        x = batches["unlabelled"].x
        views = dict(enumerate(x.split(widths, -1)))
        alone = [hidden(p, {v: view}) for v, view in views.items()]
        errors = sum(_errors([decoded(p, h)], x) for h in (hidden(p, views), *alone))
        pairs = [correlations(a, b).sum(-1) for a, b in combinations(alone, 2)]
        return errors - scalars["correlation"] * torch.stack(pairs).sum(0)

    def predict(p: Parameters, x: Tensor) -> Tensor:
        return hidden(p, dict(enumerate(_views(p, x, facts))))

    def impute(p: Parameters, x: Tensor, present: Tensor) -> Tensor:
        return _filled(x, decoded(p, predict(p, x)), present, facts)

    update = Update("inputs", ("unlabelled",), loss, (), ())
    return Network(Layout(shapes), initial, (update,), lambda p, _: p, predict, Adam, impute=impute)


def correlations(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of every column of [K, B, H] with the same one of the other, over rows: [K, H]."""
    a, b = (h - h.mean(1, keepdim=True) for h in (a, b))
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1) + 1e-12).sqrt()


def coders(settings: Settings, facts: Facts) -> tuple[list[Perceptron], list[Perceptron]]:
    """An encoder and a decoder per view."""
    latent, hidden, units = int(settings["latent"]), layers(settings), str(settings["units"])
    views = list(enumerate(facts.widths, 1))
    encoders = [Perceptron(f"encoder{v}", {"x": width}, hidden, latent, units) for v, width in views]
    return encoders, [Perceptron(f"decoder{v}", {"z": latent}, hidden[::-1], width, units) for v, width in views]


def _network(
    nets: Sequence[Perceptron],
    loss: Callable[[Parameters, Mapping[str, Batch], Mapping[str, Tensor]], Tensor],
    freeze: Callable[[Parameters, Tensor], Parameters],
    predict: Callable[[Parameters, Tensor], Tensor],
    impute: Callable[[Parameters, Tensor, Tensor], Tensor] | None = None,
) -> Network:
    """One update of inputs by Adam, without noise."""
    layout = Layout({name: shape for net in nets for name, shape in net.shapes.items()})

    def initial(seed: int) -> dict[str, Tensor]:
        return {name: value for net in nets for name, value in net.initial(seed).items()}

    update = Update("inputs", ("unlabelled",), loss, (), ())
    return Network(layout, initial, (update,), freeze, predict, Adam, impute=impute)


def _canonical(
    encoders: Sequence[Perceptron], facts: Facts, ridge: float
) -> tuple[Callable[[Parameters, Tensor], Parameters], Callable[[Parameters, Tensor], Tensor]]:
    """`Network.freeze`, which keeps the moments of all codes, and `Network.predict`, which whitens those of each view."""

    def freeze(p: Parameters, calibration: Tensor) -> Parameters:
        codes = torch.cat(_codes(p, encoders, _views(p, calibration, facts)), -1)
        matrix = regularised(covariance(codes, codes), ridge)
        return {**p, "centre": codes.double().mean(1, keepdim=True), "covariance": matrix}

    def predict(p: Parameters, x: Tensor) -> Tensor:
        pieces, at = [], 0
        for codes in _codes(p, encoders, _views(p, x, facts)):
            own = slice(at, at + codes.shape[-1])
            pieces.append(whitened(codes, p["centre"][..., own], p["covariance"][:, own, own]))
            at = own.stop
        return torch.cat(pieces, -1)

    return freeze, predict


def _views(p: Parameters, x: Tensor, facts: Facts) -> Sequence[Tensor]:
    """Inputs [n, D] → the views of them [K, n, D_v]."""
    return x.expand(len(next(iter(p.values()))), -1, -1).split(list(facts.widths), -1)


def _codes(p: Parameters, encoders: Sequence[Perceptron], views: Sequence[Tensor]) -> list[Tensor]:
    return [net.output(p, net.enter(p, {"x": x})) for net, x in zip(encoders, views, strict=True)]


def _decoded(p: Parameters, decoders: Sequence[Perceptron], codes: Sequence[Tensor]) -> list[Tensor]:
    return [net.output(p, net.enter(p, {"z": z})) for net, z in zip(decoders, codes, strict=True)]


def _errors(views: Sequence[Tensor], x: Tensor) -> Tensor:
    """Squared error per row [K], summed over columns, of views side by side."""
    return (torch.cat(list(views), -1) - x).square().sum(-1).mean(-1)


def _filled(x: Tensor, found: Tensor, present: Tensor, facts: Facts) -> Tensor:
    """x [n, D] with the views that rows lack taken from `found` [K, n, D]."""
    return torch.where(by_column(present > 0, facts.widths), x, found)
