"""The two layers of a stacked ladder network, each one autograd Function with its derivative written out.

Shapes: K replicates, B rows of a batch, H units. Written by hand because autograd would keep, and pass over, some forty
intermediate [K, B, H] arrays per layer. Each direction exists twice: as torch operations over the whole stack (GPU, and
float64, in which derivatives are checked, and batches shared by workers) and as one compiled loop per replicate
(float32 on a CPU). B are the rows that this worker holds: sums over the batch are summed over the workers too, except
those that are a parameter's gradient, for gradients are summed over the workers once they are complete.
Equations: Rasmus et al. 2015, Algorithm 1, with scale and bias both learnt (P1, Section III-B).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from affect.systems.shards import ALONE, Shard

EPSILON = 1e-10
"""Added to batch variances (value of the reference ladder network)."""
COEFFICIENTS = 9
"""Parameters of the combinator per unit: a1..a4, b1, c1..c4."""


def kernels_for(values: Tensor, shard: Shard) -> Any:
    """The compiled kernels if they apply to such tensors, else None. Imported late: the compiler is slow to load."""
    if not values.is_cpu or values.dtype != torch.float32 or shard.size > 1:
        return None
    from affect.systems import ladder_kernels

    return ladder_kernels


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors as the kernels take them: C-contiguous, and a copy where they were not (so outputs must be)."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a·b over the batch, [..., B, H] → [..., H]. (`vecdot` and `einsum` over this axis are 3-8 times slower.)"""
    return (a * b).sum(-2)


