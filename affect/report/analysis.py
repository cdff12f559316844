"""Every comparison that a report shows, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affect.report.cube import PARTITIONS, Cube, build_cube
from affect.report.evidence import Evidence
from affect.report.numbers import plural
from affect.resolved import Resolved
from affect.stats import (
    LEVEL,
    bootstrap_interval,
    fisher_z,
    holm,
    paired_t,
    resolvable,
    seeds_needed,
    sign_flip,
    smallest_p,
)

Floats = NDArray[np.float64]
_BLOCK = 512
"""Comparisons bootstrapped at once: bounds the memory."""
COMPARED = ("development", "test", "mean")


@dataclass(frozen=True, eq=False)
class Family:
    """Comparisons of the systems run, floors and grids aside, with one baseline in one partition: systems S × targets T.

    They are part of the family that the study declares, whose size is what Holm corrects for. Differences and one-tailed
    p are those of the system being better than the baseline or, with `worse`, of the baseline being better.
    """

    baseline: str
    worse: bool
    partition: str
    systems: tuple[str, ...]
    size: int
    """Comparisons that the study declares (`Resolved.family` by target), run or not."""
    pairs: NDArray[np.int64]
    """[S, T] seeds that both have."""
    difference: Floats
    """[S, T] mean paired difference, system minus baseline or, with `worse`, baseline minus system."""
    low: Floats
    high: Floats
    """[S, T] 95 % bootstrap interval of the difference."""
    fisher: Floats
    """[S, T] p of Fisher's z on the means, as in the paper."""
    flip: Floats
    """[S, T] p of the sign-flip permutation test."""
    t: Floats
    """[S, T] p of the paired t test."""
    holm: Floats
    """[S, T] p of the sign-flip test after Holm over the declared family; what was not run counts as p = 1."""

    @property
    def seeds(self) -> int:
        """Most pairs that a comparison has."""
        return int(self.pairs.max(initial=0))

    @property
    def needed(self) -> int:
        """Seeds with which the paired test can reach the level after Holm."""
        return seeds_needed(self.size)

    @property
    def resolvable(self) -> bool:
        """Whether the seeds at hand can reach the level after Holm; otherwise the marks of the test are withheld."""
        return resolvable(self.seeds, self.size)

    @property
    def extent(self) -> str:
        """The family in words."""
        part = "" if self.pairs.size == self.size else f" ({self.pairs.size} of them run)"
        return f"{plural(self.size, 'declared comparison')}{part}"

    @property
    def resolution(self) -> str:
        """What the seeds at hand can resolve, in one sentence."""
        n, family = self.seeds, f"Holm over {self.extent}"
        if self.resolvable:
            return f"{plural(n, 'seed')}: the smallest p that can be reached is {smallest_p(n):.2g}; {family}."
        return (
            f"Too few seeds for the paired test, its marks are withheld: {family} at p < {LEVEL:g} needs "
            f"{plural(self.needed, 'seed')}, and there {'is' if n == 1 else 'are'} {n}."
        )


@dataclass(frozen=True, eq=False)
class Analysis:
    """Evidence, its cube and its families by (index of label fraction, partition, baseline)."""

    evidence: Evidence
    cube: Cube
    families: Mapping[tuple[int, str, str], Family]

    @property
    def resolved(self) -> Resolved:
        return self.evidence.resolved

    @property
    def floors(self) -> frozenset[str]:
        return frozenset(row.name for row in self.resolved.rows if row.floor)

    def marks(self, f: int, partition: str, system: str, t: int) -> tuple[str, str]:
        """Symbols earned by a cell: by the paper's Fisher z test, and by the paired test after Holm."""
        fisher = paired = ""
        for mark in self.resolved.study.marks:
            family = self.families.get((f, partition, mark.baseline))
            if family is None or system not in family.systems:
                continue
            s = family.systems.index(system)
            fisher += mark.symbol if family.fisher[s, t] < LEVEL else ""
            paired += mark.symbol if family.resolvable and family.holm[s, t] < LEVEL else ""
        return fisher, paired


