"""How large packs should be and what trials cost, as measured where they will be trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from affect.engine.packs import Group, Grouping, Measure
from affect.engine.plan import task_facts
from affect.engine.work import Probe
from affect.resolved import Resolved
from affect.systems.base import Facts
from affect.trial import TaskSpec, Trial


class Sizes:
    """Pack sizes and costs, measured once per structure: what `partition` asks for."""

    def __init__(self, resolved: Resolved, slots: Callable[[], int]) -> None:
        self._resolved = resolved
        self._slots = slots
        self._facts: dict[TaskSpec, Facts] = {}
        self._known: dict[tuple[object, ...], Measure] = {}
        self.group_of = Grouping(self.facts_of)

    def facts_of(self, task: TaskSpec) -> Facts:
        if task not in self._facts:
            self._facts[task] = task_facts(self._resolved.corpus, task)
        return self._facts[task]

    def __call__(self, group: Group) -> Measure:
        return self._known[self._key(group)]

    @staticmethod
    def _key(group: Group) -> tuple[object, ...]:
        return (group.structure, group.device)

    def learn(
        self,
        trials: Iterable[Trial],
        later: Sequence[tuple[Trial, int]],
        measure: Callable[[Sequence[Probe]], list[Measure]],
    ) -> None:
        """Measure the structures among `trials` and `later` that are not known yet."""
        wanted: dict[tuple[object, ...], tuple[Trial, int]] = {}
        for trial, count in [*((trial, 1) for trial in trials), *later]:
            key = self._key(self.group_of(trial))
            if key not in self._known:
                first, total = wanted.get(key, (trial, 0))
                wanted[key] = (first, total + count)
        probes = [
            Probe(t.system, t.settings, self.facts_of(t.task), t.device, math.ceil(total / self._slots()))
            for t, total in wanted.values()
        ]
        if probes:
            self._known.update(zip(wanted, measure(probes), strict=True))
