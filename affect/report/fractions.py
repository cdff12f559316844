"""A paper's table with a column per label fraction: mean ± standard deviation over seeds, beside the published values."""

from __future__ import annotations

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.cube import PARTITIONS
from affect.report.document import Cell, Grid
from affect.report.published import Published
from affect.report.tables import ABSENT, MISSING, best_of, lost
from affect.stats import LEVEL
from affect.study import Table


def fractions_grid(table: Table, analysis: Analysis, published: Published | None) -> Grid:
    """Rows are systems, columns label fractions, for the first target and the table's first partition; grids are left out."""
    cube = analysis.cube
    of = {row.name: row for row in analysis.resolved.rows}
    systems = [s for s, name in enumerate(cube.systems) if not of[name].factors]
    transductive = any(of[cube.systems[s]].transductive for s in systems)
    p = PARTITIONS.index(table.partitions[0])
    fractions = sorted(range(len(cube.fractions)), key=lambda f: cube.fractions[f])
    best = {f: best_of(cube.means[f, systems, 0, p]) for f in fractions}
    rows = []
    for s in systems:
        system = cube.systems[s]
        row = [Cell(system)]
        if transductive:
            row.append(Cell("test part" if of[system].transductive else "training part"))
        for f in fractions:
            row.append(_cell(analysis, f, s, p, best[f]))
            if published is not None:
                row.append(_published(published, table.partitions[0], system, cube.fractions[f]))
        rows.append(tuple(row))
    heads = [[numbers.labels(cube.fractions[f]), *(["published"] if published else [])] for f in fractions]
    return Grid(
        name=table.name,
        caption=f"{table.title}, {table.partitions[0]}",
        columns=(
            "System",
            *(["Fits on inputs of"] if transductive else []),
            *(head for pair in heads for head in pair),
        ),
        rows=tuple(rows),
        labels=1 + transductive,
        rules=tuple(r for r in (sum(not of[cube.systems[s]].floor for s in systems),) if 0 < r < len(rows)),
        notes=_notes(table, analysis, fractions, published),
    )


def _cell(analysis: Analysis, f: int, s: int, p: int, best: str) -> Cell:
    cube = analysis.cube
    expected, count = int(cube.expected[f, s, 0].sum()), int(cube.counts[f, s, 0, p])
    if not expected:
        return ABSENT
    if not count:
        return Cell("diverged", muted=True) if cube.diverged[f, s, 0].any() else MISSING
    mean = float(cube.means[f, s, 0, p])
    _, paired = analysis.marks(f, PARTITIONS[p], cube.systems[s], 0)
    return Cell(
        numbers.spread(mean, cube.deviation(f, s, 0, p)),
        strong=numbers.value(mean) == best,
        marks=paired,
        note="" if count == expected else f"{count}/{expected} seeds",
    )


def _published(published: Published, partition: str, system: str, fraction: float) -> Cell:
    found = published.spread(partition, system, f"{fraction:g}")
    return Cell("–" if found is None else numbers.spread(*found), muted=True)


def _notes(table: Table, analysis: Analysis, fractions: list[int], published: Published | None) -> tuple[str, ...]:
    cube, study = analysis.cube, analysis.resolved.study
    p = PARTITIONS.index(table.partitions[0])
    notes = [
        f"Mean ± standard deviation of {study.metric} over {numbers.plural(int(cube.counts[..., p].max(initial=0)), 'seed')}; "
        "on one split: ± is of labelled rows, initial weights and batches, not of other splits; bold: best of the column. "
        "Development data chose epochs and settings.",
    ]
    if any(row.transductive for row in analysis.resolved.rows):
        notes.append(
            "Rows that fit on inputs of the test part see those and the labelled training rows, and no label of the test part; "
            "what the other training rows give them is the mean and deviation of each feature."
        )
    for mark in study.marks:
        than = "worse" if mark.worse else "better"
        families = [
            analysis.families[key]
            for f in fractions
            if (key := (f, table.partitions[0], mark.baseline)) in analysis.families
        ]
        if not families:
            why = "no other system was run" if mark.baseline in cube.systems else "it was not run"
            notes.append(f"No {mark.symbol} ({than} than {mark.baseline}): {why}.")
        elif families[0].resolvable:
            notes.append(
                f"{mark.symbol} {than} than {mark.baseline}: sign-flip paired by seed, one-tailed, Holm over "
                f"{families[0].extent} per column, p < {LEVEL:g}."
            )
        else:
            notes.append(families[0].resolution)
    for f in fractions:
        notes += [f"{numbers.labels(cube.fractions[f])}: {sentence}" for sentence in lost(analysis, f)]
    if published is not None:
        notes.append(f"Published: {published.source}. {published.reason}".rstrip())
    return tuple(dict.fromkeys(notes))