def normalise(values: Tensor, shard: Shard = ALONE, others: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Batch-normalise over dim -2: normalised values [..., B, H], mean and one over the standard deviation [..., 1, H].

    A sum of squares of the centred values: `torch.var` over this axis is an order of magnitude slower.
    """
    rows = values.shape[-2] + others
    (mean,) = shard.reduce(values.sum(-2, keepdim=True))
    mean.div_(rows)
    centred = values - mean
    (rstd,) = shard.reduce(dot(centred, centred).unsqueeze(-2))
    rstd.div_(rows).add_(EPSILON).rsqrt_()
    return centred.mul_(rstd), mean, rstd


class EncoderLayer(torch.autograd.Function):
    """Batch normalisation, noise, scale, bias and ReLU of the clean and the noisy path at once.

    pre [K, 2, B, H] (0: clean, 1: noisy), noise [K, B, H] already scaled, gamma, beta [K, H] →
    clean z and noisy z̃ [K, B, H], h [K, 2, B, H] (noisy path alone, [K, 1, B, H], for the `last` layer, whose clean
    activation nothing reads), mean and rstd [K, 1, H] of the clean path.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pre: Tensor,
        noise: Tensor,
        gamma: Tensor,
        beta: Tensor,
        last: bool,
        shard: Shard = ALONE,
        others: int = 0,
    ) -> tuple[Tensor, ...]:
        replicates, _, rows, units = pre.shape
        h = pre.new_empty(replicates, 1 if last else 2, rows, units)
        moments = pre.new_empty(4, replicates, 1, units)
        if kernels := kernels_for(pre, shard):
            clean, noisy = pre.new_empty(2, replicates, rows, units)
            p, n, c, b, z0, z1, out, m = arrays(pre, noise, gamma, beta, clean, noisy, h, moments)
            silence = np.zeros((1, units), np.float32)
            for k in range(replicates):
                wanted = out[k, 0, :0] if last else out[k, 0]
                kernels.encoder_forward(p[k, 0], silence, c[k], b[k], z0[k], wanted, m[0, k, 0], m[1, k, 0])
                kernels.encoder_forward(p[k, 1], n[k], c[k], b[k], z1[k], out[k, -1], m[2, k, 0], m[3, k, 0])
        else:
            clean, moments[0], moments[1] = normalise(pre[:, 0], shard, others)
            noisy, moments[2], moments[3] = normalise(pre[:, 1], shard, others)
            noisy += noise
            for path, z in zip(range(h.shape[1])[::-1], (noisy, clean), strict=False):
                torch.addcmul((gamma * beta)[:, None], z, gamma[:, None], out=h[:, path]).relu_()
        ctx.save_for_backward(clean, noisy, noise, h, moments, gamma, beta)
        ctx.shard, ctx.rows = shard, rows + others
        return clean, noisy, h, moments[0], moments[1]

    @staticmethod
    def backward(
        ctx: Any, gclean: Tensor, gnoisy: Tensor, gh: Tensor, gmean: Tensor, grstd: Tensor
    ) -> tuple[Tensor | None, ...]:
        clean, noisy, noise, h, moments, gamma, beta = ctx.saved_tensors
        replicates, _, units = clean.shape
        shard, rows = ctx.shard, ctx.rows
        last = h.shape[1] == 1
        gpre = clean.new_empty(replicates, 2, *clean.shape[1:])
        ggamma, gbeta = gamma.new_zeros(2, *gamma.shape)
        if kernels := kernels_for(clean, shard):
            g0, g1, ga, gm, gr = arrays(gclean, gnoisy, gh, gmean, grstd)
            z0, z1, n, m, c, b = arrays(clean, noisy, noise, moments, gamma, beta)
            gp, gc, gb = arrays(gpre, ggamma, gbeta)
            none = np.zeros((1, units), np.float32)
            for k in range(replicates):
                active = none if last else ga[k, 0]
                sums = (gc[k], gb[k])
                given = (c[k], b[k], m[1, k, 0], gm[k, 0], gr[k, 0])
                kernels.encoder_backward(g0[k], active, z0[k], none, *given, gp[k, 0], *sums)
                given = (c[k], b[k], m[3, k, 0], none[0], none[0])
                kernels.encoder_backward(g1[k], ga[k, -1], z1[k], n[k], *given, gp[k, 1], *sums)
            return gpre, None, ggamma, gbeta, None, None, None
        gmean, grstd = shard.reduce(gmean, grstd)
        for path, z, g in ((0, clean, gclean), (1, noisy, gnoisy)):
            if path or not last:
                # Rows of gh where the unit was active.
                active = torch.ops.aten.threshold_backward(gh[:, path - last], h[:, path - last], 0)
                total = active.sum(1)
                ggamma += dot(active, z).addcmul_(total, beta)
                gbeta += total * gamma
                g = torch.addcmul(g, active, gamma[:, None])
            # The noise is no part of the normalised activation.
            unit = z - noise if path else z
            rstd = moments[2 * path + 1]
            shift, slope = shard.reduce(g.sum(1, keepdim=True), dot(g, unit).unsqueeze(1))
            shift.mul_(-1 / rows)
            slope.mul_(-1 / rows)
            if not path:
                shift.addcdiv_(gmean, rstd, value=1 / rows)
                slope.addcmul_(grstd, rstd, value=-1 / rows)
            torch.mul(torch.addcmul(g, unit, slope).add_(shift), rstd, out=gpre[:, path])
        return gpre, None, ggamma, gbeta, None, None, None


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
    ẑ [K, B, H] and cost [K] = mean over all rows of the batch and units of ((ẑ - mean)·rstd - z)².
    """

    @staticmethod
    def forward(
        ctx: Any,
        pre: Tensor,
        noisy: Tensor,
        coefficients: Tensor,
        clean: Tensor,
        mean: Tensor,
        rstd: Tensor,
        shard: Shard = ALONE,
        others: int = 0,
    ) -> tuple[Tensor, Tensor]:
        # Nothing reads the lowest estimate: its gradient then is None instead of zeros.
        ctx.set_materialize_grads(False)
        replicates, rows, units = pre.shape
        if kernels := kernels_for(pre, shard):
            u_mean, u_rstd = pre.new_empty(2, replicates, 1, units)
            estimate, cost = pre.new_empty(replicates, rows, units), pre.new_empty(replicates)
            given = arrays(pre, noisy, coefficients, clean)
            m, r, out, um, ur = arrays(mean, rstd, estimate, u_mean, u_rstd)
            for k in range(replicates):
                each = [a[k] for a in given]
                cost[k] = kernels.decoder_forward(*each, m[k, 0], r[k, 0], out[k], um[k, 0], ur[k, 0])
        else:
            u, u_mean, u_rstd = normalise(pre, shard, others)
            estimate, _, _ = combine(noisy, u, coefficients)
            (cost,) = shard.reduce((estimate - mean).mul_(rstd).sub_(clean).square_().sum((1, 2)))
        ctx.save_for_backward(pre, u_mean, u_rstd, noisy, coefficients, clean, mean, rstd)
        ctx.shard, ctx.rows = shard, rows + others
        return estimate, cost.div_(ctx.rows * units)

    @staticmethod
    def backward(ctx: Any, gestimate: Tensor | None, gcost: Tensor | None) -> tuple[Tensor | None, ...]:
        pre, u_mean, u_rstd, noisy, coefficients, clean, mean, rstd = ctx.saved_tensors
        replicates, own, units = pre.shape
        shard, rows = ctx.shard, ctx.rows
        weight = pre.new_zeros(replicates) if gcost is None else gcost * (2 / (rows * units))
        lateral = ctx.needs_input_grad[1]
        if kernels := kernels_for(pre, shard):
            gpre, gcoefficients = pre.new_empty(pre.shape), pre.new_empty(coefficients.shape)
            gnoisy, gclean = pre.new_empty(2, replicates, own if lateral else 0, units)
            gmean, grstd = pre.new_empty(2, replicates, 1, units)
            ge = pre.new_zeros(replicates, 1, units) if gestimate is None else gestimate
            z, c, z0, m, r = arrays(noisy, coefficients, clean, mean, rstd)
            p, um, ur, ge_, w = arrays(pre, u_mean, u_rstd, ge, weight)
            out = arrays(gpre, gcoefficients, gnoisy, gclean)
            gm, gr = arrays(gmean, grstd)
            for k in range(replicates):
                given = (p[k], um[k, 0], ur[k, 0], z[k], c[k], z0[k], m[k, 0], r[k, 0], ge_[k], w[k])
                kernels.decoder_backward(*given, *(a[k] for a in out), gm[k, 0], gr[k, 0])
        else:
            weight = weight[:, None, None]
            _, a2, a3, a4, b1, _, c2, c3, c4 = coefficients.unsqueeze(2).unbind(1)
            u = (pre - u_mean).mul_(u_rstd)
            value, s, product = combine(noisy, u, coefficients)
            centred = value.sub_(mean)
            gdifference = torch.sub(centred * rstd, clean).mul_(weight)
            g = gdifference * rstd
            if lateral:
                gclean = -gdifference
                gmean = -g.sum(1, keepdim=True)
                grstd = dot(gdifference, centred).unsqueeze(1)
            if gestimate is not None:
                g.add_(gestimate)
            gsigmoid = torch.mul(s, s).neg_().add_(s).mul_(g).mul_(b1)  # g·b1·s(1-s)
            sums = [g.sum(1), *(dot(g, factor) for factor in (noisy, u, product, s))]
            sums += [gsigmoid.sum(1), *(dot(gsigmoid, factor) for factor in (noisy, u, product))]
            gcoefficients = torch.stack(sums, 1)
            gu = torch.addcmul(a3, noisy, a4).mul_(g).addcmul_(torch.addcmul(c3, noisy, c4), gsigmoid)
            if lateral:
                gnoisy = torch.addcmul(a2, u, a4).mul_(g).addcmul_(torch.addcmul(c2, u, c4), gsigmoid)
            slope, shift = shard.reduce(dot(gu, u).unsqueeze(1), gu.sum(1, keepdim=True))
            slope.mul_(-1 / rows)
            shift.mul_(-1 / rows)
            gpre = gu.addcmul_(u, slope).add_(shift).mul_(u_rstd)
        if not lateral:
            return gpre, None, gcoefficients, None, None, None, None, None
        return gpre, gnoisy, gcoefficients, gclean, gmean, grstd, None, None
