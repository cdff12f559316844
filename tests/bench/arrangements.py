"""(c), (i) A network in the arrangement that the engine chooses, against plain loops and against other arrangements."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from affect.engine.work import Probe, measure
from affect.systems.training import Trainer
from tests.bench.figures import Item, Line, Target, compared
from tests.bench.local import CORES
from tests.bench.processes import Ready, together

SIZES = (1, 2, 4, 8)
WARM = 0.5
"""Seconds of stepping before the clock starts."""


@dataclass(frozen=True)
class Subject:
    """What is trained."""

    key: str
    title: str
    probe: Probe
    """How the engine would measure it; its `largest` bounds the pack size that is chosen."""
    pack: Callable[[int], Trainer]
    plain: Callable[[], Callable[[], None]]
    """A function that makes one step of a plain loop."""
    over_one: float
    over_several: float
    """Steps per second of the chosen arrangement that are wanted, for one of a plain loop, and of one such loop per core."""


@dataclass(frozen=True)
class Side:
    """So many processes at once, each with so many threads, training a pack of so many (0: a plain loop of one)."""

    processes: int
    threads: int
    size: int

    def __str__(self) -> str:
        if not self.size:
            return f"{self.processes} plain eager loop{'s' if self.processes > 1 else ''}"
        return f"{self.processes} process{'es' if self.processes > 1 else ''} × {self.threads} × pack of {self.size}"


def bench(subject: Subject, repeats: int, seconds: float) -> Item:
    """All sides in turn, `repeats` times; each for `seconds`, in fresh processes."""
    size = int(median(together([(_probed, (subject,))] * CORES)))
    chosen, one, several = Side(CORES, 1, size), Side(1, 1, 0), Side(CORES, 1, 0)
    grid = [Side(p, t, k) for p, t in dict.fromkeys(((1, 1), (1, CORES), (CORES, 1))) for k in SIZES]
    others = [side for side in grid if side != chosen]
    rates = _rounds(subject, (chosen, one, several, *others), repeats, seconds)
    mine = rates[chosen]

    def against(side: Side, target: Target | None) -> Line:
        ratios = [a / b for a, b in zip(mine, rates[side], strict=True)]
        return compared(f"chosen : {side}", "steps/s", mine, rates[side], ratios, target)

    # The best of a dozen is partly luck, and was measured minutes after the chosen one: once more, side by side.
    best = max(others, key=lambda side: median(rates[side]))
    final = _rounds(subject, (chosen, best), repeats, seconds)
    lead = [theirs / ours for ours, theirs in zip(final[chosen], final[best], strict=True)]
    return Item(
        subject.key,
        f"{subject.title}, on {CORES} cores; chosen: {chosen}",
        (
            against(one, Target(subject.over_one, "at least")),
            against(several, Target(subject.over_several, "at least")),
            compared(
                f"best other, again : chosen ({best})",
                "steps/s",
                final[best],
                final[chosen],
                lead,
                Target(1.10, "at most"),
            ),
            *(against(side, None) for side in others),
        ),
        (
            "Model-steps per second (a step is all updates of one model), medians; ratios round by round.",
            "The plain loop gathers normalised rows and steps torch's optimiser on one thread; it has Python's own settings of "
            "the allocator and of denormal numbers.",
        ),
    )


def _rounds(subject: Subject, sides: Sequence[Side], repeats: int, seconds: float) -> dict[Side, list[float]]:
    """Model-steps per second of each side, round by round."""
    rates: dict[Side, list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, found in rates.items():
            found.append(sum(together([(_rate, (subject, side.threads, side.size, seconds))] * side.processes)))
    return rates


def _probed(ready: Ready, subject: Subject) -> int:
    """The pack size that the engine would choose, measured with all cores at work as its workers measure it."""
    subject.pack(1).step()
    ready()
    return measure(subject.probe).size


def _rate(ready: Ready, subject: Subject, threads: int, size: int, seconds: float) -> float:
    """Model-steps per second of one process."""
    step: Callable[[], Any] = subject.plain() if size == 0 else subject.pack(size).step
    torch.set_num_threads(threads)
    for _ in range(3):
        step()
    started = time.perf_counter()
    while time.perf_counter() - started < WARM:
        step()
    ready()
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
    return steps * max(1, size) / (time.perf_counter() - started)
