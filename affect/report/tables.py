"""Tables of a paper and the relative gains of its figures, as grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.choices import options, options_in_words
from affect.report.cube import PARTITIONS
from affect.report.document import Cell, Grid
from affect.report.published import Published
from affect.stats import LEVEL
from affect.study import Table

MISSING = Cell("missing", muted=True)
ABSENT = Cell("–", muted=True)


def slug(fraction: float) -> str:
    """A label fraction for anchors and labels: `100`, `2`, `0-5`."""
    return f"{100 * fraction:g}".replace(".", "-")


def result_grid(table: Table, analysis: Analysis, f: int, published: Published | None) -> Grid:
    """The paper's table at label fraction `f`: rows are systems, columns partition × target, cells means over seeds."""
    cube = analysis.cube
    targets = range(len(cube.targets))
    places = [(PARTITIONS.index(partition), t) for partition in table.partitions for t in targets]
    best = {(p, t): best_of([cube.means[f, s, t, p] for s in range(len(cube.systems))]) for p, t in places}
    beside = published is not None and published.has_cells
    rows = []
    for s, system in enumerate(cube.systems):
        row = [Cell(system)]
        for p, t in places:
            row.append(_cell(analysis, f, s, t, p, best[p, t]))
            if beside and published is not None:
                row.append(_published(published.cell(PARTITIONS[p], system, cube.targets[t])))
        if published is not None and not beside:
            row.append(Cell("not in the paper" if system in analysis.floors else "not in the text", muted=True))
        rows.append(tuple(row))
    heads = [[target, "published"] if beside else [target] for _ in table.partitions for target in cube.targets]
    single = published is not None and not beside
    groups = [(partition.capitalize(), len(cube.targets) * (1 + beside)) for partition in table.partitions]
    return Grid(
        name=f"{table.name}-{slug(cube.fractions[f])}",
        caption=f"{table.title}, {numbers.labels(cube.fractions[f])}",
        columns=("System", *(name for head in heads for name in head), *(["Published"] if single else [])),
        groups=(("", 1), *groups, *([("", 1)] if single else [])),
        rows=tuple(rows),
        rules=tuple(first_floor(analysis)),
        notes=_notes(table, analysis, f, published),
    )


def gains_grid(name: str, analysis: Analysis, published: Published) -> Grid | None:
    """Relative gains of the mean of development and test, ours and published; None where the baseline was not run."""
    cube, f, baseline = analysis.cube, analysis.cube.main, published.gains_baseline
    if baseline not in cube.systems:
        return None
    means = cube.means[f, :, :, PARTITIONS.index("mean")]
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = means / means[cube.systems.index(baseline)] - 1
    rows = [
        (Cell(system), *(Cell(numbers.percent(gain)) for gain in gains[s]))
        for s, system in enumerate(cube.systems)
        if system != baseline
    ]
    rule = len(rows)
    notes = [f"Relative gain over {baseline} of the mean of development and test, {numbers.labels(cube.fractions[f])}."]
    rows.append((Cell("Published"), *(_gain(published.gains.get(target)) for target in cube.targets)))
    notes.append(f"Published: {published.gains_source}.")
    return Grid(
        name=f"{name}-gains",
        caption=f"Relative gains over {baseline}",
        columns=("System", *cube.targets),
        rows=tuple(rows),
        rules=tuple(r for r in (*(i - 1 for i in first_floor(analysis)), rule) if r < len(rows)),
        notes=tuple(notes),
    )


def _cell(analysis: Analysis, f: int, s: int, t: int, p: int, best: str) -> Cell:
    cube = analysis.cube
    expected, count = int(cube.expected[f, s, t].sum()), int(cube.counts[f, s, t, p])
    if not expected:
        return ABSENT
    if not count:
        return Cell("diverged", muted=True) if cube.diverged[f, s, t].any() else MISSING
    text = numbers.value(cube.means[f, s, t, p])
    fisher, paired = analysis.marks(f, PARTITIONS[p], cube.systems[s], t)
    return Cell(
        text,
        strong=text == best,
        marks=fisher,
        paired=paired,
        note="" if count == expected else f"{count}/{expected} seeds",
    )


def best_of(column: Sequence[float] | np.ndarray) -> str:
    """The best value as written, so that equal figures are both bold."""
    return "" if np.isnan(column).all() else numbers.value(float(np.nanmax(column)))


