"""Learning curves: means over seeds per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affect.report.analysis import Analysis

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CurveMeans:
    """Of one system and target, per epoch [E]: mean over seeds, and ± one standard deviation (0 with one seed)."""

    epochs: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats


def curve_means(analysis: Analysis, partition: str = "development") -> Mapping[tuple[str, str], CurveMeans]:
    """(system, target) → curve in `partition` at the largest label fraction, over epochs with a finite value."""
    cube, frame = analysis.cube, analysis.evidence.curves
    if frame is None or not len(frame):
        return {}
    keep = (frame["partition"] == partition) & (frame["label_fraction"] == cube.fractions[cube.main])
    frame = frame[keep.to_numpy() & np.isfinite(frame["value"].to_numpy(np.float64))]
    s = pd.Index(cube.systems).get_indexer(frame["system"])
    t = pd.Index(cube.targets).get_indexer(frame["target"])
    known = (s >= 0) & (t >= 0)
    epochs, e = np.unique(frame["epoch"].to_numpy(np.int64)[known], return_inverse=True)
    shape = (len(cube.systems), len(cube.targets), len(epochs))
    place = np.ravel_multi_index((s[known], t[known], e), shape) if len(epochs) else e
    value = frame["value"].to_numpy(np.float64)[known]
    size = int(np.prod(shape))
    count, total, squares = (
        np.bincount(place, weights, size).reshape(shape) for weights in (None, value, value * value)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        spread = np.sqrt(np.maximum(squares - count * mean**2, 0) / np.maximum(count - 1, 1))
    curves = {}
    for i, system in enumerate(cube.systems):
        for j, target in enumerate(cube.targets):
            there = count[i, j] > 0
            if there.any():
                m, h = mean[i, j, there], spread[i, j, there]
                curves[system, target] = CurveMeans(epochs[there], m, m - h, m + h)
    return curves
