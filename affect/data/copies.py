"""Rows of a corpus that are copies of each other: bit for bit, or but for noise and rounding.

Each view is read once, front to back, a block at a time. A row leaves a digest, which its exact copies share, and a point
[DIRECTIONS]: its scaled columns under a Gaussian projection, so that rows which are near in every view have near points.
Points only propose pairs; the rows themselves are compared before a pair counts as near. Digests have 64 bits: among 2e10
pairs of rows two agree by accident with probability 1e-9.

Columns are measured in robust standard deviations (quartiles of a sample of rows) and clipped, so that neither constant
columns nor outliers of 1e12 decide what is near. Columns whose middle half is one value have no scale to measure noise by:
they count for exact copies alone, and a view that has no others (counts of words) must agree to the bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NEAR = 0.02
"""Rows are near when their scaled columns differ by at most this, root mean square. Distinct rows of real speech with 46
columns differ by .26 and more."""
FEWEST_COLUMNS = 8
"""Rows of fewer scaled columns than this come near by chance, so that only exact copies are looked for."""
CLIP = 10.0
"""Scaled columns are clipped here: beyond it they are outliers, and a millionth of an outlier would be far."""
FLOOR = 1e-4
"""A scale is at least this share of the median's size: a row rescaled by 1 + FLOOR * NEAR is near whatever its columns."""
TINY = 1e-30
"""No more spread than this is none: one over it would leave float32."""
DIRECTIONS = 16
REACH = 2.5
"""Points of near rows are farther apart than REACH times the rows are with probability P(χ²(16) > 100) < 1e-13."""
NEIGHBOURS = 8
ENTRIES = 1 << 22
"""Neighbours that are asked for at once, of all rows together."""
BLOCK_BYTES = 8 << 20
QUARTILES_TO_SD = 1.349
"""Quartiles of a normal distribution are so many standard deviations apart."""


@dataclass(frozen=True)
class Sketch:
    """What is kept of a view [N, D] to find copies among its rows."""

    file: Path
    centre: np.ndarray
    scale: np.ndarray
    """[D] one over the robust standard deviation, 0 for columns that have none."""
    digests: np.ndarray
    """[N] uint64."""
    points: np.ndarray
    """[N, DIRECTIONS] float32."""
    repeated: tuple[tuple[int, int], ...]
    """(Column, an earlier column that is identical to it), constant columns aside."""

    @property
    def scaled(self) -> int:
        """Columns that have a scale."""
        return int(np.count_nonzero(self.scale))


def take(file: Path, rows: np.ndarray | slice) -> np.ndarray:
    """Rows [n, D] float32 of an .npy file [N, ...] of float32, zeros positive: equal numbers have equal bytes.

    The file is mapped for this call alone: pages that stay mapped would count as memory of this process.
    """
    taken = np.asarray(_mapped(file)[rows])
    return taken.reshape(len(taken), -1) + np.float32(0)


