"""What was run and with which settings, as blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.choices import Cells, chosen_settings, options_in_words, settings_behind
from affect.report.document import Bullets, Cell, Grid
from affect.report.tables import MISSING
from affect.trial import Settings


def settings_grids(analysis: Analysis) -> list[Grid]:
    """The settings that development data chose, per cell, and all settings, per system."""
    cells = settings_behind(analysis)
    chosen = chosen_settings(analysis)
    grids = [_chosen_grid(analysis, cells, chosen)] if chosen else []
    return [*grids, _settings_grid(analysis, cells, chosen)] if cells else grids


def run_block(analysis: Analysis) -> Bullets:
    """What was run: study, corpus, label fractions, seeds, settings of this run, and the study's own notes."""
    resolved, cube = analysis.resolved, analysis.cube
    corpus, study = resolved.corpus, resolved.study
    parts = ", ".join(f"{numbers.count(n)} {partition}" for partition, n in corpus.rows.items())
    fractions = ", ".join(f"{100 * f:g} % ({numbers.count(corpus.labelled(f))})" for f in cube.fractions)
    chosen = resolved.corpus_settings
    apart, origin = "", ", chosen beforehand on its development data" if chosen else ""
    where = f" under {resolved.protocol}" if any(key.startswith(f"{corpus.name}+") for key in study.settings) else ""
    if resolved.preset != study.presets[0] and chosen:
        apart = f" and has no preset {resolved.preset}"
    once = len(cube.seeds) > 1 and bool((cube.expected.sum(axis=-1) == 1).any())
    items = [
        f"Paper {study.paper}.",
        f"Study: {study.title}, scale {resolved.scale}, preset {resolved.preset}, "
        f"protocol {resolved.protocol}, device {resolved.device}.",
        f"Corpus: {corpus.title}, view {corpus.view} with {numbers.plural(corpus.width, 'feature')}; groups: "
        f"{corpus.groups}; rows: {parts}.",
        f"Label fractions: {fractions} of the training rows.",
        f"{numbers.plural(len(cube.seeds), 'seed')} per cell ({numbers.seeds([int(s) for s in cube.seeds])})"
        f"{', one where nothing in a fit depends on it' if once else ''}. With the seed varied the labelled subset, "
        "initial weights, batch order, dropout and noise; the partitions did not.",
        f"Settings set for this corpus{where}, for every system that has them{apart}{origin}: {_listed(chosen)}; on the "
        f"command line: {_listed(resolved.overrides)}.",
        *_cut_short(analysis),
    ]
    if corpus.classes:
        items.append(
            f"Each of the {corpus.classes} classes has a labelled row by construction: the first of each leads a seed's order "
            "of labels. Drawn without that, few labels may leave a class out."
        )
    if rows := options_in_words(analysis):
        items.append(
            f"Candidate settings per target, between which development data chose over "
            f"{numbers.plural(resolved.selection_seeds, 'seed')}: {rows}."
        )
    return Bullets(
        (
            *items,
            *resolved.left_out,
            *study.notes,
            *(f"Finding about the corpus: {finding}" for finding in corpus.findings),
        )
    )


def _cut_short(analysis: Analysis) -> Iterator[str]:
    """A sentence where half of the fits of a system or more were best at their last epoch."""
    cells, values = settings_behind(analysis), analysis.evidence.values
    found = values[(values["partition"] == "development") & values["value"].notna()]
    keys = zip(found["system"], found["label_fraction"], found["target"], strict=True)
    last = found["epoch"] == [cells.get(key, {}).get("epochs") for key in keys]
    shares = last.groupby([found["system"], found["label_fraction"]], observed=True, sort=False).mean()
    cut = [
        f"{system} at {numbers.labels(f)} ({100 * share:.0f} %)"
        for (system, f), share in shares.items()
        if share >= 0.5
    ]
    if cut:
        yield f"Half of the fits or more were best at their last epoch, so that more epochs may help: {', '.join(cut)}."


def _listed(settings: Settings) -> str:
    return ", ".join(f"{name} {numbers.setting(value)}" for name, value in sorted(settings.items())) or "none"


def _chosen_grid(analysis: Analysis, cells: Cells, chosen: Mapping[str, list[str]]) -> Grid:
    cube = analysis.cube
    rows: list[tuple[Cell, ...]] = []
    rules: list[int] = []
    for fraction in cube.fractions:
        rules.append(len(rows))
        for system in cube.systems:
            if system in chosen:
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
    """Hyperparameters × systems, full."""
    of = {system: [settings for key, settings in cells.items() if key[0] == system] for system in analysis.cube.systems}
    systems = [system for system, found in of.items() if found]
    names = list(dict.fromkeys(name for system in systems for name in of[system][0]))
    rows = [(Cell(name), *(_setting(name, of[system], chosen.get(system, ())) for system in systems)) for name in names]
    return Grid("settings", "All settings", ("Setting", *systems), tuple(rows))


def _setting(name: str, found: list[Mapping[str, Any]], chosen: Collection[str]) -> Cell:
    """A setting over all cells of a system: its value, or that each target has its own, by choice or by declaration."""
    if name not in found[0]:
        return Cell("–", muted=True)
    if name in chosen:
        return Cell("chosen", muted=True)
    values = {numbers.setting(settings[name]) for settings in found}
    return Cell(values.pop()) if len(values) == 1 else Cell("per target", muted=True)
