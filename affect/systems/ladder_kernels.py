"""The two layers of `ladder_layers` and the NAdam update as compiled loops, for float32 on a CPU.

A torch operation reads its operands from memory and writes its result back, and a layer is some forty of those. These
loops read every array once or twice and keep what is in between in registers. One call is one replicate (B rows of H
units), so no result depends on what shares a pack.

Whether the compiler vectorises a loop, a factor of ten, hangs on how it is written:

- The inner loop runs over neighbouring units; sums over the batch are rows of one scratch array.
- Loops that update an array in place slice its row first: `start + j` could be negative for all the compiler knows.
- The compiler tests, when a loop starts, that no written array overlaps another one, and gives up if that takes more
  than eight tests. Rows of one scratch array need none, its shape being constant. So a loop with many operands writes
  to the scratch array alone, and what it leaves there is copied out by a second loop.
- Division must not raise on zero (`error_model`), constants are float32, and the sigmoid is made of arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from affect.systems.compiled import compiled

Array = np.ndarray
BLOCK = 1024
"""Units worked through at a time, so that what a block reads twice stays in the second-level cache."""
PADDING = 16
"""Extra columns of a scratch array. Without them its rows, a power of two apart, evict each other from the cache: the
wide loops take three to six times as long."""

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
EPSILON = np.float32(1e-10)
"""Added to batch variances, as in `ladder_layers`."""
LIMIT = np.float32(7.9)
"""tanh is 1 from here on, to the precision of a float32."""
P0, P1, P2, P3 = np.array(
    [4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08], np.float32
)
P4, P5, P6 = np.array([-8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16], np.float32)
Q0, Q1, Q2, Q3 = np.array(
    [4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06], np.float32
)


@compiled
def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) to 2e-7, as (1 + tanh(x/2)) / 2 with the rational approximation of tanh that Eigen uses."""
    x = HALF * x
    x = LIMIT if x > LIMIT else x
    x = -LIMIT if x < -LIMIT else x
    y = x * x
    p = P0 + y * (P1 + y * (P2 + y * (P3 + y * (P4 + y * (P5 + y * P6)))))
    q = Q0 + y * (Q1 + y * (Q2 + y * Q3))
    return HALF + HALF * (x * p / q)


@compiled
def _moments(x: Array, start: int, mean: Array, rstd: Array) -> None:
    """Mean and one over the standard deviation of columns start.. of x [B, H], into mean and rstd [n]."""
    rows, n = len(x), len(mean)
    mean[:] = ZERO
    rstd[:] = ZERO
    scale = ONE / np.float32(rows)
    for b in range(rows):
        row = x[b, start : start + n]
        for j in range(n):
            mean[j] += row[j]
    for j in range(n):
        mean[j] *= scale
    for b in range(rows):
        row = x[b, start : start + n]
        for j in range(n):
            centred = row[j] - mean[j]
            rstd[j] += centred * centred
    for j in range(n):
        rstd[j] = ONE / np.sqrt(rstd[j] * scale + EPSILON)


@compiled
def encoder_forward(
    pre: Array, noise: Array, gamma: Array, beta: Array, z: Array, h: Array, mean: Array, rstd: Array
) -> None:
    """One path of an encoder layer: z = (pre - mean)·rstd + noise and h = relu(γ·(z + β)).

    pre [B, H], noise [B, H] or one row [1, H], gamma, beta [H] → z [B, H], h [B, H] (or [0, H]: not wanted),
    mean, rstd [H].
    """
    rows, units = pre.shape
    noisy = len(noise) > 1
    w = np.empty((4, BLOCK + PADDING), np.float32)
    centre, inverse, scale, shift = w[0], w[1], w[2], w[3]
    for start in range(0, units, BLOCK):
        n = min(BLOCK, units - start)
        at = slice(start, start + n)
        _moments(pre, start, centre[:n], inverse[:n])
        for j in range(n):
            mean[start + j], rstd[start + j] = centre[j], inverse[j]
            scale[j], shift[j] = gamma[start + j], gamma[start + j] * beta[start + j]
        for b in range(rows):
            prow, nrow, zrow = pre[b, at], noise[b * noisy, at], z[b, at]
            for j in range(n):
                zrow[j] = (prow[j] - centre[j]) * inverse[j] + nrow[j]
            if len(h):
                hrow = h[b, at]
                for j in range(n):
                    value = zrow[j] * scale[j] + shift[j]
                    hrow[j] = ZERO if value < ZERO else value  # NaN stays NaN


