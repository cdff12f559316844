"""The settings behind the cells, and which of them development data chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affect.report.analysis import Analysis

Cells = Mapping[tuple[str, float, str], Mapping[str, Any]]
"""(System, label fraction, target) → settings."""


def settings_behind(analysis: Analysis) -> Cells:
    choices = analysis.evidence.choices
    keys = zip(choices["system"], choices["label_fraction"], choices["target"], strict=True)
    return dict(zip(keys, choices["settings"], strict=True))


def options(analysis: Analysis) -> dict[str, dict[str, int]]:
    """System → target → number of candidates, for systems that had a choice on some target; in the cube's order."""
    choices, cube = analysis.evidence.choices, analysis.cube
    most = choices.groupby(["system", "target"])["options"].max()
    found = {
        system: {target: int(most[system, target]) for target in cube.targets if (system, target) in most.index}
        for system in cube.systems
    }
    return {system: counts for system, counts in found.items() if max(counts.values(), default=1) > 1}


def options_in_words(analysis: Analysis) -> str:
    """`MTL (6), Lad+L+MTL (6)`; with the targets where their numbers differ, and a line once whose points agree. Empty where
    nothing was chosen."""
    found = options(analysis)
    rows: dict[str, None] = {}
    for row in analysis.resolved.rows:
        if counts := found.get(row.name):
            numbers = set(counts.values())
            each = ", ".join(f"{n} for {target}" for target, n in counts.items())
            rows[f"{row.line} ({numbers.pop() if len(numbers) == 1 else each})"] = None
    return ", ".join(rows)


def chosen_settings(analysis: Analysis) -> dict[str, list[str]]:
    """System that had a choice → names of the settings that were chosen: its candidates differ in them, and neither an
    override nor a preset has fixed another value."""
    resolved, choosers, cells = analysis.resolved, options(analysis), settings_behind(analysis)
    chosen = {}
    for row in resolved.rows:
        if row.name in choosers:
            names = dict.fromkeys(name for candidate in row.candidates for name in candidate)
            offered = {name: {candidate.get(name) for candidate in row.candidates} for name in names}
            used = {name: {cell.get(name) for key, cell in cells.items() if key[0] == row.name} for name in names}
            chosen[row.name] = [
                name
                for name, values in offered.items()
                if len(values) > 1 and name not in resolved.overrides and (None in values or values & used[name])
            ]
    return chosen