def _published(value: float | None) -> Cell:
    return Cell("–" if value is None else numbers.value(value), muted=True)


def _gain(gain: float | None) -> Cell:
    return Cell("not in the text" if gain is None else numbers.percent(gain), muted=True)


def first_floor(analysis: Analysis) -> list[int]:
    systems = analysis.cube.systems
    first = len(systems) - len(analysis.floors)
    return [first] if 0 < first < len(systems) else []


def _notes(table: Table, analysis: Analysis, f: int, published: Published | None) -> tuple[str, ...]:
    cube, study = analysis.cube, analysis.resolved.study
    finished = cube.counts[f][:, :, [PARTITIONS.index(partition) for partition in table.partitions]]
    seeds = int(finished.max(initial=0))
    notes = [
        f"Mean {study.metric.upper()} over {numbers.plural(seeds, 'seed')}; bold: best of the column. "
        "Development data chose epochs and settings.",
        *_seeds(analysis, f),
    ]
    if {"development", "mean"} & set(table.partitions) and options(analysis):
        notes.append(_optimism(analysis))
    ran = [mark for mark in study.marks if (f, table.partitions[0], mark.baseline) in analysis.families]
    if ran:
        rows = " and ".join(
            f"{numbers.count(np.nanmax(cube.rows[f, :, :, PARTITIONS.index(p)]))} ({p})" for p in table.partitions
        )
        better = ", ".join(f"{mark.symbol} better than {mark.baseline}" for mark in ran)
        family = analysis.families[f, table.partitions[0], ran[0].baseline]
        notes.append(f"{better}: the paper's test, one-tailed Fisher z on the means, p < {LEVEL:g}, n = rows: {rows}.")
        notes.append(
            f"In parentheses, the same by the test that is paired by seed: sign-flip, one-tailed, Holm over "
            f"{family.extent}, p < {LEVEL:g}."
            if family.resolvable
            else family.resolution
        )
    for mark in study.marks:
        if mark not in ran:
            why = "no other system was run" if mark.baseline in cube.systems else "it was not run"
            notes.append(f"No {mark.symbol} (better than {mark.baseline}): {why}.")
    notes += lost(analysis, f)
    if published is not None:
        notes.append(f"Published: {published.source}." + ("" if published.has_cells else f" {published.reason}"))
    return tuple(notes)


def _seeds(analysis: Analysis, f: int) -> list[str]:
    """Rows of which the plan wants fewer seeds than of others: fits in which nothing depends on the seed."""
    wanted = analysis.cube.expected[f].sum(axis=-1).max(axis=-1, initial=0)
    return [
        f"Over {numbers.plural(int(n), 'seed')} alone: "
        f"{', '.join(name for name, m in zip(analysis.cube.systems, wanted, strict=True) if m == n)}"
        f"{', for nothing in such a fit depends on the seed' if n == 1 else ''}."
        for n in np.unique(wanted[wanted > 0])
        if n < wanted.max()
    ]


def _optimism(analysis: Analysis) -> str:
    """What choosing on development data does to development values, beyond the choice of epochs that all rows share."""
    resolved = analysis.resolved
    seeds, several = numbers.seeds(resolved.seed_range[: resolved.selection_seeds]), resolved.selection_seeds > 1
    return (
        f"Development values are optimistic where development data chose settings (candidates per target): "
        f"{options_in_words(analysis)}. The choice fell on seed{'s' if several else ''} {seeds}, and the chosen fits of "
        f"{'these seeds are' if several else 'this seed are'} part of the mean."
    )


def lost(analysis: Analysis, f: int) -> list[str]:
    """What is missing and what diverged."""
    cube = analysis.cube
    expected, diverged = cube.expected[f].sum(axis=-1), cube.diverged[f].sum(axis=-1)
    ended = (~np.isnan(cube.values[f]).all(axis=2)).sum(axis=-1) + diverged
    notes = []
    if diverged.any():
        cells = [
            f"{cube.systems[s]} {cube.targets[t]}, {diverged[s, t]} of {expected[s, t]} diverged"
            for s, t in np.argwhere(diverged)
        ]
        notes.append(f"Diverged trials are left out of the means: {'; '.join(cells)}.")
    if (missing := int((expected - ended).clip(0).sum())) > 0:
        notes.append(f"Missing: {missing} of {int(expected.sum())} trials behind this table have not finished.")
    return notes
