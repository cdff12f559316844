"""The values behind all tables as one array, so that every statistic is a few array operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affect.report.evidence import Evidence

Floats = NDArray[np.float64]
PARTITIONS = ("train", "development", "test", "mean")
"""`mean` is the mean of development and test, seed by seed."""


@dataclass(frozen=True, eq=False)
class Cube:
    """Values over label fractions F × systems S × targets T × `PARTITIONS` P × seeds N."""

    fractions: tuple[float, ...]
    systems: tuple[str, ...]
    """Names of rows in the study's order, floors last."""
    targets: tuple[str, ...]
    seeds: NDArray[np.int64]
    values: Floats
    """[F, S, T, P, N]; NaN where a trial is missing, diverged or its value undefined."""
    rows: Floats
    """[F, S, T, P] scored rows; for `mean` the number whose Fisher variance is that of a mean of two independent z."""
    expected: NDArray[np.bool_]
    """[F, S, T, N] trials that the plan wants or that are there."""
    diverged: NDArray[np.bool_]
    """[F, S, T, N]"""
    errors: Mapping[str, Floats]
    """Rows over which imputation errors were taken → errors [F, S, N]; NaN where a trial has none."""

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """[F, S, T, P] seeds with a value."""
        return (~np.isnan(self.values)).sum(axis=-1)

    @cached_property
    def means(self) -> Floats:
        """[F, S, T, P] means over the seeds with a value; NaN where there is none."""
        return mean_over_seeds(self.values)

    def deviation(self, f: int, s: int, t: int, p: int) -> float:
        """Standard deviation over the seeds with a value; NaN with fewer than two."""
        values = self.values[f, s, t, p]
        values = values[~np.isnan(values)]
        return float(values.std(ddof=1)) if len(values) > 1 else float("nan")

    @property
    def main(self) -> int:
        """Index of the largest label fraction: the one that figures and claims speak of."""
        return int(np.argmax(self.fractions))


def mean_over_seeds(values: Floats) -> Floats:
    """Means over the last axis, of the seeds with a value; NaN where there is none."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0).sum(axis=-1) / there.sum(axis=-1))


def build_cube(evidence: Evidence) -> Cube:
    """Lay the values out. Rows of systems, targets, partitions or fractions outside the resolved study are left out."""
    resolved, values, expected = evidence.resolved, evidence.values, evidence.expected
    ordered = sorted(resolved.rows, key=lambda row: row.floor)
    axes: tuple[Sequence[Any], ...] = (
        resolved.label_fractions,
        [row.name for row in ordered],
        resolved.study.targets,
    )
    seeds = np.union1d(values["seed"].to_numpy(np.int64), expected["seed"].to_numpy(np.int64))
    shape = (*map(len, axes), len(PARTITIONS), len(seeds))
    place = _places(
        values, (*axes, PARTITIONS[:-1], seeds), ("label_fraction", "system", "target", "partition", "seed")
    )
    wanted = _places(expected, (*axes, seeds), ("label_fraction", "system", "target", "seed"))
    known = (place >= 0).all(axis=0)
    status = values["status"].to_numpy()
    complete, gone = known & (status == "complete"), known & (status == "diverged")

    cube = np.full(shape, np.nan)
    cube[tuple(place[:, complete])] = values["value"].to_numpy(np.float64)[complete]
    cube[~np.isfinite(cube)] = np.nan
    cube[:, :, :, 3] = (cube[:, :, :, 1] + cube[:, :, :, 2]) / 2
    rows = np.full(shape[:-1], np.nan)
    rows[tuple(place[:4, complete])] = values["n"].to_numpy(np.float64)[complete]
    there = np.zeros((*shape[:3], shape[4]), bool)
    diverged = there.copy()
    diverged[tuple(place[[0, 1, 2, 4]][:, gone])] = True
    there[tuple(place[[0, 1, 2, 4]][:, complete])] = True
    there[tuple(wanted[:, (wanted >= 0).all(axis=0)])] = True
    return Cube(
        fractions=tuple(resolved.label_fractions),
        systems=tuple(row.name for row in ordered),
        targets=tuple(resolved.study.targets),
        seeds=seeds,
        values=cube,
        rows=_rows(rows, resolved.corpus.rows),
        expected=there | diverged,
        diverged=diverged,
        errors=_errors(evidence.errors, axes[:2], seeds),
    )


def _errors(
    frame: pd.DataFrame | None, axes: Sequence[Sequence[Any]], seeds: NDArray[np.int64]
) -> Mapping[str, Floats]:
    found: dict[str, Floats] = {}
    for rows, part in () if frame is None else frame.groupby("rows"):
        place = _places(part, (*axes, seeds), ("label_fraction", "system", "seed"))
        known = (place >= 0).all(axis=0)
        found[str(rows)] = np.full((*map(len, axes), len(seeds)), np.nan)
        found[str(rows)][tuple(place[:, known])] = part["value"].to_numpy(np.float64)[known]
    return found


def _places(
    frame: pd.DataFrame, axes: Sequence[Sequence[Any] | NDArray[Any]], columns: Sequence[str]
) -> NDArray[np.int64]:
    """[axes, rows] position of each row on each axis, −1 where it is not on it."""
    return np.stack([pd.Index(axis).get_indexer(frame[column]) for axis, column in zip(axes, columns, strict=True)])


def _rows(rows: Floats, declared: Mapping[str, int]) -> Floats:
    """Fill cells without a finished trial with the corpus' own numbers and derive those of `mean`."""
    for p, partition in enumerate(PARTITIONS[:-1]):
        rows[..., p] = np.where(np.isnan(rows[..., p]), declared.get(partition, np.nan), rows[..., p])
    with np.errstate(invalid="ignore", divide="ignore"):
        rows[..., 3] = 3 + 4 / (1 / (rows[..., 1] - 3) + 1 / (rows[..., 2] - 3))
    return rows
