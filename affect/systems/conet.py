"""CoNet: features of all views that fill in missing ones and tell classes apart (Quanz & Huan 2012, CoNet: Feature
Generation for Multi-View Semi-Supervised Learning with Partially Observed Views).

There is no public code of it, and P2 says no more than that it imputes and classifies at once. Our reading: every view has
an encoder to one space of features; a row's features are the mean of what the encoders of its views say, and so are those
of each of its views alone, which makes views agree. From all of these every view that the row has is decoded, and its
class told. With h_0 the mean, h_v the code of view v, V_i the views of row i and S_i = {0} ∪ V_i,

    F = Σ_i Σ_{s ∈ S_i} [Σ_{v ∈ V_i} |x_v - g_v(h_s)|² + α [i labelled] -log q(y_i | h_s)] / (V + 1),

α = c (N_l + N_u) / N_l, per row of both batches, as SMVAE has it. Classes are told and views filled in from h_0. Sizes,
optimiser and the choice of epoch are those of SMVAE too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from affect.data.task import by_column
from affect.systems.base import Facts
from affect.systems.perceptrons import Perceptron
from affect.systems.refusals import refuse_single_view
from affect.systems.representations import coders
from affect.systems.training import Batch, Network, Parameters
from affect.systems.vae import CLASSIFICATION, SHARED, GenerativeSystem, alpha, join, layers, network_of, per_row
from affect.trial import Settings


def conet_network(settings: Settings, facts: Facts) -> Network:
    """Views x_v [K, B, D_v] to features h [K, B, latent], from these back and to the scores [K, B, classes]."""
    refuse_single_view("CoNet", facts)
    encoders, decoders = coders(settings, facts)
    widths, latent = list(facts.widths), int(settings["latent"])
    classifier = Perceptron("classifier", {"z": latent}, layers(settings)[-1:], facts.classes, str(settings["units"]))

    def codes(p: Parameters, x: Tensor) -> list[Tensor]:
        views = x.expand(len(p["classifier.b1"]), -1, -1).split(widths, -1)
        return [net.output(p, net.enter(p, {"x": view})) for net, view in zip(encoders, views, strict=True)]

    def decoded(p: Parameters, h: Tensor) -> Tensor:
        return torch.cat([net.output(p, net.enter(p, {"z": h})) for net in decoders], -1)

    def scores(p: Parameters, h: Tensor) -> Tensor:
        return classifier.output(p, classifier.enter(p, {"z": h}))

    def loss(p: Parameters, batches: Mapping[str, Batch], scalars: Mapping[str, Tensor]) -> Tensor:
        joined = join(batches, widths, facts.classes)
        x, rows = joined.x, joined.rows
        there = x.new_ones(*x.shape[:2], len(widths)) if joined.present is None else joined.present.to(x.dtype)
        columns = by_column(there, widths)
        alone = codes(p, x)
        weight = alpha(joined, settings["alpha"], scalars["c"])
        own = x.new_zeros(len(x))
        whole = mean(alone, there), torch.ones_like(there[..., 0])
        for h, mask in (whole, *zip(alone, there.unbind(-1), strict=True)):
            errors = ((decoded(p, h) - x).square() * columns).sum(-1)
            log_q = scores(p, h[:, : rows.labelled]).log_softmax(-1).gather(2, rows.y.unsqueeze(-1))[..., 0]
            own = own + (errors * mask).sum(1) - weight * (log_q * mask[:, : rows.labelled]).sum(1)
        return per_row(joined, own / (len(widths) + 1), p, scalars["weight_prior"], facts.n_pool)

    def predict(p: Parameters, x: Tensor) -> Tensor:
        return scores(p, mean(codes(p, x), x.new_ones(1, len(x), len(widths))))

    def impute(p: Parameters, x: Tensor, present: Tensor) -> Tensor:
        found = decoded(p, mean(codes(p, x), (present > 0).to(x.dtype)[None]))
        return torch.where(by_column(present > 0, widths), x, found)

    return network_of((*encoders, *decoders, classifier), loss, (), predict, impute=impute)


def mean(codes: Sequence[Tensor], there: Tensor) -> Tensor:
    """Of the codes [K, B, L] of the views that are `there` [K, B, V]."""
    share = there / there.sum(-1, keepdim=True)
    return (torch.stack(list(codes), -1) * share.unsqueeze(-2)).sum(-1)


SYSTEMS = (
    GenerativeSystem(
        "CoNet",
        "features of views that fill in each other and tell classes apart",
        conet_network,
        SHARED | CLASSIFICATION,
        {"paper": {}},
        takes_missing_views=True,
    ),
)
