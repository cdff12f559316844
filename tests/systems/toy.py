"""Small tasks in memory for tests of systems."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import torch

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


def text_data(seed: int = 0) -> FitData:
    """A task told by one word of each row's text; the columns are noise. With the word the labels of all three targets are
    told exactly, but for the penalty."""
    words = {1.0: "dreadful", 2.0: "dull", 3.0: "fair", 4.0: "lovely"}
    data = toy_data(seed)
    g = np.random.default_rng(0)
    y = g.choice(list(words), len(data.train.arrays[0]))
    text = np.array([f"a {words[value]} day number{i % 5}" for i, value in enumerate(y)], object)
    noise = g.standard_normal(data.train.arrays[0].shape).astype(np.float32)
    told = np.stack([y, -y, 2 * y], axis=1)
    known = told[data.train.rows[data.labelled]]
    return replace(
        data,
        train=replace(data.train, arrays=(noise,), text=text[data.train.rows]),
        development=replace(data.development, arrays=(noise,), text=text[data.development.rows]),
        y_labelled=known,
        y_development=told[data.development.rows],
        target_mean=known.mean(axis=0),
        target_std=known.std(axis=0),
    )


def class_data(
    seed: int = 0, n: int = 240, labelled: int = 30, widths: tuple[int, ...] = (5, 4), missing: float = 0.0
) -> FitData:
    """Three classes and several views of them, each of which tells them apart only in part. A share `missing` of the
    training rows lacks the last view. Only the labelled subset depends on the seed."""
    g = np.random.default_rng(11)
    rows = n + 100
    y = g.integers(3, size=rows)
    arrays = tuple((g.standard_normal((3, w))[y] + g.standard_normal((rows, w))).astype(np.float32) for w in widths)
    mean, scale = np.zeros(sum(widths)), np.ones(sum(widths))
    present = None
    if missing:
        present = np.ones((n, len(widths)), bool)
        present[g.permutation(n)[: round(missing * n)], -1] = False
    first = [int(np.flatnonzero(y == c)[0]) for c in range(3)]
    rest = [row for row in stream(seed, "label_subset", 0).permutation(n) if row not in first]
    chosen = np.sort([*first, *rest[: labelled - 3]])
    return FitData(
        train=Inputs(arrays, np.arange(n), mean, scale, present=present),
        labelled=chosen,
        targets=("emotion",),
        y_labelled=y[chosen, None].astype(float),
        target_mean=np.zeros(1),
        target_std=np.ones(1),
        development=Inputs(arrays, np.arange(n, rows), mean, scale),
        y_development=y[n:, None].astype(float),
        n_train=n,
        classes=3,
    )


def restored(system, replicates, fitting):
    """An equal pack that began where `fitting` is, saved and loaded as a checkpoint is; both are trained to their ends."""
    saved = io.BytesIO()
    torch.save(fitting.state(), saved)
    again = system.begin(replicates, device="cpu")
    again.restore(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    for each in (fitting, again):
        while each.epoch < each.epochs:
            each.advance()
    return again
