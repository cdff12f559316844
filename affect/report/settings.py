"""What was run and with which settings, as blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.document import Bullets, Cell, Grid
from affect.report.tables import MISSING
from affect.study import Resolved

Cells = Mapping[tuple[str, float, str], Mapping[str, Any]]


def settings_grids(analysis: Analysis) -> list[Grid]:
    """The settings that development data chose, per cell, and all settings, per system."""
    cells = _cells(analysis)
    chosen = _chosen(analysis.resolved, cells)
    grids = [_chosen_grid(analysis, cells, chosen)] if any(chosen.values()) else []
    return [*grids, _settings_grid(analysis, cells, chosen)] if cells else grids


def run_block(analysis: Analysis) -> Bullets:
    """What was run: study, corpus, label fractions, seeds, and settings that differ from the preset."""
    resolved, cube = analysis.resolved, analysis.cube
    corpus, study = resolved.corpus, resolved.study
    parts = ", ".join(f"{numbers.count(n)} {partition}" for partition, n in corpus.rows.items())
    changed = {**study.settings.get(corpus.name, {}), **resolved.overrides}
    several = [row for row in resolved.rows if len(row.candidates) > 1]
    items = [
        f"Study: {study.title} ({study.paper}), scale {resolved.scale}, preset {resolved.preset}, "
        f"protocol {resolved.protocol}, device {resolved.device}.",
        f"Corpus: {corpus.title}, view {corpus.view} with {numbers.plural(corpus.width, 'feature')}; groups: "
        f"{corpus.groups}; rows: {parts}.",
        f"Label fractions: {', '.join(f'{100 * f:g} %' for f in cube.fractions)}.",
        f"{numbers.plural(len(cube.seeds), 'seed')} per cell ({numbers.seeds([int(s) for s in cube.seeds])}). With the "
        "seed varied the labelled subset, initial weights, batch order, dropout and noise; the partitions did not.",
        "Settings that differ from the preset, for every system that has them: "
        + (", ".join(f"{name} {numbers.setting(x)}" for name, x in sorted(changed.items())) or "none")
        + ".",
    ]
    if several:
        rows = ", ".join(f"{row.system} ({len(row.candidates)})" for row in several)
        items.append(
            f"Candidate settings, between which development data chose per target over "
            f"{numbers.plural(resolved.selection_seeds, 'seed')}: {rows}."
        )
    return Bullets((*items, *(f"Finding about the corpus: {finding}" for finding in corpus.findings)))


def _cells(analysis: Analysis) -> Cells:
    choices = analysis.evidence.choices
    keys = zip(choices["system"], choices["label_fraction"], choices["target"], strict=True)
    return dict(zip(keys, choices["settings"], strict=True))


def _chosen(resolved: Resolved, cells: Cells) -> dict[str, list[str]]:
    """System → settings that its candidates set, or that differ between its cells."""
    chosen: dict[str, list[str]] = {}
    for row in resolved.rows:
        candidates = row.candidates if len(row.candidates) > 1 else ()
        names = dict.fromkeys(name for candidate in candidates for name in candidate)
        values: dict[str, set[str]] = {}
        for (system, _, _), settings in cells.items():
            if system == row.system:
                for name, x in settings.items():
                    values.setdefault(name, set()).add(json.dumps(x, sort_keys=True))
        names |= dict.fromkeys(name for name, seen in values.items() if len(seen) > 1)
        chosen[row.system] = list(names)
    return chosen


def _chosen_grid(analysis: Analysis, cells: Cells, chosen: Mapping[str, list[str]]) -> Grid:
    cube = analysis.cube
    rows: list[tuple[Cell, ...]] = []
    rules: list[int] = []
    for fraction in cube.fractions:
        rules.append(len(rows))
        for system in cube.systems:
            if chosen[system]:
                found = [cells.get((system, fraction, target)) for target in cube.targets]
                picks = [MISSING if settings is None else _pick(settings, chosen[system]) for settings in found]
                rows.append((Cell(numbers.labels(fraction)), Cell(system), *picks))
    return Grid(
        name="chosen",
        caption="Settings chosen on development data, per target",
        columns=("Labels", "System", *cube.targets),
        labels=2,
        rows=tuple(rows),
        rules=tuple(rules[1:]),
    )


def _pick(settings: Mapping[str, Any], names: list[str]) -> Cell:
    return Cell(", ".join(f"{name} {numbers.setting(settings[name])}" for name in names if name in settings))


def _settings_grid(analysis: Analysis, cells: Cells, chosen: Mapping[str, list[str]]) -> Grid:
    """Hyperparameters × systems, full: the first cell of a system stands for all where nothing was chosen."""
    systems = [system for system in analysis.cube.systems if any(key[0] == system for key in cells)]
    used = {system: next(settings for key, settings in cells.items() if key[0] == system) for system in systems}
    names = list(dict.fromkeys(name for system in systems for name in used[system]))
    rows = [
        (Cell(name), *(_setting(name, used[system], name in chosen[system]) for system in systems)) for name in names
    ]
    return Grid("settings", "All settings", ("Setting", *systems), tuple(rows))


def _setting(name: str, settings: Mapping[str, Any], chosen: bool) -> Cell:
    if name not in settings:
        return Cell("–", muted=True)
    return Cell("chosen", muted=True) if chosen else Cell(numbers.setting(settings[name]))
