"""The numbers behind the tables as tidy data frames, for anyone's own plots."""

from __future__ import annotations

import numpy as np
import pandas as pd

from affect.report.analysis import Analysis
from affect.report.cube import PARTITIONS
from affect.stats import mean_interval


def cell_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per label fraction × system × target × partition (`mean`: of development and test)."""
    cube = analysis.cube
    shape = cube.means.shape
    axes = np.indices(shape).reshape(4, -1)
    names = (cube.fractions, cube.systems, cube.targets, PARTITIONS)
    labels = [np.asarray(name)[axis] for name, axis in zip(names, axes, strict=True)]
    low, high = mean_interval(cube.values)
    columns = {
        "label_fraction": labels[0],
        "system": labels[1],
        "target": labels[2],
        "partition": labels[3],
        "mean": cube.means.ravel(),
        "low": low.ravel(),
        "high": high.ravel(),
        "seeds": cube.counts.ravel(),
        "seeds_expected": np.broadcast_to(cube.expected.sum(axis=-1)[..., None], shape).ravel(),
        "diverged": np.broadcast_to(cube.diverged.sum(axis=-1)[..., None], shape).ravel(),
    }
    frame = pd.DataFrame(columns)
    return frame[frame["seeds_expected"] > 0]


def comparison_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per comparison of every declared family."""
    rows = [
        {
            "label_fraction": analysis.cube.fractions[f],
            "partition": partition,
            "baseline": system if family.worse else baseline,
            "system": baseline if family.worse else system,
            "target": target,
            "seeds": family.pairs[s, t],
            "difference": family.difference[s, t],
            "low": family.low[s, t],
            "high": family.high[s, t],
            "p_fisher_z": family.fisher[s, t],
            "p_paired_t": family.t[s, t],
            "p_sign_flip": family.flip[s, t],
            "p_holm": family.holm[s, t],
            "family_size": family.size,
            "seeds_needed": family.needed,
        }
        for (f, partition, baseline), family in analysis.families.items()
        for s, system in enumerate(family.systems)
        for t, target in enumerate(analysis.cube.targets)
    ]
    return pd.DataFrame(rows)


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, float_format="%.8g", lineterminator="\n").encode()
