"""MoPoE-VAE (Sutter et al., ICLR 2021) in SMVAE's place: a mixture of products of experts as the posterior of z.

Every non-empty subset of the views has a component, the product of its views' Gaussians (without the prior as an expert),
all of equal weight; of a row that lacks views, the subsets of those that it has. Its bound takes the mean of the
components' divergences from the prior, hence of their entropies, and one draw from each. Decoders, classifier and
objective are SMVAE's (P2, Eqs. 3-8): only the fusion differs.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from affect.systems import latents
from affect.systems.base import Facts
from affect.systems.gaussians import entropy
from affect.systems.multiview import semi_supervised_network
from affect.systems.training import Network, Parameters
from affect.systems.vae import AUTHOR_CODE, CLASSIFICATION, SHARED
from affect.systems.views import Posterior, refuse_one
from affect.trial import Settings


def subsets(views: int) -> list[list[int]]:
    """All non-empty subsets, small ones first."""
    return [list(each) for size in range(1, views + 1) for each in combinations(range(views), size)]


def products(p: Parameters, mean: Tensor, log_variance: Tensor, present: Tensor | None) -> Posterior:
    """Follows `views.Fuse`."""
    members = subsets(mean.shape[1])
    precision = (-log_variance).exp()
    weighted = precision * mean
    totals = torch.stack([precision[:, each].sum(1) for each in members], 1)
    centres = torch.stack([weighted[:, each].sum(1) for each in members], 1) / totals
    spreads = -totals.log()
    log_weights = mean.new_full((1, len(members), 1), -math.log(len(members)))
    if present is not None:
        known = torch.stack([present[:, each].all(1) for each in members], 1)
        log_weights = mean.new_zeros(known.shape).masked_fill(~known, -torch.inf).log_softmax(1)
    mean_entropy = (log_weights.exp() * entropy(spreads)).sum(1)
    return Posterior(centres, spreads, log_weights, mean_entropy)


def mopoe_network(settings: Settings, facts: Facts) -> Network:
    """`semi_supervised_network` with a mixture of products of experts over subsets of views (Sutter et al. 2021)."""
    refuse_one("MoPoE-VAE", facts)
    return semi_supervised_network(settings, facts, products, len(subsets(len(facts.widths))))


SYSTEMS = (
    latents.EncodableSystem(
        "MoPoE-VAE",
        "SMVAE with a mixture of products of experts as its posterior",
        latents.encodable(mopoe_network),
        SHARED | CLASSIFICATION | latents.SETTINGS,
        {"paper": {}, "author_code": AUTHOR_CODE | {"c": 5.0, "alpha": "rows"}},
        takes_missing_views=True,
    ),
)
