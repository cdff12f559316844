"""Deep generative models of one view: M2 (Kingma et al. 2014), SDGM (Maaløe et al. 2016) and P2's SDGM+ (Eq. 18).

M2 and SDGM take all views side by side as one, and need them all. SDGM+ sees the views that are never missing; its auxiliary
variable stands for the others. P2 ran M2 and SDGM with "their default settings": the preset `paper` has those of their
authors' code (sizes and units), the hyperparameters' own defaults are SMVAE's. Predictions of SDGM and SDGM+ take a at the
mean of q(a|x).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from affect.errors import UserError
from affect.systems import latents, missing
from affect.systems.base import Facts, Hyperparameter
from affect.systems.gaussians import entropy, expected_log_prior, sample, split
from affect.systems.perceptrons import CLASS, Perceptron
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
from affect.trial import Settings


def m2_network(settings: Settings, facts: Facts) -> Network:
    """q(y|x), q(z|x,y), p(x|y,z)."""
    width, classes, latent = facts.width, facts.classes, int(settings["latent"])
    hidden, units = layers(settings), str(settings["units"])
    classifier = Perceptron("classifier", {"x": width}, hidden, classes, units)
    encoder = Perceptron("encoder1", {"x": width, CLASS: classes}, hidden, 2 * latent, units)
    decoder = Perceptron("decoder1", {"z": latent, CLASS: classes}, hidden[::-1], 2 * width, units)

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        joined = join(batches, facts.widths, classes)
        rows, x = joined.rows, joined.x
        scores = classifier.output(p, classifier.enter(p, {"x": x}))
        mean, log_variance = split(encoder.output(p, encoder.enter(p, {"x": x}, rows)))
        z = sample(mean, log_variance, rows.spread(joined.normal[0]))
        value = decoder.log_density(p, decoder.enter(p, {}, rows, {"z": z}), x, rows)
        value = value + expected_log_prior(mean, log_variance) + entropy(log_variance) - math.log(classes)
        own = expected(rows, value, scores)
        own = own + alpha(joined, settings["alpha"], scalars["c"]) * classification(rows, scores)
        return per_row(joined, own, p, scalars["weight_prior"], facts.n_pool)

    def predict(p: Parameters, x: Tensor) -> Tensor:
        x = x.expand(len(p["classifier.b1"]), -1, -1)
        return classifier.output(p, classifier.enter(p, {"x": x}))

    return network_of((classifier, encoder, decoder), loss, (latent,), predict)


def sdgm_network(settings: Settings, facts: Facts, plus: bool) -> Network:
    """q(a|x), q(y|a,x), q(z|a,x,y), p(a|z,y), p(x|a,z,y); with `plus`, x is what is never missing and a what may be."""
    classes, latent, widths = facts.classes, int(settings["latent"]), facts.widths
    hidden, units = layers(settings), str(settings["units"])
    if plus:
        absent = missing.incomplete_views("SDGM+", str(settings["incomplete"]), len(widths))
        seen = tuple(v for v in range(len(widths)) if v not in absent)
        if not seen:
            raise UserError(f"SDGM+: incomplete={settings['incomplete']} leaves no view that is never missing.")
        made = missing.imputers(widths, absent, hidden, units, from_each_other=False)
        draws = tuple(widths[m] for m in absent)
        inference = tuple(each.net for each in made)
    else:
        seen, draws = tuple(range(len(widths))), (int(settings["auxiliary"]),)
        inference = (Perceptron("auxiliary", {"x": facts.width}, hidden, 2 * draws[0], units),)
    width, auxiliary = sum(widths[v] for v in seen), sum(draws)
    classifier = Perceptron("classifier", {"x": width, "a": auxiliary}, hidden, classes, units)
    encoder = Perceptron("encoder1", {"x": width, "a": auxiliary, CLASS: classes}, hidden, 2 * latent, units)
    back = hidden[::-1]
    decoder = Perceptron("decoder1", {"z": latent, "a": auxiliary, CLASS: classes}, back, 2 * width, units)
    prior = Perceptron("auxiliary_prior", {"z": latent, CLASS: classes}, back, 2 * auxiliary, units)

    def moments(p: Parameters, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of q(a|x), in as many pieces as there are networks for it."""
        return [split(net.output(p, net.enter(p, {"x": x}))) for net in inference]

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        joined = join(batches, widths, classes)
        rows, x = joined.rows, missing.columns(joined.x, widths, seen)
        found = moments(p, x)
        a = torch.cat([sample(*each, draw) for each, draw in zip(found, joined.normal[1:], strict=True)], -1)
        scores = classifier.output(p, classifier.enter(p, {"x": x, "a": a}))
        mean, log_variance = split(encoder.output(p, encoder.enter(p, {"x": x, "a": a}, rows)))
        z = sample(mean, log_variance, rows.spread(joined.normal[0]))
        value = decoder.log_density(p, decoder.enter(p, {"a": a}, rows, {"z": z}), x, rows)
        value = value + prior.log_density(p, prior.enter(p, {}, rows, {"z": z}), a, rows)
        value = value + expected_log_prior(mean, log_variance) + entropy(log_variance) - math.log(classes)
        own = expected(rows, value, scores)
        for _, spread in found:
            own = own - entropy(spread).sum(1)
        own = own + alpha(joined, settings["alpha"], scalars["c"]) * classification(rows, scores)
        if plus:
            truth = [joined.x.split(list(widths), -1)[m] for m in absent]
            surprise, _ = missing.surprise(truth, found, joined)
            own = own + scalars["alpha3"] * surprise
        return per_row(joined, own, p, scalars["weight_prior"], facts.n_pool)

    def predict(p: Parameters, x: Tensor) -> Tensor:
        x = missing.columns(x.expand(len(p["classifier.b1"]), -1, -1), widths, seen)
        a = torch.cat([mean for mean, _ in moments(p, x)], -1)
        return classifier.output(p, classifier.enter(p, {"x": x, "a": a}))

    nets = (*inference, classifier, encoder, decoder, prior)
    impute = partial(missing.impute, made, widths) if plus else None
    return network_of(nets, loss, (latent, *draws), predict, impute=impute)


_AUXILIARY = {"auxiliary": Hyperparameter(100, low=1, structural=True, help="dimensions of a")}
_PLUS = {
    "incomplete": missing.INCOMPLETE,
    "alpha3": Hyperparameter(1.0, low=0.0, help="weight of the imputation loss (Eq. 18)"),
}
_M2 = {"hidden": "500", "latent": 50}
_SDGM = {"hidden": "500-500", "latent": 100, "units": "relu"}
_CODE = AUTHOR_CODE | {"c": 5.0, "alpha": "rows"}

SYSTEMS = (
    latents.EncodableSystem(
        "M2",
        "semi-supervised variational autoencoder on all views side by side",
        latents.encodable(m2_network),
        SHARED | CLASSIFICATION | latents.SETTINGS,
        {"paper": _M2, "author_code": _CODE},
    ),
    latents.EncodableSystem(
        "SDGM",
        "skip deep generative model, with an auxiliary variable, on all views side by side",
        latents.encodable(partial(sdgm_network, plus=False)),
        SHARED | CLASSIFICATION | latents.SETTINGS | _AUXILIARY,
        {"paper": _SDGM, "author_code": _CODE},
    ),
    GenerativeSystem(
        "SDGM+",
        "SDGM whose auxiliary variable is drawn to the view that may be missing (Eq. 18)",
        partial(sdgm_network, plus=True),
        SHARED | CLASSIFICATION | _PLUS,
        {"paper": {}, "author_code": _CODE},
        takes_missing_views=True,
    ),
)