def analyse(evidence: Evidence) -> Analysis:
    """Compare every system with every declared baseline that was run, per label fraction and partition."""
    cube = build_cube(evidence)
    competing = {row.name for row in evidence.resolved.rows if row.competes}
    contenders = [system for system in cube.systems if system in competing]
    worse = {mark.baseline: mark.worse for mark in evidence.resolved.study.marks}
    keys = [
        (f, partition, baseline)
        for f in range(len(cube.fractions))
        for partition in COMPARED
        for baseline in worse
        if baseline in contenders and len(contenders) > 1
    ]
    if not keys:
        return Analysis(evidence, cube, {})
    sides = [_sides(cube, contenders, *key)[:: -1 if worse[key[2]] else 1] for key in keys]
    paired = _paired(np.stack([cube.values[ours] - cube.values[theirs] for ours, theirs in sides]))
    families = {}
    for i, (key, (ours, theirs)) in enumerate(zip(keys, sides, strict=True)):
        flip = paired["flip"][i]
        size = len(evidence.resolved.family(key[2])) * len(cube.targets)
        families[key] = Family(
            baseline=key[2],
            worse=worse[key[2]],
            partition=key[1],
            systems=tuple(system for system in contenders if system != key[2]),
            size=size,
            fisher=_fisher(evidence.resolved.study.metric, cube, ours, theirs),
            holm=_holm(flip, size),
            **{name: array[i] for name, array in paired.items()},
        )
    return Analysis(evidence, cube, families)


def _fisher(metric: str, cube: Cube, ours: tuple, theirs: tuple) -> Floats:
    """The test of correlations [S, T]; NaN where the metric is none."""
    if metric != "ccc":
        return np.full(np.broadcast_shapes(cube.means[ours].shape, cube.means[theirs].shape), np.nan)
    return fisher_z(cube.means[ours], cube.means[theirs], cube.rows[ours], cube.rows[theirs])


def _sides(cube: Cube, contenders: list[str], f: int, partition: str, baseline: str) -> tuple[tuple, tuple]:
    """Indices into the cube of the systems of a family and of its baseline."""
    others = [cube.systems.index(system) for system in contenders if system != baseline]
    p = PARTITIONS.index(partition)
    return (f, others, slice(None), p), (f, [cube.systems.index(baseline)], slice(None), p)


def _holm(p: Floats, size: int) -> Floats:
    """Holm over a family of `size` comparisons of which `p` [S, T] were made."""
    return holm(np.append(p, np.full(size - p.size, np.nan)))[: p.size].reshape(p.shape)


def _paired(differences: Floats) -> dict[str, NDArray]:
    """Paired statistics of differences [K, S, T, N]: each [K, S, T].

    Comparisons with the same complete seeds are tested together: usually that is all of them.
    """
    flat = differences.reshape(-1, differences.shape[-1])
    there = ~np.isnan(flat)
    found = {name: np.full(len(flat), np.nan) for name in ("difference", "low", "high", "flip", "t")}
    patterns: dict[bytes, list[int]] = {}
    for i, mask in enumerate(np.packbits(there, axis=1)):
        patterns.setdefault(mask.tobytes(), []).append(i)
    blocks = [group[i : i + _BLOCK] for group in patterns.values() for i in range(0, len(group), _BLOCK)]
    for members in blocks:
        d = flat[members][:, there[members[0]]].T
        if len(d):
            found["difference"][members] = d.mean(axis=0)
            found["low"][members], found["high"][members] = bootstrap_interval(d)
            found["flip"][members], found["t"][members] = sign_flip(d), paired_t(d)
    shape = differences.shape[:-1]
    pairs = there.sum(axis=1).reshape(shape)
    return {"pairs": pairs, **{name: column.reshape(shape) for name, column in found.items()}}
