"""From factors to the columns of a view: exact mixtures, noise, and what makes real columns awkward.

The numbers are meant to be the same on every machine: factors and loadings are multiples of 1/32 and 1/64, small
enough for their products to be summed without rounding in float32 whatever the order, and all else is elementwise
IEEE arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

BLOCK = 2048
"""Rows generated at a time; each block has its own noise stream."""
WILD_ROWS = 0.002
"""Share of the rows in which a wild column is an enormous outlier."""


@dataclass(frozen=True)
class Columns:
    """The make of a view's columns. The defaults are those of functionals of speech."""

    width: int
    family: int = 24
    """Neighbouring columns of one descriptor, which share half of their loadings."""
    loaded: int = 6
    """Factors that a column, and a family, depend on."""
    noise: tuple[float, float] = (0.6, 1.6)
    """Standard deviation of the noise, uniform in this range."""
    decades: tuple[float, float] = (-2.0, 3.0)
    """Powers of ten between which the units of columns lie."""
    heavy: float = 0.2
    """Share of columns with heavy tails."""
    wild: float = 0.006
    """Share of columns with enormous outliers."""
    constant: float = 0.001
    """Share of columns with one value only."""


@dataclass(frozen=True)
class Mixture:
    """Columns that were drawn: `loadings` [F, D]; `noise`, `scale`, `offset` [D]; positions of special columns."""

    loadings: np.ndarray
    noise: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    heavy: np.ndarray
    wild: np.ndarray

    def block(self, factors: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Rows [n, D] float32 of `factors` [n, F] on the grid; `draw` gives the noise."""
        block: np.ndarray = factors @ self.loadings
        count = block.size
        raw = draw.bit_generator.random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
        stray = _gaussian_quantiles()[raw].reshape(block.shape)
        stray *= self.noise
        block += stray
        block[:, self.heavy] *= np.abs(block[:, self.heavy])
        block *= self.scale
        block += self.offset
        hit = draw.random((len(block), len(self.wild))) < WILD_ROWS
        size = (10 ** draw.uniform(6, 11, hit.shape)).astype(np.float32)
        block[:, self.wild] = np.where(hit, block[:, self.wild] * size, block[:, self.wild])
        return block


def mixture(columns: Columns, factors: int, draw: np.random.Generator) -> Mixture:
    """The columns of a view that depends on so many factors."""
    width = columns.width
    families = -(-width // columns.family)
    shared = loadings(factors, families, columns.loaded, draw)[:, np.arange(width) // columns.family]
    own = loadings(factors, width, columns.loaded, draw)
    noise = draw.uniform(*columns.noise, width).astype(np.float32)
    scale = (10 ** draw.uniform(*columns.decades, width)).astype(np.float32)
    offset = (scale * draw.normal(0, 3, width)).astype(np.float32)
    order = draw.permutation(width)
    # A kind of column that a view has at all, it has at least twice.
    few = [share and max(2, round(share * width)) for share in (columns.heavy, columns.wild, columns.constant)]
    heavy, wild, constant = np.split(order[: int(sum(few))], np.cumsum(few)[:-1].astype(int))
    scale[constant] = 0
    return Mixture((np.round((shared + own) * 64) / 64).astype(np.float32), noise, scale, offset, heavy, wild)


def features(factors: np.ndarray, mixed: Mixture, noise: Callable[[int], np.random.Generator]) -> Iterator[np.ndarray]:
    """The view [N, D] in blocks of rows; `noise(i)` is the stream of block i."""
    for start in range(0, len(factors), BLOCK):
        yield mixed.block(factors[start : start + BLOCK], noise(start // BLOCK))


def loadings(factors: int, columns: int, loaded: int, draw: np.random.Generator) -> np.ndarray:
    """[factors, columns]: `loaded` factors each, weights within ±1."""
    chosen = np.argsort(draw.random((factors, columns)), axis=0) < loaded
    return np.where(chosen, np.clip(0.4 * draw.standard_normal((factors, columns)), -1, 1), 0.0)


@cache
def _gaussian_quantiles() -> np.ndarray:
    """[65536] float32: the normal quantiles that two random bytes pick from, on a grid that every machine agrees on."""
    from scipy.special import ndtri

    return (np.round(ndtri((np.arange(65536) + 0.5) / 65536) * 4096) / 4096).astype(np.float32)
