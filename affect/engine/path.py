"""The ablation path from the hand-set configuration to the winner of a search, one factor at a time.

At each step the change that gains most on development data is taken (Fawcett and Hoos 2016), so what a factor is worth
is told in the company of those before it. Pure: what to train next follows from the rows that are there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from affect.engine.refits import derived
from affect.engine.search import ResolvedSearch
from affect.study import Resolved, Row, Settings

HAND_SET = "hand-set"


@dataclass(frozen=True)
class Change:
    """One factor taken from the hand-set value to the winner's."""

    settings: Settings

    @property
    def label(self) -> str:
        return ", ".join(f"{n} {v if isinstance(v, str) else format(v, '.3g')}" for n, v in self.settings.items())


def changes(search: ResolvedSearch, winner: Settings) -> list[Change]:
    """The factors in which `winner` (suggested settings) differs from the hand-set configuration."""
    before, after = (search.full_settings_of(settings) for settings in ({}, winner))
    differing = [name for name in after if before[name] != after[name]]
    found: list[Change] = []
    for name in differing:
        group = next((group for group in search.declared.together if name in group), (name,))
        change = Change({each: after[each] for each in group})
        if change not in found:
            found.append(change)
    return found


def step(search: ResolvedSearch, taken: Sequence[Change], left: Sequence[Change]) -> Resolved:
    """Where the path stands and every way to go on, as a study on fresh seeds; the rows are called by their change."""
    rows = (_row(search, taken, HAND_SET), *(_row(search, [*taken, change], change.label) for change in left))
    return _study(search, rows)


def walked(search: ResolvedSearch, taken: Sequence[Change]) -> Resolved:
    """The finished path, a row per step."""
    steps = [_row(search, taken[: i + 1], f"+ {change.label}") for i, change in enumerate(taken)]
    return _study(search, (_row(search, [], HAND_SET), *steps))


def _study(search: ResolvedSearch, rows: tuple[Row, ...]) -> Resolved:
    """On seeds that neither the suggestions nor the refits have seen."""
    declared = search.declared
    return derived(search, rows, search.seeds + declared.refit_seeds, declared.path_seeds, "ablation path")


def _row(search: ResolvedSearch, taken: Sequence[Change], label: str) -> Row:
    settings = {name: value for change in taken for name, value in change.settings.items()}
    return Row(search.declared.system, (settings,), label=label)


def best_of(left: Sequence[Change], means: dict[str, float]) -> Change:
    """The change with the highest development mean, the first of equals; one that diverged comes last."""
    return max(left, key=lambda change: means.get(change.label, -math.inf))
