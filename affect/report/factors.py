"""Figures of grids: values against one factor, or over two."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.canvas import COLOURS, DECADES, MARKERS, legend, panels
from affect.report.cube import PARTITIONS, mean_over_seeds
from affect.stats import mean_interval
from affect.study import Figure, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def factor_curve(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Mean development and test values against one factor, with 95 % t intervals over seeds; a panel per target."""
    rows, cube = _rows(analysis, figure), analysis.cube
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


def factor_lines(analysis: Analysis, figure: Figure) -> Canvas | None:
    """A line per system over one factor: means of the first target's test values, or of imputation errors, with 95 % t
    intervals over seeds; a panel per label fraction. Where no system is named, rows without factors are level lines."""
    cube, (factor,) = analysis.cube, figure.factors
    values = cube.errors.get(figure.errors) if figure.errors else cube.values[:, :, 0, PARTITIONS.index("test")]
    if values is None:
        return None
    lines: dict[str, dict[float, int]] = {}
    for row in analysis.resolved.rows:
        varies = set(row.factors) == {factor} and figure.system in ("", row.system)
        level = row.competes and not figure.system
        if (varies or level) and not np.isnan(values[:, cube.systems.index(row.name)]).all():
            line = lines.setdefault(row.label or row.system, {})
            line[float(row.factors[factor]) if varies else np.nan] = cube.systems.index(row.name)
    every = sorted({x for line in lines.values() for x in line if not np.isnan(x)})
    if len(every) < 2:
        return None
    fractions = np.argsort(cube.fractions)
    canvas, axes = panels(len(fractions), 2.9, share_x=True, share_y=True)
    for f, panel in zip(fractions, axes, strict=True):
        for k, (name, line) in enumerate(lines.items()):
            x, places = np.array(sorted(line)), [line[x] for x in sorted(line)]
            mean = mean_over_seeds(values[f, places])
            low, high = mean_interval(values[f, places])
            if np.isnan(x).all():
                panel.axhspan(float(low[0]), float(high[0]), color="#888888", alpha=0.15, linewidth=0)
                panel.axhline(mean[0], color="#555555", linestyle="--", linewidth=1.1, label=name)
                continue
            error = np.nan_to_num(np.stack([mean - low, high - mean]))
            style = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)], "markersize": 4}
            panel.errorbar(x, mean, yerr=error, label=name, linewidth=1.3, elinewidth=0.9, **style)
        if every[0] > 0 and every[-1] / every[0] > DECADES:
            panel.set_xscale("log")
        panel.grid(True)
        panel.set_title(numbers.labels(cube.fractions[f]), loc="left", fontweight="bold")
        panel.set_xlabel(factor.capitalize() if len(factor) > 2 else factor)
    metric = f"NMSE, {figure.errors}" if figure.errors else f"test {analysis.resolved.study.metric}"
    axes[0].set_ylabel(f"{figure.system}, {metric}" if figure.system else metric[0].upper() + metric[1:])
    if len(lines) > 1:
        legend(canvas, axes[0], len(lines))
    return canvas


def heat_map(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Mean development values over two factors, the best in bold; a panel per target, or per label fraction of the one
    target."""
    rows, cube = _rows(analysis, figure), analysis.cube
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


def _rows(analysis: Analysis, figure: Figure) -> list[Row]:
    """The rows that vary just this figure's factors, in order of the first."""
    wanted = set(figure.factors)
    mine = [row for row in analysis.resolved.rows if row.system == figure.system and set(row.factors) == wanted]
    return sorted(mine, key=lambda row: _order(row.factors[figure.factors[0]]))


def _order(value: float | int | str) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")
