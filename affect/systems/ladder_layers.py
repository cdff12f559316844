"""The two layers of a stacked ladder network, each one autograd Function with its derivative written out.

Shapes: K replicates, B rows of a batch, H units. Written by hand because autograd would keep, and pass over, some forty
intermediate [K, B, H] arrays per layer; here the sums over the batch are taken once, and wide layers are worked through in
blocks of columns that stay in cache (every operation but the sums over the batch is per element, and those are per column).
Equations: Rasmus et al. 2015, Algorithm 1, with scale and bias both learnt (P1, Section III-B).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-10
"""Added to batch variances (value of the reference ladder network)."""
BLOCK = 1 << 16
"""Elements of one block on a CPU: the dozen arrays in use at a time stay in a core's second-level cache."""
COEFFICIENTS = 9
"""Parameters of the combinator per unit: a1..a4, b1, c1..c4."""


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a·b over the batch, [..., B, H] → [..., H]. (`vecdot` and `einsum` over this axis are 3-8 times slower.)"""
    return (a * b).sum(-2)


def normalise(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Batch-normalise over dim -2: normalised values [..., B, H], mean and one over the standard deviation [..., 1, H].

    A sum of squares of the centred values: `torch.var` over this axis is an order of magnitude slower.
    """
    rows = values.shape[-2]
    mean = values.sum(-2, keepdim=True).div_(rows)
    centred = values - mean
    rstd = dot(centred, centred).unsqueeze(-2).div_(rows).add_(EPSILON).rsqrt_()
    return centred.mul_(rstd), mean, rstd


class EncoderLayer(torch.autograd.Function):
    """Batch normalisation, noise, scale, bias and ReLU of the clean and the noisy path at once.

    pre [K, 2, B, H] (0: clean, 1: noisy), noise [K, B, H] already scaled, gamma, beta [K, H] →
    clean z and noisy z̃ [K, B, H], h [K, 2, B, H] (noisy path alone, [K, 1, B, H], for the `last` layer, whose clean
    activation nothing reads), mean and rstd [K, 1, H] of the clean path.
    """

    @staticmethod
    def forward(
        ctx: Any, pre: Tensor, noise: Tensor, gamma: Tensor, beta: Tensor, last: bool
    ) -> tuple[Tensor, ...]:
        replicates, _, rows, units = pre.shape
        clean, noisy = torch.empty_like(noise), torch.empty_like(noise)
        h = pre.new_empty(replicates, 1 if last else 2, rows, units)
        moments = pre.new_empty(4, replicates, 1, units)
        scale, shift = gamma[:, None], (gamma * beta)[:, None]
        for k, at in blocks(noise):
            clean[k, :, at], moments[0, k, :, at], moments[1, k, :, at] = normalise(pre[k, 0, :, at])
            value, moments[2, k, :, at], moments[3, k, :, at] = normalise(pre[k, 1, :, at])
            torch.add(value, noise[k, :, at], out=noisy[k, :, at])
            for path, z in zip(range(h.shape[1])[::-1], (noisy, clean), strict=False):
                torch.addcmul(shift[k, :, at], z[k, :, at], scale[k, :, at], out=h[k, path, :, at]).relu_()
        ctx.save_for_backward(clean, noisy, noise, h, moments, gamma, beta)
        return clean, noisy, h, moments[0], moments[1]

    @staticmethod
    def backward(
        ctx: Any, gclean: Tensor, gnoisy: Tensor, gh: Tensor, gmean: Tensor, grstd: Tensor
    ) -> tuple[Tensor | None, ...]:
        clean, noisy, noise, h, moments, gamma, beta = ctx.saved_tensors
        rows = clean.shape[1]
        gpre = clean.new_empty(clean.shape[0], 2, *clean.shape[1:])
        ggamma, gbeta = torch.zeros_like(gamma), torch.zeros_like(beta)
        paths = h.shape[1]
        for k, at in blocks(noise):
            for path, z, gz in ((0, clean, gclean), (1, noisy, gnoisy)):
                g = gz[k, :, at]
                source = path + paths - 2
                if source >= 0:
                    # Rows of gh where the unit was active.
                    active = torch.ops.aten.threshold_backward(gh[k, source, :, at], h[k, source, :, at], 0)
                    total = active.sum(1)
                    ggamma[k, at] += dot(active, z[k, :, at]).addcmul_(total, beta[k, at])
                    gbeta[k, at] += total * gamma[k, at]
                    g = torch.addcmul(g, active, gamma[k, None, at])
                # The noise is no part of the normalised activation.
                unit = z[k, :, at] - noise[k, :, at] if path else z[k, :, at]
                rstd = moments[2 * path + 1, k, :, at]
                shift = g.sum(1, keepdim=True).mul_(-1 / rows)
                slope = dot(g, unit).unsqueeze(1).mul_(-1 / rows)
                if not path:
                    shift.addcdiv_(gmean[k, :, at], rstd, value=1 / rows)
                    slope.addcmul_(grstd[k, :, at], rstd, value=-1 / rows)
                centred = torch.addcmul(g, unit, slope).add_(shift)
                torch.mul(centred, rstd, out=gpre[k, path, :, at])
        return gpre, None, ggamma, gbeta, None


