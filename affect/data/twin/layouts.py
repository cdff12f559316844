"""Who was recorded when, and for what: the sample tables of the multi-view twins, at any fraction of the paper's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from affect.data.manifest import SCORED

# The clip corpus: nine subjects watch the same 15 film clips in each of three sessions; windows of four seconds.
CLIP_SUBJECTS, CLIP_SESSIONS = 9, 3
CLIP_WINDOWS = (58, 58, 51, 59, 46, 48, 59, 54, 66, 59, 58, 58, 58, 59, 51)
CLIP_LABELS = (2, 1, 0, 0, 1, 2, 0, 1, 2, 2, 1, 0, 1, 2, 0)
CLIP_PARTITIONS = (0,) * 9 + (1,) * 3 + (2,) * 3
"""Positions in `SCORED`: clips 1 to 9 are for training, 10 to 12 for development, 13 to 15 for the test."""

# The video corpus: each of 32 subjects saw 40 music videos; 334 of these trials, in which the ratings were clear, are kept.
VIDEO_SUBJECTS, VIDEOS, VIDEO_WINDOWS = 32, 40, 63
VIDEO_TRIALS = (76, 66, 88, 104)
"""Class → trials. Their sum is the paper's, which prints no shares."""


@dataclass(frozen=True)
class Layout:
    """R recordings, in the order of their rows."""

    names: list[str]
    subject: np.ndarray
    """[R] positions."""
    session: np.ndarray
    """[R] positions among the sessions of all subjects."""
    moment: np.ndarray
    """[R] when in its session, from -1 to 1."""
    label: np.ndarray
    """[R] classes."""
    windows: np.ndarray
    """[R] rows of the recording."""
    partitions: Mapping[str, np.ndarray]
    """Partition column → positions in `SCORED`, [N] for every row."""

    def samples(self, target: str) -> pd.DataFrame:
        """The sample table [N], whose groups are the recordings."""
        names = np.repeat(np.array(self.names, object), self.windows)
        window = np.concatenate([np.arange(1, count + 1) for count in self.windows])
        return pd.DataFrame(
            {
                "id": [f"{name}-window-{number:02d}" for name, number in zip(names, window, strict=True)],
                "subject": np.repeat([f"subject-{subject + 1:02d}" for subject in self.subject], self.windows),
                "group": names,
                **{column: np.array(SCORED, object)[values] for column, values in self.partitions.items()},
                target: np.repeat(self.label, self.windows).astype(np.float64),
            }
        )


def clips(fraction: float, _: np.random.Generator) -> Layout:
    """The clip corpus: nothing in it is left to chance."""
    session, clip = np.divmod(np.arange(CLIP_SUBJECTS * CLIP_SESSIONS * len(CLIP_WINDOWS)), len(CLIP_WINDOWS))
    subject = session // CLIP_SESSIONS
    windows = _part(np.array(CLIP_WINDOWS)[clip], fraction)
    return Layout(
        names=[
            f"subject-{s + 1:02d}-session-{k % CLIP_SESSIONS + 1}-clip-{c + 1:02d}"
            for s, k, c in zip(subject, session, clip, strict=True)
        ],
        subject=subject,
        session=session,
        moment=np.linspace(-1, 1, len(CLIP_WINDOWS))[clip],
        label=np.array(CLIP_LABELS)[clip],
        windows=windows,
        partitions={"partition": np.repeat(np.array(CLIP_PARTITIONS)[clip], windows)},
    )


def videos(fraction: float, draw: np.random.Generator) -> Layout:
    """The video corpus: `partition` deals out windows, as published, and `partition_leak_free` whole trials."""
    trials = np.sort(draw.permutation(VIDEO_SUBJECTS * VIDEOS)[: sum(VIDEO_TRIALS)])
    subject, video = np.divmod(trials, VIDEOS)
    label = draw.permutation(np.repeat(np.arange(len(VIDEO_TRIALS)), VIDEO_TRIALS))
    windows = _part(np.full(len(trials), VIDEO_WINDOWS), fraction)
    whole = np.empty(len(trials), int)
    for quadrant in range(len(VIDEO_TRIALS)):
        whole[label == quadrant] = _tenths(int((label == quadrant).sum()), draw)
    return Layout(
        names=[f"subject-{s + 1:02d}-trial-{v + 1:02d}" for s, v in zip(subject, video, strict=True)],
        subject=subject,
        session=subject,
        moment=np.linspace(-1, 1, VIDEOS)[video],
        label=label,
        windows=windows,
        partitions={
            "partition": _tenths(int(windows.sum()), draw),
            "partition_leak_free": np.repeat(whole, windows),
        },
    )


def _part(windows: np.ndarray, fraction: float) -> np.ndarray:
    """A fraction of the windows of each recording, at least one."""
    return np.maximum(1, np.round(fraction * windows)).astype(int)


def _tenths(count: int, draw: np.random.Generator) -> np.ndarray:
    """[count] positions in `SCORED` in random order: eight tenths, one and one."""
    tenth = round(count / 10)
    return draw.permutation(np.repeat([0, 1, 2], [count - 2 * tenth, tenth, tenth]))
