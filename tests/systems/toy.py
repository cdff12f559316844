"""Small tasks in memory for tests of systems."""

from __future__ import annotations

import numpy as np

from affect.data.task import FitData, Inputs
from affect.streams import stream

TARGETS = ("arousal", "valence", "dominance")
SCALARS = {
    "dropout_input": [0.1, 0.4],
    "dropout_hidden": [0.5, 0.2],
    "noise_variance": [0.3, 0.09],
    "lambda_0": [1.0, 0.1],
    "lambda_1": [1.0, 10.0],
    "lambda_2": [0.5, 2.0],
    "weights": [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]],
}
"""Settings of a pack of two that differ in everything, as networks take them."""


def toy_data(seed: int = 0, n: int = 160, labelled: int = 64, width: int = 6, pool: int = 0) -> FitData:
    """A learnable three-target task; the arrays depend on nothing but the sizes, the labelled subset on the seed."""
    g = np.random.default_rng(7)
    rows = n + pool + 80
    array = g.standard_normal((rows, width)).astype(np.float32)
    y = np.tanh(array @ g.standard_normal((width, 3))) + 0.3 * g.standard_normal((rows, 3)) + 4
    mean, scale = np.zeros(width), np.ones(width)
    chosen = np.sort(stream(seed, "label_subset", 0).permutation(n)[:labelled])
    development = np.arange(n + pool, rows)
    return FitData(
        train=Inputs((array,), np.arange(n + pool), mean, scale),
        labelled=chosen,
        targets=TARGETS,
        y_labelled=y[chosen],
        target_mean=y[chosen].mean(0),
        target_std=y[chosen].std(0),
        development=Inputs((array,), development, mean, scale),
        y_development=y[development],
        n_train=n,
    )
