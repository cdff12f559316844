"""Encoders and decoders of several views of one z, and the posterior that fuses what the encoders say.

Shapes: K replicates, V views, M components of the posterior, R rows (`perceptrons.Rows`), B rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from affect.errors import UserError
from affect.systems.base import Facts
from affect.systems.gaussians import expected_log_prior, mixture_entropy, sample, split
from affect.systems.perceptrons import CLASS, Perceptron, Rows
from affect.systems.training import Parameters
from affect.systems.vae import Joined, layers
from affect.trial import Settings

PENALTY = 1e8
"""Of (Σ λ - 1)² where the weights are squares, as in the authors' code. Adam divides by the size of past gradients, so that
beside this one the weights hardly tell views apart: on a toy they moved by 0.001 in 9,000 steps, by a softmax 0.49."""


@dataclass(frozen=True)
class Views:
    """The encoders and decoders of all views. `classes` is 0 where they know no y; `absent` are SiMVAE's x_m."""

    widths: tuple[int, ...]
    encoders: tuple[Perceptron, ...]
    decoders: tuple[Perceptron, ...]
    absent: tuple[int, ...] = ()

    @property
    def nets(self) -> tuple[Perceptron, ...]:
        return (*self.encoders, *self.decoders)

    def encode(self, p: Parameters, views: Sequence[Tensor], rows: Rows) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [K, V, R, latent] of q(z | x_v, y) from views [K, B, D_v]."""
        outputs = [net.output(p, net.enter(p, {"x": x}, rows)) for net, x in zip(self.encoders, views, strict=True)]
        return split(torch.stack(outputs, 1))

    def likelihood(
        self, p: Parameters, z: Tensor, views: Sequence[Tensor], rows: Rows, present: Tensor | None
    ) -> Tensor:
        """Σ_v log p(x_v | y, z[, x_m]) [K, M, R] for z [K, M, R, latent]; only of `present` [K, V, R] views."""
        k, draws, each, latent = z.shape
        flat = {"z": z.reshape(k, draws * each, latent)}
        given = {"given": torch.cat([views[m] for m in self.absent], -1)} if self.absent else {}
        value = z.new_zeros(())
        for v, (net, x) in enumerate(zip(self.decoders, views, strict=True)):
            first = net.enter(p, given if "given" in net.parts else {}, rows, flat, draws)
            density = net.log_density(p, first, x, rows, draws).view(k, draws, each)
            value = value + (density if present is None else density.masked_fill(~present[:, v, None], 0))
        return value


def refuse_one(system: str, facts: Facts) -> None:
    """Raise `UserError` where there is nothing to fuse."""
    if len(facts.widths) < 2:
        raise UserError(f"{system} fuses views, but there is one view only; M2 is made for one.")


def views_of(settings: Settings, facts: Facts, classes: int, absent: tuple[int, ...] = ()) -> Views:
    latent, hidden, units = int(settings["latent"]), layers(settings), str(settings["units"])
    given = sum(facts.widths[m] for m in absent)
    label = {CLASS: classes} if classes else {}
    encoders, decoders = [], []
    for v, width in enumerate(facts.widths):
        encoders.append(Perceptron(f"encoder{v + 1}", {"x": width} | label, hidden, 2 * latent, units))
        parts = {"z": latent} | label | ({"given": given} if absent and v not in absent else {})
        decoders.append(Perceptron(f"decoder{v + 1}", parts, hidden[::-1], 2 * width, units))
    return Views(facts.widths, tuple(encoders), tuple(decoders), absent)


@dataclass(frozen=True)
class Posterior:
    """A mixture of Gaussians over z."""

    mean: Tensor
    log_variance: Tensor
    """[K, M, R, latent]"""
    log_weights: Tensor
    """[K, M, 1 or R]"""
    entropy: Tensor
    """[K, R] lower bound of its entropy."""
    penalty: Tensor | float = 0.0
    """[K] what its weights cost."""


Fuse = Callable[[Parameters, Tensor, Tensor, Tensor | None], Posterior]
"""(parameters, means and log-variances of the views [K, V, R, latent], which are there [K, V, R]) → posterior."""


def mixture_log_weights(p: Parameters, squared: bool) -> Tensor:
    """log λ [K, V]."""
    return p["weights"].square().log() if squared else p["weights"].log_softmax(-1)


def mixture(squared: bool, per_dimension: bool) -> Fuse:
    """The mixture of Eqs. 2 and 4, with weights from a softmax, or squares held to a sum of 1."""

    def fuse(p: Parameters, mean: Tensor, log_variance: Tensor, present: Tensor | None) -> Posterior:
        log_weights = mixture_log_weights(p, squared).unsqueeze(-1)
        penalty = PENALTY * (p["weights"].square().sum(-1) - 1).square() if squared else 0.0
        if present is not None:
            known = log_weights.expand(present.shape).masked_fill(~present, -torch.inf)
            log_weights = known - known.logsumexp(1, keepdim=True) + log_weights.logsumexp(1, keepdim=True)
        bound = mixture_entropy(mean, log_variance, log_weights, per_dimension)
        return Posterior(mean, log_variance, log_weights, bound, penalty)

    return fuse


def bound(
    nets: Views,
    p: Parameters,
    posterior: Posterior,
    normal: Sequence[Tensor],
    views: Sequence[Tensor],
    rows: Rows,
    present: Tensor | None,
) -> Tensor:
    """E[Σ_v log p(x_v | y, z) + log p(z)] + entropy [K, R]: -L(X, y) of Eq. 5 without log p(y)."""
    noise = torch.stack([rows.spread(each) for each in normal], 1)
    z = sample(posterior.mean, posterior.log_variance, noise)
    value = nets.likelihood(p, z, views, rows, present)
    value = value + expected_log_prior(posterior.mean, posterior.log_variance)
    return (posterior.log_weights.exp() * value).sum(1) + posterior.entropy


def presence(joined: Joined, rows: Rows) -> Tensor | None:
    """[K, V, R] which views each row has; None where all are there."""
    return None if joined.present is None else rows.spread(joined.present).transpose(1, 2)
