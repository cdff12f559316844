"""Which pack comes next, and how long a run will take. Pure: no clock, no workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from affect.engine.packs import Pack

TRUST = 120.0
"""Seconds of work after which what packs took counts as much as what the probes said: a few short ones tell little."""


def pace_of(took: float, expected: float) -> float:
    """Measured seconds per expected second, near 1 while there is little behind it."""
    if expected <= 0:
        return 1.0
    known = max(took, expected)
    return float((took / expected) ** (known / (known + TRUST)))


def forecast(ended: float, running: Sequence[tuple[float, float, float]], waiting: float) -> tuple[float, float]:
    """The share of a run's work that is over, and the seconds that one worker would need for the rest.

    `ended` are the seconds that packs took, `waiting` those that packs which have not begun are expected to take; `running`
    has the expected seconds of a pack, those since it began, and its share where that is known.
    """
    shares = [share or min(0.95, since / max(1e-9, seconds)) for seconds, since, share in running]
    over = ended + sum(seconds * share for (seconds, *_), share in zip(running, shares, strict=True))
    left = waiting + sum(seconds * (1 - share) for (seconds, *_), share in zip(running, shares, strict=True))
    return over / max(1e-9, over + left), left


def next_pack(
    queue: Sequence[Pack], takes: Callable[[Pack], float], slots: int, needed: float, left: float
) -> Pack | None:
    """The pack that the next free one of `slots` workers should train: of those that by `takes` end within `left` seconds,
    None where there are none.

    The longest, so that workers end together. Where it is not certain that all fit, one with the cheapest trials, so that
    most of the tables is filled; `needed` are the seconds that one worker would take for all that is waiting or running.
    """
    fitting = [pack for pack in queue if takes(pack) <= left]
    if not fitting:
        return None
    # In whatever order they take packs, workers are done by then (Graham 1966), if none waits for a choice to be made.
    latest = needed / slots + (1 - 1 / slots) * max(map(takes, queue))
    if latest <= left:
        return max(fitting, key=takes)
    return min(fitting, key=lambda pack: takes(pack) / len(pack.trials))
