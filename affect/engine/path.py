"""The ablation path from the hand-set configuration to the winner of a search, one factor at a time.

Every change is first tried alone; then they are made one after another, the one that gained most on development data first.
So what a factor is worth is told in the company of those before it, for twice as many configurations as there are factors.
(Fawcett and Hoos 2016 choose anew at each step, which takes half the square of their number.) Pure: what to train next follows
from the rows that are there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from affect.engine.refits import derived
from affect.engine.search import ResolvedSearch, outline
from affect.resolved import Resolved
from affect.study import Row
from affect.trial import Settings

HAND_SET = "hand-set"


@dataclass(frozen=True)
class Change:
    """One factor taken from the hand-set value to the winner's."""

    settings: Settings

    @property
    def label(self) -> str:
        return ", ".join(f"{n} {v if isinstance(v, str) else format(v, '.3g')}" for n, v in self.settings.items())


def factors(search: ResolvedSearch) -> list[tuple[str, ...]]:
    """All that a winner may change, setting by setting; those that belong together are one."""
    return _grouped(search, sorted(outline(search.declared.space)[1]))


def changes(search: ResolvedSearch, winner: Settings) -> list[Change]:
    """The factors in which `winner` (suggested settings) differs from the hand-set configuration."""
    after = search.full_settings_of(winner)
    return [Change({name: after[name] for name in group}) for group in _grouped(search, search.changed(winner))]


def _grouped(search: ResolvedSearch, names: Sequence[str]) -> list[tuple[str, ...]]:
    together = {name: group for group in search.declared.together for name in group}
    return list(dict.fromkeys(together.get(name, (name,)) for name in names))


def alone(search: ResolvedSearch, made: Sequence[Change]) -> Resolved:
    """Each change by itself beside the hand-set configuration, as a study on fresh seeds."""
    return _study(search, (_row(search, [], HAND_SET), *(_row(search, [each], each.label) for each in made)))


def ordered(made: Sequence[Change], means: Mapping[str, float]) -> list[Change]:
    """By the development mean of each change alone, the highest first; what diverged (it has none) comes last."""
    return sorted(made, key=lambda each: -means.get(each.label, -math.inf))


def walked(search: ResolvedSearch, order: Sequence[Change]) -> Resolved:
    """The path, a row per step."""
    steps = [_row(search, order[: i + 1], f"+ {change.label}") for i, change in enumerate(order)]
    return _study(search, (_row(search, [], HAND_SET), *steps))


def _study(search: ResolvedSearch, rows: tuple[Row, ...]) -> Resolved:
    """On seeds that neither the suggestions nor the refits have seen."""
    declared = search.declared
    return derived(search, rows, search.seeds + declared.refit_seeds, declared.path_seeds, "ablation path")


def _row(search: ResolvedSearch, taken: Sequence[Change], label: str) -> Row:
    settings = {name: value for change in taken for name, value in change.settings.items()}
    return Row(search.declared.system, (settings,), label=label)
