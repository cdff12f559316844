"""What every synthetic twin has: names, scales, and a function that drafts its rows from a seed.

Constants of the generators were chosen by simple floors alone, said where they stand, and frozen before any system of a
study was run on a twin: results on twins say whether the engine works, never whether a paper holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from affect.data.corpus import PARTITIONS, Count, TargetInfo
from affect.data.writer import ViewSource

Scale = str | float
"""`demo`, `full`, or a fraction of the paper's rows."""


@dataclass(frozen=True)
class Draft:
    """A twin before it is written: its sample table, and its views, made block by block when asked for."""

    samples: pd.DataFrame
    views: Mapping[str, ViewSource]


@dataclass(frozen=True)
class Twin:
    """A synthetic twin of one corpus, at every scale."""

    of: str
    """What the command line calls it; its corpora are called `<of>-twin...`."""
    kind: str
    """The kind of corpus that it is a twin of."""
    disclaimer: str
    """What was not recorded."""
    version: int
    """Of its generator: any change to the numbers is a new version, and new fingerprints."""
    groups: str
    targets: Mapping[str, TargetInfo]
    protocols: Mapping[str, str]
    """Protocol → column of the sample table."""
    draft: Callable[[Scale, int], Draft]
    """The rows of a scale and a seed."""
    published: Mapping[str, int] = field(default_factory=dict)
    """Rows in the paper: of a partition as published, or of all (`rows`)."""
    notes: tuple[str, ...] = ()

    def name(self, scale: Scale) -> str:
        """Name of the corpus: the full scale has the shortest."""
        return f"{self.of}-twin" if scale in ("full", 1.0) else f"{self.of}-twin-{scale}"

    def title(self, scale: Scale) -> str:
        size = f"{scale} scale" if isinstance(scale, str) else f"{scale} of its rows"
        return f"Synthetic twin of a {self.kind} ({size})"

    def banner(self, scale: Scale) -> str:
        return f"{self.name(scale)}: synthetic numbers, {self.disclaimer}"

    def counts(self, scale: Scale, samples: pd.DataFrame) -> tuple[Count, ...]:
        """The paper's rows beside those of this scale."""
        here = samples["partition"].value_counts()
        why = "" if scale == "full" else f"Made at {f'{scale} scale' if isinstance(scale, str) else scale}."
        return tuple(
            Count(what, rows, len(samples) if what == "rows" else int(here.get(what, 0)), why)
            for what, rows in self.published.items()
        )


def saturate(x: np.ndarray) -> np.ndarray:
    """`x` bent towards ±1.5."""
    return 1.5 * x / (1 + np.abs(x))


def on_grid(factors: np.ndarray) -> np.ndarray:
    """Float32 multiples of 1/32 within ±8, whose mixtures (`columns`) are exact."""
    return (np.round(np.clip(factors, -8, 8) * 32) / 32).astype(np.float32)


def partition_names(counts: tuple[int, ...]) -> np.ndarray:
    """`counts` rows of each partition, in order."""
    return np.repeat(np.array(PARTITIONS, object), counts)