def combine(z: Tensor, u: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Denoising function g(u, z̃, u⊙z̃) per unit (`sig` form: a linear part and one sigmoid unit).

    z, u [K, B, H], coefficients [K, 9, H] → estimate ẑ, sigmoid s, product u⊙z̃, all [K, B, H].
    """
    a1, a2, a3, a4, b1, c1, c2, c3, c4 = coefficients.unsqueeze(2).unbind(1)
    product = z * u
    s = torch.addcmul(c1, z, c2).addcmul_(u, c3).addcmul_(product, c4).sigmoid_()
    estimate = torch.addcmul(a1, z, a2).addcmul_(u, a3).addcmul_(product, a4).addcmul_(s, b1)
    return estimate, s, product


class DecoderLayer(torch.autograd.Function):
    """Batch-normalise the projection from above, combine it with the lateral z̃, and cost the estimate.

    pre [K, B, H] (projection from the layer above), noisy z̃ [K, B, H], coefficients [K, 9, H], clean z [K, B, H],
    mean, rstd [K, 1, H] of the clean path's batch normalisation (0 and 1 at the input layer) →
    ẑ [K, B, H] and cost [K] = mean over rows and units of ((ẑ - mean)·rstd - z)².
    """

    @staticmethod
    def forward(
        ctx: Any, pre: Tensor, noisy: Tensor, coefficients: Tensor, clean: Tensor, mean: Tensor, rstd: Tensor
    ) -> tuple[Tensor, Tensor]:
        u_mean, u_rstd = pre.new_empty(2, len(pre), 1, pre.shape[2])
        estimate = torch.empty_like(pre)
        cost = pre.new_zeros(len(pre))
        for k, at in blocks(pre):
            u, u_mean[k, :, at], u_rstd[k, :, at] = normalise(pre[k, :, at])
            value, _, _ = combine(noisy[k, :, at], u, coefficients[k, :, at])
            estimate[k, :, at] = value
            difference = value.sub_(mean[k, :, at]).mul_(rstd[k, :, at]).sub_(clean[k, :, at])
            cost[k] += difference.square_().sum((1, 2))
        ctx.save_for_backward(pre, u_mean, u_rstd, noisy, coefficients, clean, mean, rstd)
        return estimate, cost.div_(pre.shape[1] * pre.shape[2])

    @staticmethod
    def backward(ctx: Any, gestimate: Tensor | None, gcost: Tensor) -> tuple[Tensor | None, ...]:
        pre, u_mean, u_rstd, noisy, coefficients, clean, mean, rstd = ctx.saved_tensors
        rows = pre.shape[1]
        weight = (gcost * (2 / (rows * pre.shape[2])))[:, None, None]
        gpre = torch.empty_like(pre)
        gcoefficients = torch.empty_like(coefficients)
        lateral = ctx.needs_input_grad[1]
        gnoisy = torch.empty_like(noisy) if lateral else None
        gclean = torch.empty_like(clean) if lateral else None
        gmean = torch.empty_like(mean) if lateral else None
        grstd = torch.empty_like(rstd) if lateral else None
        for k, at in blocks(pre):
            z, ck, r = noisy[k, :, at], coefficients[k, :, at], rstd[k, :, at]
            _, a2, a3, a4, b1, _, c2, c3, c4 = ck.unsqueeze(2).unbind(1)
            u = (pre[k, :, at] - u_mean[k, :, at]).mul_(u_rstd[k, :, at])
            value, s, product = combine(z, u, ck)
            centred = value.sub_(mean[k, :, at])
            gdifference = torch.sub(centred * r, clean[k, :, at]).mul_(weight[k])
            g = gdifference * r
            if lateral:
                torch.neg(gdifference, out=gclean[k, :, at])  # type: ignore[index]
                gmean[k, :, at] = -g.sum(1, keepdim=True)  # type: ignore[index]
                grstd[k, :, at] = dot(gdifference, centred).unsqueeze(1)  # type: ignore[index]
            if gestimate is not None:
                g.add_(gestimate[k, :, at])
            gsigmoid = torch.mul(s, s).neg_().add_(s).mul_(g).mul_(b1)  # g·b1·s(1-s)
            sums = [g.sum(1), *(dot(g, factor) for factor in (z, u, product, s))]
            sums += [gsigmoid.sum(1), *(dot(gsigmoid, factor) for factor in (z, u, product))]
            gcoefficients[k, :, at] = torch.stack(sums, 1)
            gu = torch.addcmul(a3, z, a4).mul_(g).addcmul_(torch.addcmul(c3, z, c4), gsigmoid)
            if lateral:
                gnoisy[k, :, at] = torch.addcmul(a2, u, a4).mul_(g).addcmul_(torch.addcmul(c2, u, c4), gsigmoid)  # type: ignore[index]
            slope = dot(gu, u).unsqueeze(1).mul_(-1 / rows)
            shift = gu.sum(1, keepdim=True).mul_(-1 / rows)
            gpre[k, :, at] = gu.addcmul_(u, slope).add_(shift).mul_(u_rstd[k, :, at])
        return gpre, gnoisy, gcoefficients, gclean, gmean, grstd


def blocks(values: Tensor) -> Iterator[tuple[slice, slice]]:
    """(replicates, columns) of [K, B, H] to be worked through one after another; all at once on a GPU."""
    k, rows, width = values.shape
    if not values.is_cpu:
        yield slice(0, k), slice(0, width)
        return
    columns = -(-width // max(1, round(rows * width / BLOCK)))
    for replicate in range(k):
        for start in range(0, width, columns):
            yield slice(replicate, replicate + 1), slice(start, min(start + columns, width))
