"""Diagonal Gaussians and mixtures of them: densities, entropies, and the output layer that ends in a log density.

A log-variance is what a network puts out, a, bounded smoothly: log σ² = a/√(1 + (a/6)²) lies in (-6, 6) and has a
gradient everywhere. Without a bound the density of a nearly constant feature grows beyond all limits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

LIMIT = 6.0
"""Of the absolute value of log σ²."""
LOG_2PI = math.log(2 * math.pi)


def split(output: Tensor) -> tuple[Tensor, Tensor]:
    """What a network puts out [..., 2D] → mean and bounded log-variance [..., D]."""
    mean, raw = output.chunk(2, -1)
    return mean, raw * torch.rsqrt(1 + (raw / LIMIT).square())


def sample(mean: Tensor, log_variance: Tensor, normal: Tensor) -> Tensor:
    """A draw by location and scale, with a gradient to both."""
    return torch.addcmul(mean, (0.5 * log_variance).exp(), normal)


def log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(x; mean, σ²) [..., D] summed over D."""
    terms = (x - mean).square() * (-log_variance).exp() + log_variance
    return -0.5 * (terms.sum(-1) + x.shape[-1] * LOG_2PI)


def entropy(log_variance: Tensor) -> Tensor:
    """Of a Gaussian, in nats: [..., D] → [...]."""
    return 0.5 * (log_variance.sum(-1) + log_variance.shape[-1] * (1 + LOG_2PI))


def expected_log_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """E log N(z; 0, I) under a Gaussian [..., D] → [...]."""
    return -0.5 * ((mean.square() + log_variance.exp()).sum(-1) + mean.shape[-1] * LOG_2PI)


def mixture_entropy(mean: Tensor, log_variance: Tensor, log_weights: Tensor, per_dimension: bool = False) -> Tensor:
    """Lower bound of a mixture's entropy (P2, Eq. 5 and Supplement A): -Σ_v λ_v log Σ_l λ_l N(μ_v; μ_l, Σ_v + Σ_l).

    mean, log_variance [K, V, R, D], log_weights [K, V, 1 or R] (-inf for a component that a row lacks) → [K, R].
    `per_dimension` sums the bounds of the D marginals instead, as the authors' code does: that is no lower bound.
    """
    variance = log_variance.exp()
    components = range(mean.shape[1])
    overlap: dict[tuple[int, int], Tensor] = {}
    for v in components:
        for other in components[v:]:
            if v == other:
                terms = log_variance[:, v] + math.log(2)
            else:
                total = variance[:, v] + variance[:, other]
                terms = total.log() + (mean[:, v] - mean[:, other]).square() / total
            terms = -0.5 * (terms + LOG_2PI)
            overlap[v, other] = overlap[other, v] = terms if per_dimension else terms.sum(-1, keepdim=True)
    weighted = mean.new_zeros(())
    for v in components:
        parts = [log_weights[:, other, :, None] + overlap[v, other] for other in components]
        weighted = weighted - log_weights[:, v].exp() * torch.logsumexp(torch.stack(parts), 0).sum(-1)
    return weighted


class GaussianOutput(torch.autograd.Function):
    """The last layer of a network whose outputs are the mean and log-variance of `x`, and the log density there.

    hidden [K, N, H], weight [K, H, 2D], bias [K, 1, 2D], x [K, B, D], rows [N] (which row of x each one has) → [K, N].

    Wide arrays are passed over once: what the density's derivatives need is left in place of the outputs, and a row's
    own gradient, a number, then scales the narrow side of each product.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        slopes = torch.baddbmm(bias, hidden, weight)
        mean, raw = slopes.chunk(2, -1)
        rstd = torch.rsqrt(1 + (raw / LIMIT).square())
        log_variance = raw * rstd
        difference = x.index_select(1, rows).sub_(mean)
        torch.mul(difference, (-log_variance).exp(), out=mean)
        square = difference.mul_(mean)
        value = -0.5 * ((log_variance + square).sum(-1) + x.shape[-1] * LOG_2PI)
        torch.mul(square.sub_(1).mul_(0.5), rstd.pow_(3), out=raw)
        ctx.save_for_backward(hidden, weight, slopes, rows)
        ctx.inputs = x.shape
        return value

    @staticmethod
    def backward(ctx: Any, gvalue: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, slopes, rows = ctx.saved_tensors
        each = gvalue.unsqueeze(-1)
        ghidden = torch.bmm(slopes, weight.transpose(1, 2)).mul_(each)
        gboth = torch.bmm(torch.cat((hidden * each, each), -1).transpose(1, 2), slopes)
        gx = None
        if ctx.needs_input_grad[3]:
            mean = slopes.narrow(-1, 0, ctx.inputs[-1])
            gx = slopes.new_zeros(ctx.inputs).index_add_(1, rows, mean * -each)
        return ghidden, gboth[:, :-1], gboth[:, -1:], gx, None
