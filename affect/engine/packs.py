"""Packs: trials that are trained as one stacked computation, and how a list of trials is cut into them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from affect.systems import get_system
from affect.systems.base import Facts
from affect.trial import TaskSpec, Trial


class Group(NamedTuple):
    """Trials of equal group may share a pack."""

    system: str
    structure: tuple[Any, ...]
    task: TaskSpec
    device: str


class Measure(NamedTuple):
    """What a probe of a group found where its packs will be trained: see `affect.engine.work.measure`."""

    size: int
    """Trials per pack."""
    seconds: float
    """Expected seconds of one trial in such a pack."""


GUESS = Measure(1, 60.0)
"""Stands for a probe that found nothing."""


@dataclass(frozen=True)
class Pack:
    """Trials in a fixed order, and the seconds that training them is expected to take."""

    trials: tuple[Trial, ...]
    seconds: float = 0.0
    split_of: str | None = None
    """The pack that this one is a part of, after it failed or did not fit into memory."""
    search: str | None = None
    """The search of which it is a wave: it never takes the place of a pack that trained the same trials to their end."""

    @property
    def system(self) -> str:
        return self.trials[0].system

    @property
    def id(self) -> str:
        return pack_id([*(trial.id for trial in self.trials), *([self.search] if self.search else [])])

    def split(self, parts: int) -> list[Pack]:
        """This pack in at most `parts` even parts."""
        each = self.seconds / len(self.trials)
        return [Pack(part, each * len(part), self.id) for part in cut(self.trials, parts)]


def pack_id(trials: Iterable[str]) -> str:
    """SHA-256 of the members' ids in their order."""
    return hashlib.sha256("\n".join(trials).encode()).hexdigest()


def cut(trials: Sequence[Trial], parts: int) -> list[tuple[Trial, ...]]:
    """`trials` in order, in at most `parts` runs whose lengths differ by one at most."""
    parts = min(parts, len(trials))
    size, longer = divmod(len(trials), parts)
    bounds = [0]
    for index in range(parts):
        bounds.append(bounds[-1] + size + (index < longer))
    return [tuple(trials[a:b]) for a, b in pairwise(bounds)]


class Grouping:
    """Trial → group. A cell is resolved once: all its seeds belong together."""

    def __init__(self, facts_of: Callable[[TaskSpec], Facts]) -> None:
        self._facts_of = facts_of
        self._by_cell: dict[str, Group] = {}

    def __call__(self, trial: Trial) -> Group:
        if trial.cell not in self._by_cell:
            structure = get_system(trial.system).structure(trial.settings, self._facts_of(trial.task))
            self._by_cell[trial.cell] = Group(trial.system, structure, trial.task, trial.device)
        return self._by_cell[trial.cell]

    def groups(self, trials: Iterable[Trial]) -> dict[Group, list[Trial]]:
        """Trials by group, both in their order."""
        found: dict[Group, list[Trial]] = {}
        for trial in trials:
            found.setdefault(self(trial), []).append(trial)
        return found


def partition(
    trials: Iterable[Trial], group_of: Grouping, measure_of: Callable[[Group], Measure], slots: int
) -> list[Pack]:
    """Cut `trials` into packs: as even as possible, at most the measured size, and no fewer packs than `slots`
    where there are trials enough, so that no worker is idle."""
    packs = []
    for group, members in group_of.groups(trials).items():
        measure = measure_of(group)
        size = max(1, min(measure.size, math.ceil(len(members) / slots)))
        packs += [Pack(part, measure.seconds * len(part)) for part in cut(members, math.ceil(len(members) / size))]
    return packs