@compiled
def encoder_backward(
    gz: Array,
    gh: Array,
    z: Array,
    noise: Array,
    gamma: Array,
    beta: Array,
    rstd: Array,
    gmean: Array,
    grstd: Array,
    gpre: Array,
    ggamma: Array,
    gbeta: Array,
) -> None:
    """Gradients of `encoder_forward`. With a = gh where h > 0, g = gz + γa and y = z - noise (normalised pre):

    gpre = rstd·(g - (Σg - gmean/rstd)/B - y·(Σgy + rstd·grstd)/B), ggamma += Σaz + βΣa, gbeta += γΣa.
    gh, noise [B, H], or [1, H] where the path has none (zeros); gmean, grstd [H] of the outputs mean and rstd.
    """
    rows, units = z.shape
    noisy, active = len(noise) > 1, len(gh) > 1
    w = np.empty((6, BLOCK + PADDING), np.float32)
    scale, shift, sum_a, sum_az, sum_g, sum_gy = w[0], w[1], w[2], w[3], w[4], w[5]
    for start in range(0, units, BLOCK):
        n = min(BLOCK, units - start)
        at = slice(start, start + n)
        for j in range(n):
            scale[j], shift[j] = gamma[start + j], gamma[start + j] * beta[start + j]
            sum_a[j], sum_az[j], sum_g[j], sum_gy[j] = ZERO, ZERO, ZERO, ZERO
        for b in range(rows):
            gzrow, ghrow, zrow, nrow = gz[b, at], gh[b * active, at], z[b, at], noise[b * noisy, at]
            for j in range(n):
                a = ZERO if zrow[j] * scale[j] + shift[j] <= ZERO else ghrow[j]
                g = gzrow[j] + a * scale[j]
                sum_a[j] += a
                sum_az[j] += a * zrow[j]
                sum_g[j] += g
                sum_gy[j] += g * (zrow[j] - nrow[j])
        for j in range(n):
            i = start + j
            ggamma[i] += sum_az[j] + beta[i] * sum_a[j]
            gbeta[i] += scale[j] * sum_a[j]
            sum_g[j] = (gmean[i] / rstd[i] - sum_g[j]) / np.float32(rows)
            sum_gy[j] = -(sum_gy[j] + rstd[i] * grstd[i]) / np.float32(rows)
            sum_a[j] = rstd[i]
        for b in range(rows):
            gzrow, ghrow, zrow, nrow = gz[b, at], gh[b * active, at], z[b, at], noise[b * noisy, at]
            out = gpre[b, at]
            for j in range(n):
                a = ZERO if zrow[j] * scale[j] + shift[j] <= ZERO else ghrow[j]
                g = gzrow[j] + a * scale[j]
                out[j] = (g + (zrow[j] - nrow[j]) * sum_gy[j] + sum_g[j]) * sum_a[j]


@compiled
def decoder_forward(
    pre: Array,
    z: Array,
    coefficients: Array,
    clean: Array,
    mean: Array,
    rstd: Array,
    estimate: Array,
    u_mean: Array,
    u_rstd: Array,
) -> float:
    """u = BN(pre), ẑ = a1 + a2 z + a3 u + a4 zu + b1 sigmoid(c1 + c2 z + c3 u + c4 zu).

    Returns Σ((ẑ - mean)·rstd - clean)² over rows and units.
    pre, z, clean [B, H], coefficients [9, H], mean, rstd [H] → estimate ẑ [B, H], u_mean, u_rstd [H].
    """
    rows, units = pre.shape
    w = np.empty((14, BLOCK + PADDING), np.float32)
    a1, a2, a3, a4, b1, c1, c2, c3, c4 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]
    centre, inverse, clean_mean, clean_rstd, cost = w[9], w[10], w[11], w[12], w[13]
    total = 0.0
    for start in range(0, units, BLOCK):
        n = min(BLOCK, units - start)
        at = slice(start, start + n)
        _moments(pre, start, centre[:n], inverse[:n])
        for i in range(9):
            for j in range(n):
                w[i, j] = coefficients[i, start + j]
        for j in range(n):
            u_mean[start + j], u_rstd[start + j] = centre[j], inverse[j]
            clean_mean[j], clean_rstd[j], cost[j] = mean[start + j], rstd[start + j], ZERO
        for b in range(rows):
            prow, zrow, crow, out = pre[b, at], z[b, at], clean[b, at], estimate[b, at]
            for j in range(n):
                u = (prow[j] - centre[j]) * inverse[j]
                zu = zrow[j] * u
                s = _sigmoid(c1[j] + c2[j] * zrow[j] + c3[j] * u + c4[j] * zu)
                out[j] = a1[j] + a2[j] * zrow[j] + a3[j] * u + a4[j] * zu + b1[j] * s
            for j in range(n):
                difference = (out[j] - clean_mean[j]) * clean_rstd[j] - crow[j]
                cost[j] += difference * difference
        for j in range(n):
            total += cost[j]
    return total


