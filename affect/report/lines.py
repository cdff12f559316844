"""Several systems over one factor, such as the share of missing views: as lines, and as the table behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.canvas import COLOURS, DECADES, MARKERS, legend, panels
from affect.report.cube import PARTITIONS, Floats, mean_over_seeds
from affect.report.document import Cell, Grid
from affect.report.tables import ABSENT, MISSING, lost
from affect.stats import mean_interval
from affect.study import Figure, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


_UNITS = (
    "NMSE is ‖X − X̂‖/‖X‖ of z-scored features, in which the training mean has about 1 over missing rows; in raw units, "
    "where means count in ‖X‖, it would be less."
)


@dataclass(frozen=True, eq=False)
class Lines:
    """Values of systems over a factor, of the first target."""

    values: Floats
    """[F, S, N] test values, or imputation errors."""
    rising: dict[str, dict[float, int]]
    """Name → value of the factor → index of the row S."""
    level: dict[str, int]
    """Rows that the factor does not concern."""

    @property
    def factor(self) -> list[float]:
        return sorted({x for line in self.rising.values() for x in line})


def lines_of(analysis: Analysis, factor: str, system: str = "", errors: str = "") -> Lines:
    """All rows that vary `factor` alone, or those of one `system`; with all, rows without factors are level. What has no
    value is left out."""
    cube = analysis.cube
    nothing = np.full_like(cube.values[:, :, 0, 0], np.nan)
    test = cube.values[:, :, 0, PARTITIONS.index("test")]
    values = cube.errors.get(errors, nothing) if errors else test
    rising: dict[str, dict[float, int]] = {}
    level = {}
    for row in analysis.resolved.rows:
        place = cube.systems.index(row.name)
        if np.isnan(values[:, place]).all():
            continue
        if set(row.factors) == {factor} and system in ("", row.system):
            rising.setdefault(row.line, {})[float(row.factors[factor])] = place
        elif row.competes and not system:
            level[row.name] = place
    return Lines(values, rising, level)


def factor_lines(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Means with 95 % t intervals over seeds, a line per system over one factor and a panel per label fraction."""
    cube, (factor,) = analysis.cube, figure.factors
    lines = lines_of(analysis, factor, figure.system, figure.errors)
    every = lines.factor
    if len(every) < 2:
        return None
    fractions = np.argsort(cube.fractions)
    canvas, axes = panels(len(fractions), 2.9, share_x=True, share_y=True)
    for f, panel in zip(fractions, axes, strict=True):
        for name, place in lines.level.items():
            low, high = mean_interval(lines.values[f, place])
            panel.axhspan(float(low), float(high), color="#888888", alpha=0.15, linewidth=0)
            panel.axhline(
                float(mean_over_seeds(lines.values[f, place])),
                color="#555555",
                linestyle="--",
                linewidth=1.1,
                label=name,
            )
        for k, (name, line) in enumerate(lines.rising.items()):
            x, places = np.array(sorted(line)), [line[x] for x in sorted(line)]
            mean = mean_over_seeds(lines.values[f, places])
            low, high = mean_interval(lines.values[f, places])
            panel.errorbar(
                x,
                mean,
                yerr=np.nan_to_num(np.stack([mean - low, high - mean])),
                label=name,
                color=COLOURS[k % len(COLOURS)],
                marker=MARKERS[k % len(MARKERS)],
                markersize=4,
                linewidth=1.3,
                elinewidth=0.9,
            )
        if every[0] > 0 and every[-1] / every[0] > DECADES:
            panel.set_xscale("log")
        panel.grid(True)
        panel.set_title(numbers.labels(cube.fractions[f]), loc="left", fontweight="bold")
        panel.set_xlabel(factor)
    metric = _metric(analysis, figure.errors)
    axes[0].set_ylabel(f"{figure.system}, {metric}" if figure.system else metric)
    entries = len(lines.rising) + len(lines.level)
    if entries > 1:
        legend(canvas, axes[0], entries)
    return canvas


def factor_grid(table: Table, analysis: Analysis) -> Grid:
    """The lines of a figure as a table: rows are systems, columns label fraction × value of the factor."""
    cube = analysis.cube
    lines = lines_of(analysis, table.factor, errors=table.errors)
    fractions = [int(f) for f in np.argsort(cube.fractions)]
    every = lines.factor
    rows = [
        (Cell(name), *(_cell(analysis, lines, f, line[x]) if x in line else ABSENT for f in fractions for x in every))
        for name, line in lines.rising.items()
    ]
    rows += [
        (Cell(name), *(_cell(analysis, lines, f, place) for f in fractions for _ in every))
        for name, place in lines.level.items()
    ]
    metric = _metric(analysis, table.errors)
    return Grid(
        name=table.name,
        caption=f"{table.title}, {metric}, over {table.factor}",
        columns=("System", *(f"{x:g}" for _ in fractions for x in every)),
        groups=(("", 1), *((numbers.labels(cube.fractions[f]), len(every)) for f in fractions)) if every else (),
        rows=tuple(rows),
        rules=(len(lines.rising),) if lines.level and lines.rising else (),
        notes=(
            f"Mean ± standard deviation over {numbers.plural(analysis.resolved.seeds, 'seed')} on one split, {metric}.",
            *([f"{', '.join(lines.level)}: the same whatever {table.factor}."] if lines.level else []),
            *((_UNITS,) if table.errors else ()),
            *(f"{numbers.labels(cube.fractions[f])}: {sentence}" for f in fractions for sentence in lost(analysis, f)),
        ),
    )


def _cell(analysis: Analysis, lines: Lines, f: int, place: int) -> Cell:
    values = lines.values[f, place]
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return MISSING if analysis.cube.expected[f, place].any() else ABSENT
    return Cell(numbers.spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")))


def _metric(analysis: Analysis, errors: str) -> str:
    return f"NMSE over {errors}" if errors else f"test {analysis.resolved.study.metric}"