def steps(file: Path, rows: int) -> Iterator[slice]:
    """`rows` rows like those of the file in slices of about BLOCK_BYTES."""
    row_bytes = 4 * math.prod(_mapped(file).shape[1:])
    step = max(1, BLOCK_BYTES // row_bytes)
    return (slice(start, start + step) for start in range(0, rows, step))


def _mapped(file: Path) -> np.ndarray:
    array: np.ndarray = np.load(file, mmap_mode="r")
    return array


def sketch(file: Path, sample: np.ndarray, draw: np.random.Generator) -> Sketch:
    """The sketch of the view in `file`; `sample` [n, D] are some of its rows, `draw` draws the projection."""
    centre, scale = _scales(sample)
    projection = draw.standard_normal((len(centre), DIRECTIONS), np.float32)
    projection /= np.sqrt(DIRECTIONS * max(1, int(np.count_nonzero(scale))))
    copies, originals = _repeated(sample)
    same = np.ones(len(copies), bool)
    digests, points = [], []
    for here in steps(file, len(_mapped(file))):
        block = take(file, here)
        digests += [hashlib.blake2b(row.data, digest_size=8).digest() for row in block]
        same &= (block[:, copies] == block[:, originals]).all(axis=0)
        points.append(_scaled(block, centre, scale) @ projection)
    return Sketch(
        file,
        centre,
        scale,
        np.frombuffer(b"".join(digests), np.uint64),
        np.concatenate(points),
        tuple(zip(copies[same].tolist(), originals[same].tolist(), strict=True)),
    )


def copies(
    sketches: Sequence[Sketch], texts: np.ndarray, of: np.ndarray, among: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each row in `of` [n] its copy in `among` [m], -1 where there is none: exact ones, then merely near ones.

    A copy is one in every view; `texts` [N] are numbers, equal where the words are.
    """
    digests = _together(sketches, texts)
    known, first = np.unique(digests[among], return_index=True)
    distinct = among[first]
    exact = np.full(len(of), -1)
    near = np.full(len(of), -1)
    if not len(of) or not len(among):
        return exact, near
    place = np.searchsorted(known, digests[of]).clip(max=len(known) - 1)
    exact = np.where(known[place] == digests[of], distinct[place], -1)
    scaled = [view for view in sketches if view.scaled]
    if sum(view.scaled for view in scaled) >= FEWEST_COLUMNS:
        left = np.flatnonzero(exact < 0)
        same = _together([view for view in sketches if not view.scaled], texts)
        near[left] = _nearest(scaled, same, of[left], distinct)
    return exact, near


def _nearest(sketches: Sequence[Sketch], same: np.ndarray, of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each row in `of` [n] one in `among` that is near in every view and equal in `same` [N], -1 without one."""
    from scipy.spatial import cKDTree

    reach = REACH * NEAR * np.sqrt(len(sketches))
    # One coordinate more, in which rows that may not be paired are out of each other's reach.
    apart = 2 * reach * np.unique(same, return_inverse=True)[1]
    points = np.column_stack([np.sum([view.points for view in sketches], axis=0), apart])
    tree = cKDTree(points[among])
    found = np.full(len(of), -1)
    pending = np.arange(len(of))
    most = NEIGHBOURS
    while len(pending):
        left = []
        for some in np.array_split(pending, min(len(pending), -(-len(pending) * most // ENTRIES))):
            _, index = tree.query(points[of[some]], np.arange(1, most + 1), distance_upper_bound=reach)
            for column in index.T:
                asked = np.flatnonzero((column < len(among)) & (found[some] < 0))
                candidates = among[column[asked]]
                true = _near(sketches, of[some[asked]], candidates)
                found[some[asked[true]]] = candidates[true]
            # Where every neighbour asked for was in reach, more may be.
            left.append(some[(index[:, -1] < len(among)) & (found[some] < 0)])
        pending = np.concatenate(left)
        most *= 4
    return found


def _near(sketches: Sequence[Sketch], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[n] whether the rows `left[i]` and `right[i]` are near in every view."""
    near = np.ones(len(left), bool)
    for view in sketches:
        for here in steps(view.file, len(left)):
            one, other = (_scaled(take(view.file, rows[here]), view.centre, view.scale) for rows in (left, right))
            near[here] &= np.square(one - other).sum(axis=1) <= NEAR**2 * view.scaled
    return near


def _scales(sample: np.ndarray, columns: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Median [D] and one over the robust standard deviation [D] of the columns, both 0 where there is no spread."""
    parts = [
        np.quantile(sample[:, start : start + columns].astype(np.float64), [0.25, 0.5, 0.75], axis=0)
        for start in range(0, sample.shape[1], columns)
    ]
    low, middle, high = np.concatenate(parts, axis=1)
    spread = (high - low) / QUARTILES_TO_SD
    there = spread > TINY
    scale = np.where(there, 1 / np.where(there, np.maximum(spread, FLOOR * np.abs(middle)), 1), 0)
    return np.where(there, middle, 0).astype(np.float32), scale.astype(np.float32)


def _scaled(rows: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        scaled = rows - centre
        scaled *= scale
    return np.clip(scaled, -CLIP, CLIP, out=scaled)


def _repeated(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns that equal an earlier one over the sample, and that one; constant columns are left out."""
    first: dict[bytes, int] = {}
    pairs = []
    for column in np.flatnonzero((sample != sample[:1]).any(axis=0)):
        digest = hashlib.blake2b(sample[:, column].tobytes(), digest_size=16).digest()
        if first.setdefault(digest, int(column)) != column:
            pairs.append((int(column), first[digest]))
    later, earlier = np.array(pairs, int).reshape(-1, 2).T
    return later, earlier


def _together(sketches: Sequence[Sketch], texts: np.ndarray) -> np.ndarray:
    """[N] uint64: equal for rows that are equal in every view and in words."""
    digests = texts.astype(np.uint64)
    for view in sketches:
        digests = digests * np.uint64(0x9E3779B97F4A7C15) + view.digests
    return digests
