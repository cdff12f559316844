"""Features of clips, wherever they lie: what every kind of feature file or folder is turned into."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affect.data.checks import shown
from affect.errors import UserError

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
    steps: Callable[[Sequence[str]], Sequence[int]] | None = None
    """Ids [n] → their frames before they were cut to STEPS; None where a clip is one vector."""
    columns: tuple[str, ...] = ()
    """Names [D] of the columns, where they have any."""
    notes: tuple[str, ...] = ()


def at_hand(gather: Gather) -> Callable[[], AbstractContextManager[Gather]]:
    """For `Source.opened`, where rows can be fetched in any order as they lie."""
    return lambda: nullcontext(gather)


@contextmanager
def spooled(
    blocks: Callable[[], Iterable[np.ndarray]], ids: Sequence[str], width: int, beside: Path
) -> Iterator[Gather]:
    """Rows [n, width] float32 in any order, from a nameless copy on disk in the folder `beside`.

    `blocks` brings them in the order of `ids`, one [width] or some [n, width] at a time.
    """
    place = {clip: row for row, clip in enumerate(ids)}
    with tempfile.TemporaryFile(dir=beside) as copy, np.errstate(over="ignore"):
        for block in blocks():
            copy.write(np.ascontiguousarray(block, np.float32).data)
        copy.flush()
        rows = np.memmap(copy, np.float32, "r", shape=(len(ids), width))
        yield lambda wanted: rows[[place[clip] for clip in wanted]]


def refuse_other_columns(file: Path, columns: tuple[str, ...], other: Path, due: tuple[str, ...]) -> None:
    """Refuse `columns` [D] of `file` that are not those `due` [D] of `other` in the same order; () has no names."""
    if columns and due:
        for number, (name, wanted) in enumerate(zip(columns, due, strict=True), start=1):
            if name != wanted:
                raise UserError(
                    f"{file}: feature {number} is called {shown(name)}, in {other} {shown(wanted)}; every part must have "
                    "the same columns in the same order."
                )


def padded(frames: np.ndarray, steps: int) -> np.ndarray:
    """[T, D] cut, or filled up with zeros, to [steps, D]."""
    frames = frames[:steps]
    return np.concatenate([frames, np.zeros((steps - len(frames), *frames.shape[1:]), frames.dtype)])
