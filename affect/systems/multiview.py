"""P2's multi-view variational autoencoders: MVAE (Section 3.1), SMVAE (3.2) and SiMVAE (3.3), for any number of views.

Views share z, whose posterior is a mixture with one component, and one learned weight λ, per view; the expectation of
the likelihood takes one draw from every component (Eq. 9). The classifier sees all views side by side.

A view that a row lacks has, in MVAE and SMVAE, no likelihood and no component (the other λ are scaled to the same sum),
and the classifier sees zeros for it. SiMVAE draws it from q_ψ, and the other views are generated from y, z and those
that may be missing (Eq. 10); where all may be, from y and z. q_ψ of a view is given all others (the paper has one).

The paper's MVAE has no labels. Here it has SMVAE's classifier on the posterior mean of z, so that it can be a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from affect.systems import latents, missing
from affect.systems.base import Facts, Hyperparameter
from affect.systems.gaussians import entropy, sample
from affect.systems.perceptrons import Perceptron, without_classes
from affect.systems.training import Batch, Network, Parameters
from affect.systems.vae import (
    AUTHOR_CODE,
    CLASSIFICATION,
    SHARED,
    GenerativeSystem,
    alpha,
    classification,
    expected,
    join,
    layers,
    network_of,
    per_row,
)
from affect.systems.views import Fuse, Posterior, bound, mixture, mixture_log_weights, presence, refuse_one, views_of
from affect.trial import Settings


def semi_supervised_network(
    settings: Settings,
    facts: Facts,
    fuse: Fuse,
    draws: int,
    extra: Mapping[str, Tensor] | None = None,
    absent: tuple[int, ...] = (),
    **others: Any,
) -> Network:
    """q(y|X), q(z|X,y) fused from `draws` components, p(x_v|y,z) (Eqs. 3-8), and q(x_m|x_o) for `absent` views (Eqs. 10-17)."""
    widths, classes = facts.widths, facts.classes
    hidden, units = layers(settings), str(settings["units"])
    nets = views_of(settings, facts, classes, absent)
    classifier = Perceptron("classifier", {"x": facts.width}, hidden, classes, units)
    made = missing.imputers(widths, absent, hidden, units, from_each_other=True)
    impute = partial(missing.impute, made, widths) if absent else None

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        joined = join(batches, widths, classes)
        rows, views = joined.rows, list(joined.x.split(list(widths), -1))
        present = None if absent else presence(joined, rows)
        own = joined.x.new_zeros(())
        if absent:
            moments = [each.moments(p, joined.x, widths, joined.present) for each in made]
            surprise, complete = missing.surprise([views[m] for m in absent], moments, joined)
            own = scalars["c1"] * (joined.total / complete.clamp(min=1)) * surprise
            if joined.present is not None:
                for m, each, noise in zip(absent, moments, joined.normal[draws:], strict=True):
                    there = joined.present[..., m]
                    views[m] = torch.where(there[..., None], views[m], sample(*each, noise))
                    own = own - entropy(each[1]).masked_fill(there, 0).sum(1)
        scores = classifier.output(p, classifier.enter(p, {"x": torch.cat(views, -1)}))
        posterior = fuse(p, *nets.encode(p, views, rows), present)
        value = bound(nets, p, posterior, joined.normal[:draws], views, rows, present) - math.log(classes)
        own = own + expected(rows, value, scores) + posterior.penalty * (joined.total / joined.shard.size)
        c = scalars["c2" if absent else "c"]
        own = own + alpha(joined, settings["alpha"], c) * classification(rows, scores)
        return per_row(joined, own, p, scalars["weight_prior"], facts.n_pool)

    def predict(p: Parameters, x: Tensor) -> Tensor:
        return classifier.output(p, classifier.enter(p, {"x": x.expand(len(p["classifier.b1"]), -1, -1)}))

    normal = (int(settings["latent"]),) * draws + tuple(widths[m] for m in absent)
    chain = (classifier, *nets.nets, *(each.net for each in made))
    return network_of(chain, loss, normal, predict, extra, impute=impute, **others)


def _weights(settings: Settings, facts: Facts) -> dict[str, Any]:
    """What a mixture with learned weights adds to a network."""
    squared = settings["weighting"] == "squared"
    views = len(facts.widths)
    start = torch.full((views,), views**-0.5) if squared else torch.zeros(views)

    def learned(p: Parameters) -> dict[str, Tensor]:
        weights = mixture_log_weights(p, squared).exp()
        return {f"weight view {v + 1}": weight for v, weight in enumerate(weights.unbind(-1))}

    return {"extra": {"weights": start}, "learned": learned}


def _mixture(settings: Settings) -> Fuse:
    return mixture(settings["weighting"] == "squared", settings["entropy"] == "per_dimension")


def smvae_network(settings: Settings, facts: Facts) -> Network:
    """q(y|X), q(z|X, y) as a mixture over views, p(x_v|z, y) (Eqs. 3-8)."""
    refuse_one("SMVAE", facts)
    return semi_supervised_network(settings, facts, _mixture(settings), len(facts.widths), **_weights(settings, facts))


def simvae_network(settings: Settings, facts: Facts) -> Network:
    """`smvae_network` with q(x_m|x_o) for each view that may be missing (Eqs. 10-17)."""
    absent = missing.incomplete_views("SiMVAE", str(settings["incomplete"]), len(facts.widths))
    added = _weights(settings, facts)
    return semi_supervised_network(settings, facts, _mixture(settings), len(facts.widths), absent=absent, **added)


def mvae_network(settings: Settings, facts: Facts) -> Network:
    """q(z|X), p(x_v|z) (Eqs. 1-2) and a classifier of E[z|X], trained together."""
    refuse_one("MVAE", facts)
    nets, fuse = views_of(settings, facts, 0), _mixture(settings)
    widths, latent = facts.widths, int(settings["latent"])
    classifier = Perceptron("classifier", {"x": latent}, layers(settings), facts.classes, str(settings["units"]))

    def scores(p: Parameters, posterior: Posterior) -> Tensor:
        centre = (posterior.log_weights.exp()[..., None] * posterior.mean).sum(1)
        return classifier.output(p, classifier.enter(p, {"x": centre}))

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        joined = join(batches, widths, facts.classes)
        views = joined.x.split(list(widths), -1)
        rows = without_classes(joined.x)
        present = presence(joined, rows)
        posterior = fuse(p, *nets.encode(p, views, rows), present)
        own = posterior.penalty * (joined.total / joined.shard.size)
        own = own - bound(nets, p, posterior, joined.normal, views, rows, present).sum(1)
        weight = alpha(joined, settings["alpha"], scalars["c"])
        own = own + weight * classification(joined.rows, scores(p, posterior))
        return per_row(joined, own, p, scalars["weight_prior"], facts.n_pool)

    def predict(p: Parameters, x: Tensor) -> Tensor:
        x = x.expand(len(p["classifier.b1"]), -1, -1)
        return scores(p, fuse(p, *nets.encode(p, x.split(list(widths), -1), without_classes(x)), None))

    return network_of((classifier, *nets.nets), loss, (latent,) * len(widths), predict, **_weights(settings, facts))


_MIXTURE = {
    "weighting": Hyperparameter(
        "softmax", choices=("softmax", "squared"), structural=True, help="λ by softmax, or squares with a penalty"
    ),
    "entropy": Hyperparameter(
        "joint",
        choices=("joint", "per_dimension"),
        structural=True,
        help="the bound of Eq. 5, or the authors' sum over dimensions, which is none",
    ),
}
_INCOMPLETE = {
    "c1": Hyperparameter(0.5, low=0.0, help="scale of the imputation loss: α1 = c1 (N_c + N_i) / N_c (Eq. 17)"),
    "c2": Hyperparameter(0.5, low=0.0, help=CLASSIFICATION["c"].help.replace("Eq. 8", "Eq. 17")),
    "alpha": CLASSIFICATION["alpha"],
    "incomplete": missing.INCOMPLETE,
}
_CODE = AUTHOR_CODE | {"weighting": "squared", "entropy": "per_dimension", "alpha": "rows"}

SYSTEMS = (
    latents.EncodableSystem(
        "MVAE",
        "multi-view autoencoder with a mixture posterior, classifier on its latent mean",
        latents.encodable(mvae_network),
        SHARED | CLASSIFICATION | latents.SETTINGS | _MIXTURE,
        {"paper": {}, "author_code": _CODE | {"c": 5.0}},
        takes_missing_views=True,
    ),
    latents.EncodableSystem(
        "SMVAE",
        "semi-supervised multi-view autoencoder: mixture posterior with a learned weight per view",
        latents.encodable(smvae_network),
        SHARED | CLASSIFICATION | latents.SETTINGS | _MIXTURE,
        {"paper": {}, "author_code": _CODE | {"c": 5.0}},
        takes_missing_views=True,
    ),
    GenerativeSystem(
        "SiMVAE",
        "SMVAE that draws missing views from a network of the others",
        simvae_network,
        SHARED | _INCOMPLETE | _MIXTURE,
        {"paper": {}, "author_code": _CODE | {"c2": 5.0}},
        takes_missing_views=True,
    ),
)