@compiled
def decoder_backward(
    pre: Array,
    u_mean: Array,
    u_rstd: Array,
    z: Array,
    coefficients: Array,
    clean: Array,
    mean: Array,
    rstd: Array,
    gestimate: Array,
    weight: np.float32,
    gpre: Array,
    gcoefficients: Array,
    gz: Array,
    gclean: Array,
    gmean: Array,
    grstd: Array,
) -> None:
    """Gradients of `decoder_forward`; `weight` is the gradient of half the sum of squares.

    With e = ẑ - mean, d = weight·(e·rstd - clean), g = gestimate + d·rstd and t = g·b1·s(1 - s):
    gcoefficients are Σ of g·(1, z, u, zu, s) and t·(1, z, u, zu); gclean = -d, gmean = -rstd Σd, grstd = Σde,
    gz = (a2 + a4 u)g + (c2 + c4 u)t, gu = (a3 + a4 z)g + (c3 + c4 z)t, gpre = u_rstd·(gu - Σgu/B - u·Σ(gu·u)/B).
    gestimate [B, H], or [1, H] zeros where nothing reads the estimate; gz, gclean [B, H], or [0, H]: not wanted.
    """
    rows, units = pre.shape
    above, lateral = len(gestimate) > 1, len(gz) > 0
    w = np.empty((28, BLOCK + PADDING), np.float32)
    a1, a2, a3, a4, b1, c1, c2, c3, c4 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]
    centre, inverse, clean_mean, clean_rstd = w[9], w[10], w[11], w[12]
    g_1, g_z, g_u, g_zu, g_s, t_1, t_z, t_u, t_zu = w[13], w[14], w[15], w[16], w[17], w[18], w[19], w[20], w[21]
    d_1, d_e, row_u, row_z, row_d = w[22], w[23], w[24], w[25], w[26]
    scale = -ONE / np.float32(rows)
    for start in range(0, units, BLOCK):
        n = min(BLOCK, units - start)
        at = slice(start, start + n)
        for i in range(9):
            for j in range(n):
                w[i, j] = coefficients[i, start + j]
        for i in range(13, 24):
            for j in range(n):
                w[i, j] = ZERO
        for j in range(n):
            centre[j], inverse[j] = u_mean[start + j], u_rstd[start + j]
            clean_mean[j], clean_rstd[j] = mean[start + j], rstd[start + j]
        for b in range(rows):
            prow, zrow, crow, grow = pre[b, at], z[b, at], clean[b, at], gestimate[b * above, at]
            for j in range(n):
                x = zrow[j]
                u = (prow[j] - centre[j]) * inverse[j]
                xu = x * u
                s = _sigmoid(c1[j] + c2[j] * x + c3[j] * u + c4[j] * xu)
                e = a1[j] + a2[j] * x + a3[j] * u + a4[j] * xu + b1[j] * s - clean_mean[j]
                d = weight * (e * clean_rstd[j] - crow[j])
                g = grow[j] + d * clean_rstd[j]
                t = g * b1[j] * s * (ONE - s)
                g_1[j] += g
                g_z[j] += g * x
                g_u[j] += g * u
                g_zu[j] += g * xu
                g_s[j] += g * s
                t_1[j] += t
                t_z[j] += t * x
                t_u[j] += t * u
                t_zu[j] += t * xu
                d_1[j] += d
                d_e[j] += d * e
                row_u[j] = (a3[j] + a4[j] * x) * g + (c3[j] + c4[j] * x) * t
                row_z[j] = (a2[j] + a4[j] * u) * g + (c2[j] + c4[j] * u) * t
                row_d[j] = -d
            uout = gpre[b, at]
            for j in range(n):
                uout[j] = row_u[j]
            if lateral:
                zout, cout = gz[b, at], gclean[b, at]
                for j in range(n):
                    zout[j] = row_z[j]
                    cout[j] = row_d[j]
        for i in range(9):
            for j in range(n):
                gcoefficients[i, start + j] = w[13 + i, j]
        if lateral:
            for j in range(n):
                gmean[start + j] = -clean_rstd[j] * d_1[j]
                grstd[start + j] = d_e[j]
        # Σgu and Σgu·u follow from the sums above.
        for j in range(n):
            d_1[j] = scale * (a3[j] * g_1[j] + a4[j] * g_z[j] + c3[j] * t_1[j] + c4[j] * t_z[j])
            d_e[j] = scale * (a3[j] * g_u[j] + a4[j] * g_zu[j] + c3[j] * t_u[j] + c4[j] * t_zu[j])
        for b in range(rows):
            prow, out = pre[b, at], gpre[b, at]
            for j in range(n):
                u = (prow[j] - centre[j]) * inverse[j]
                out[j] = (out[j] + u * d_e[j] + d_1[j]) * inverse[j]


@compiled
def nadam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    rest1: np.float32,
    rest2: np.float32,
    root: np.float32,
    epsilon: np.float32,
    now: np.float32,
    ahead: np.float32,
) -> None:
    """m += (1-β1)(g - m), v += (1-β2)(g² - v), p -= (now·g + ahead·m) / (root·√v + ε); all arrays [n], in place.

    rest1, rest2 are 1-β1, 1-β2, root is 1/√(1-β2^t), now and ahead the learning rate times the Nesterov weights of
    gradient and momentum.
    """
    for j in range(len(p)):
        m[j] += rest1 * (g[j] - m[j])
        v[j] += rest2 * (g[j] * g[j] - v[j])
        p[j] -= (now * g[j] + ahead * m[j]) / (root * np.sqrt(v[j]) + epsilon)
