"""Figures of grids: values against one factor, or over two."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.canvas import COLOURS, DECADES, panels
from affect.report.cube import PARTITIONS
from affect.stats import mean_interval
from affect.study import Figure, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def factor_curve(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Mean development and test values against one factor, with 95 % t intervals over seeds; a panel per target."""
    rows, cube = rows_of(analysis, figure), analysis.cube
    places = [cube.systems.index(row.name) for row in rows]
    if len(rows) < 2 or np.isnan(cube.values[cube.main, places]).all():
        return None
    values = [row.factors[figure.factors[0]] for row in rows]
    numeric = all(isinstance(value, int | float) for value in values)
    x = np.array(values, float) if numeric else np.arange(len(values))
    canvas, axes = panels(len(cube.targets), 2.7, share_x=True)
    for t, panel in enumerate(axes):
        for partition, colour, style in (("development", COLOURS[1], "--"), ("test", COLOURS[0], "-")):
            p = PARTITIONS.index(partition)
            mean = cube.means[cube.main, places, t, p]
            low, high = mean_interval(cube.values[cube.main, places, t, p])
            error = np.nan_to_num(np.stack([mean - low, high - mean]))
            panel.errorbar(
                x,
                mean,
                yerr=error,
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4,
                label=partition.capitalize(),
            )
        if not numeric:
            panel.set_xticks(x, [str(value) for value in values])
        elif (x > 0).all() and x.max() / x.min() > DECADES:
            panel.set_xscale("log")
        panel.grid(True)
        panel.set_title(cube.targets[t].capitalize(), loc="left", fontweight="bold")
        panel.set_xlabel(figure.factors[0])
    axes[0].set_ylabel(f"{figure.system}, {analysis.resolved.study.metric.upper()}")
    axes[0].legend(loc="best")
    return canvas


def heat_map(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Mean development values over two factors, the best in bold; a panel per target, or per label fraction of the one
    target."""
    rows, cube = rows_of(analysis, figure), analysis.cube
    first, second = ([row.factors[name] for row in rows] for name in figure.factors)
    down, across = (sorted(set(values), key=_order) for values in (first, second))
    shown = [(cube.main, t) for t in range(len(cube.targets))]
    titles = [target.capitalize() for target in cube.targets]
    if len(cube.targets) == 1:
        shown = [(int(f), 0) for f in np.argsort(cube.fractions)]
        titles = [numbers.labels(cube.fractions[f]) for f, _ in shown]
    means = np.full((len(shown), len(down), len(across)), np.nan)
    for row, a, b in zip(rows, first, second, strict=True):
        found = cube.means[:, cube.systems.index(row.name), :, PARTITIONS.index("development")]
        means[:, down.index(a), across.index(b)] = [found[place] for place in shown]
    if np.isnan(means).all():
        return None
    canvas, axes = panels(len(shown), 0.9 + 0.34 * len(down), width=0.8 + 0.46 * len(across))
    for t, panel in enumerate(axes):
        image = panel.imshow(means[t], cmap="viridis", aspect="auto", origin="lower")
        middle = (np.nanmin(means[t]) + np.nanmax(means[t])) / 2 if not np.isnan(means[t]).all() else 0.0
        best = np.nanmax(means[t], initial=-np.inf)
        for i, j in product(range(len(down)), range(len(across))):
            if np.isnan(value := means[t, i, j]):
                continue
            colour = "black" if value > middle else "white"
            weight = "bold" if value == best else "normal"
            text = numbers.value(value).replace("0.", ".", 1)
            panel.text(j, i, text, ha="center", va="center", color=colour, fontsize=7, fontweight=weight)
        panel.set_xticks(range(len(across)), [numbers.setting(value) for value in across])
        panel.set_yticks(range(len(down)), [numbers.setting(value) for value in down])
        panel.set_xlabel(figure.factors[1])
        panel.set_title(titles[t], loc="left", fontweight="bold")
        canvas.colorbar(image, ax=panel, shrink=0.8)
    axes[0].set_ylabel(figure.factors[0])
    return canvas


def rows_of(analysis: Analysis, figure: Figure) -> list[Row]:
    """The rows that vary just this figure's factors, in order of the first."""
    wanted = set(figure.factors)
    mine = [row for row in analysis.resolved.rows if row.system == figure.system and set(row.factors) == wanted]
    return sorted(mine, key=lambda row: _order(row.factors[figure.factors[0]]))


def _order(value: float | int | str) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")
