"""Features of clips, wherever they lie: what every kind of feature file or folder is turned into."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Gather = Callable[[Sequence[str]], np.ndarray]
"""Ids [n] → their rows [n, ...], zeros after the valid steps of frames."""


@dataclass(frozen=True)
class Source:
    """The features of some clips in one view."""

    path: Path
    features: str
    """Name of the feature set."""
    shape: tuple[int, ...]
    """Of one clip: [D], or [STEPS, D] for frames."""
    ids: Collection[str]
    opened: Callable[[], AbstractContextManager[Gather]]
    steps: Mapping[str, int] | None = None
    """Frames by id, before they were cut to STEPS; None where a clip is one vector."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a vector, for errors."""
    notes: tuple[str, ...] = ()


def at_hand(gather: Gather) -> Callable[[], AbstractContextManager[Gather]]:
    """For `Source.opened`, where rows can be fetched in any order as they lie."""
    return lambda: nullcontext(gather)


def padded(frames: np.ndarray, steps: int) -> np.ndarray:
    """[T, D] cut, or filled up with zeros, to [steps, D]."""
    frames = frames[:steps]
    return np.concatenate([frames, np.zeros((steps - len(frames), *frames.shape[1:]), frames.dtype)])
