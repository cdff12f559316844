"""The output layer of `gaussians` as a compiled loop, for float32 on a CPU: one pass where torch operations make a dozen."""

from __future__ import annotations

from typing import Any

import numpy as np

from affect.systems.compiled import compiled

Array = np.ndarray

HALF, ONE = np.float32(0.5), np.float32(1)
INVERSE_LIMIT = np.float32(1 / 6)
"""One over `gaussians.LIMIT`."""
SIXTEENTH = np.float32(1 / 16)
T2, T3, T4, T5, T6, T7 = np.array([1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040], np.float32)


@compiled
def _exp(x: Any) -> Any:
    """exp(x) to 2e-6 for |x| < 6: a Taylor series of a sixteenth, squared four times."""
    x = SIXTEENTH * x
    y = ONE + x * (ONE + x * (T2 + x * (T3 + x * (T4 + x * (T5 + x * (T6 + x * T7))))))
    y = y * y
    y = y * y
    y = y * y
    return y * y


@compiled
def gaussian_output(outputs: Array, bias: Array, x: Array, rows: Array, total: Array) -> None:
    """Σ_d of log σ² + (x - μ)²/σ² per row, into total [N].

    outputs [N, 2D] + bias [2D] are μ and the unbounded log σ², x [B, D] has each row's sample in its row `rows` [N]. The
    outputs are replaced by the derivatives of the log density.
    """
    width = x.shape[1]
    for n in range(len(outputs)):
        means, raws, given = outputs[n, :width], outputs[n, width:], x[rows[n]]
        value = np.float32(0)
        for j in range(width):
            raw = raws[j] + bias[width + j]
            scaled = INVERSE_LIMIT * raw
            rstd = ONE / np.sqrt(ONE + scaled * scaled)
            log_variance = raw * rstd
            difference = given[j] - (means[j] + bias[j])
            slope = difference * _exp(-log_variance)
            square = difference * slope
            value += log_variance + square
            means[j] = slope
            raws[j] = HALF * (square - ONE) * (rstd * rstd * rstd)
        total[n] = value
