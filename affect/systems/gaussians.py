"""Diagonal Gaussians and mixtures of them: densities, entropies, and the output layer that ends in a log density.

A log-variance is what a network puts out, a, bounded smoothly: log σ² = a/√(1 + (a/6)²) lies in (-6, 6) and has a
gradient everywhere. Without a bound the density of a nearly constant feature grows beyond all limits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from affect.systems.products import affine, multiply, product

LIMIT = 6.0
"""Of the absolute value of log σ²."""
LOG_2PI = math.log(2 * math.pi)
BLOCK = 100
"""Rows of wide outputs that are worked on at a time, so that they stay in the second-level cache."""


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

    Wide arrays are passed over as little as can be: the density's derivatives take the place of the outputs, are multiplied
    by the weights while they are at hand, and a row's own gradient, a number, then scales the narrow side of each product.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        compiled = hidden.is_cpu and hidden.dtype == torch.float32
        total, slopes, back = (_blocks if compiled else _passes)(hidden, weight, bias, x, rows)
        ctx.save_for_backward(hidden, slopes, back, rows)
        ctx.inputs = x.shape
        return -0.5 * (total + x.shape[-1] * LOG_2PI)

    @staticmethod
    def backward(ctx: Any, gvalue: Tensor) -> tuple[Tensor | None, ...]:
        hidden, slopes, back, rows = ctx.saved_tensors
        each = gvalue.unsqueeze(-1)
        both = torch.cat((hidden, torch.ones_like(each)), -1).mul_(each)
        gboth = product(both.transpose(1, 2), slopes)
        gx = None
        if ctx.needs_input_grad[3]:
            mean = slopes.narrow(-1, 0, ctx.inputs[-1])
            gx = slopes.new_zeros(ctx.inputs).index_add_(1, rows, mean * -each)
        return back * each, gboth[:, :-1], gboth[:, -1:], gx, None


Output = tuple[Tensor, Tensor, Tensor]
"""Σ_d of log σ² + (x - μ)²/σ² [K, N], the derivatives of the log density by the outputs [K, N, 2D] and by hidden [K, N, H]."""


def _passes(hidden: Tensor, weight: Tensor, bias: Tensor, x: Tensor, rows: Tensor) -> Output:
    """By torch operations."""
    slopes = affine(bias, hidden, weight)
    mean, raw = slopes.chunk(2, -1)
    rstd = torch.rsqrt(1 + (raw / LIMIT).square())
    log_variance = raw * rstd
    difference = x.index_select(1, rows).sub_(mean)
    torch.mul(difference, (-log_variance).exp(), out=mean)
    square = difference.mul_(mean)
    total = (log_variance + square).sum(-1)
    torch.mul(square.sub_(1).mul_(0.5), rstd.pow_(3), out=raw)
    return total, slopes, product(slopes, weight.transpose(1, 2))


def _blocks(hidden: Tensor, weight: Tensor, bias: Tensor, x: Tensor, rows: Tensor) -> Output:
    """By a compiled loop, a block of rows at a time."""
    from affect.systems.gaussian_kernels import gaussian_output  # late: the compiler is slow to load

    k, n, _ = hidden.shape
    total, slopes, back = hidden.new_empty(k, n), hidden.new_empty(k, n, weight.shape[-1]), torch.empty_like(hidden)
    index, given = rows.numpy(), x.detach().contiguous().numpy()
    for r in range(k):
        matrix, shift = weight[r].detach(), bias[r, 0].detach().numpy()
        for start in range(0, n, BLOCK):
            at = slice(start, start + BLOCK)
            block = slopes[r, at]
            block.copy_(multiply(hidden[r, at], matrix))
            gaussian_output(block.numpy(), shift, given[r], index[at], total[r, at].numpy())
            back[r, at] = multiply(block, matrix.T)
    return total, slopes, back
