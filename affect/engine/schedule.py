"""Which pack comes next, and how long a run will take. Pure: no clock, no workers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from affect.engine.packs import Pack

TRUST = 120.0
"""Seconds of work after which what packs took counts as much as what the probes said: a few short ones tell little."""


def pace_of(took: float, expected: float) -> float:
    """Measured seconds per expected second, near 1 while there is little behind it."""
    if expected <= 0:
        return 1.0
    known = max(took, expected)
    return float((took / expected) ** (known / (known + TRUST)))


def forecast(
    ended: float, pace: float, running: Sequence[tuple[float, float, float]], waiting: float
) -> tuple[float, float]:
    """The share of a run's work that is over, and the seconds that one worker would need for the rest.

    `ended` and `waiting` are the expected seconds of packs that are over and that have not begun, `pace` how the former
    went (see `pace_of`); `running` has the expected seconds of a pack, those since it began, and its share where that is
    known. A pack that takes longer than was expected says so of the others too.
    """
    pace = max([pace, *(pace_of(since, seconds) for seconds, since, _ in running)])
    shares = [share or min(0.95, since / max(1e-9, seconds * pace)) for seconds, since, share in running]
    over = ended + sum(seconds * share for (seconds, *_), share in zip(running, shares, strict=True))
    left = waiting + sum(seconds * (1 - share) for (seconds, *_), share in zip(running, shares, strict=True))
    return over / max(1e-9, over + left), left * pace


def _each(pack: Pack) -> float:
    """Expected seconds per trial."""
    return pack.seconds / len(pack.trials)


def next_pack(queue: Sequence[Pack], slots: int, pace: float, needed: float, left: float) -> Pack | None:
    """The pack that the next free one of `slots` workers should train: of those that are expected to end within `left`
    seconds, None where there are none.

    `queue` is sorted, longest first, which is also what is taken first, so that workers end together. Where not all is
    certain to fit, the cheapest trials come first, so that most of the tables is filled; `needed` are the seconds that one
    worker would take for all that is waiting or running.
    """
    fitting = [pack for pack in queue if pack.seconds * pace <= left]
    if not fitting:
        return None
    # Whatever order they take packs in, workers are done by then (Graham 1966, on list scheduling).
    latest = needed / slots + (1 - 1 / slots) * queue[0].seconds * pace
    return fitting[0] if latest <= left else min(fitting, key=_each)


def split(queue: Sequence[Pack], pace: float, left: float) -> tuple[Pack, list[Pack]] | None:
    """Where no pack of `queue` fits into `left` seconds: the one with the cheapest trials and parts of it, of which one at
    least fits. None where not even a single trial does."""
    pack = min(queue, key=_each)
    parts = math.ceil(pack.seconds * pace / left) if left > 0 else math.inf
    return (pack, pack.split(int(parts))) if parts <= len(pack.trials) else None
