"""Figures, by the kind that a declaration names. Pure functions of the analysis; None where there is no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.canvas import COLOURS, GREYS, MARKERS, legend, paint, panels
from affect.report.cube import PARTITIONS
from affect.report.curves import CurveMeans, curve_means
from affect.report.factors import factor_curve, heat_map, rows_of
from affect.report.imputed import imputed_rows
from affect.report.learned import learned_lines
from affect.report.lines import factor_lines
from affect.stats import mean_interval
from affect.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def draw(figure: Figure, analysis: Analysis) -> dict[str, bytes] | None:
    """`png` and `pdf` of a declared figure; None without data for it."""
    if figure.kind not in RENDERERS:
        raise ValueError(f"a figure is of kind {', '.join(RENDERERS)}, not {figure.kind}")
    return paint(lambda: RENDERERS[figure.kind](analysis, figure), analysis.resolved.corpus)


def mean_bars(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Means of development and test per system, a panel per target, with marks and 95 % t intervals over seeds."""
    cube, p = analysis.cube, PARTITIONS.index("mean")
    values = cube.values[cube.main, :, :, p]
    if np.isnan(values).all():
        return None
    means, (low, high) = cube.means[cube.main, :, :, p], mean_interval(values)
    places = np.arange(len(cube.systems)) + 0.4 * np.array([system in analysis.floors for system in cube.systems])
    canvas, axes = _panels(analysis, height=0.55 + 0.34 * len(cube.systems), share="all")
    reach = float(np.nanmax(np.where(np.isnan(high), means, high), initial=0.1))
    lowest = min(0.0, float(np.nanmin(np.where(np.isnan(low), means, low), initial=0.0)))
    colours = _colours(analysis)
    for t, panel in enumerate(axes):
        panel.barh(places, np.nan_to_num(means[:, t]), 0.72, color=colours)
        error = np.nan_to_num(np.stack([means[:, t] - low[:, t], high[:, t] - means[:, t]]))
        panel.errorbar(
            np.nan_to_num(means[:, t]), places, xerr=error, fmt="none", ecolor="#222222", elinewidth=1, capsize=2
        )
        for s, system in enumerate(cube.systems):
            text, tip = "missing", 0.0
            if not np.isnan(means[s, t]):
                text = f"{numbers.value(means[s, t])} {analysis.marks(cube.main, 'mean', system, t)[0]}".rstrip()
                tip = max(0.0, means[s, t] + error[1, s])
            panel.text(tip + 0.025 * reach, places[s], text, va="center", ha="left", fontsize=8, color="#222222")
        panel.set_title(cube.targets[t].capitalize(), loc="left", fontweight="bold")
        panel.set_xlim(1.05 * lowest, 1.42 * reach)
        panel.locator_params(axis="x", nbins=5)
        panel.xaxis.grid(True)
        panel.tick_params(length=0)
        panel.spines["bottom"].set_visible(False)
        panel.set_xlabel(f"Mean {analysis.resolved.study.metric.upper()}")
    axes[0].set_yticks(places, cube.systems)
    axes[0].invert_yaxis()
    return canvas


def label_fractions(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Mean test values against the label fraction with 95 % t intervals over seeds, of all rows or of a grid's; None below
    two fractions."""
    cube = analysis.cube
    values = cube.values[..., PARTITIONS.index("test"), :]
    shown = list(enumerate(_colours(analysis)))
    if figure.factors:
        places = [cube.systems.index(row.name) for row in rows_of(analysis, figure)]
        shown = [(s, COLOURS[k % len(COLOURS)]) for k, s in enumerate(places)]
    if len(cube.fractions) < 2 or np.isnan(values[:, [s for s, _ in shown]]).all():
        return None
    order = np.argsort(cube.fractions)
    fractions = np.array(cube.fractions)[order]
    means, (low, high) = cube.means[order, :, :, PARTITIONS.index("test")], mean_interval(values[order])
    canvas, axes = _panels(analysis, height=2.9, share="x")
    # Systems stand a little beside each other, so that their intervals do not hide one another.
    shifts = 1.03 ** (np.arange(len(shown)) - (len(shown) - 1) / 2)
    for t, panel in enumerate(axes):
        for (s, colour), shift in zip(shown, shifts, strict=True):
            error = np.nan_to_num(np.stack([means[:, s, t] - low[:, s, t], high[:, s, t] - means[:, s, t]]))
            floor = cube.systems[s] in analysis.floors
            panel.errorbar(
                fractions * shift,
                means[:, s, t],
                yerr=error,
                color=colour,
                label=cube.systems[s],
                marker=MARKERS[s % len(MARKERS)],
                markersize=4,
                linewidth=1.3,
                linestyle="--" if floor else "-",
                elinewidth=0.9,
            )
        panel.set_xscale("log")
        panel.set_xticks(fractions, [f"{100 * f:g} %" for f in fractions])
        panel.minorticks_off()
        panel.grid(True)
        panel.set_title(cube.targets[t].capitalize(), loc="left", fontweight="bold")
        panel.set_xlabel("Labels used")
    axes[0].set_ylabel(f"Test {analysis.resolved.study.metric.upper()}")
    legend(canvas, axes[0], len(shown))
    return canvas


def learning_curves(analysis: Analysis, figure: Figure) -> Canvas | None:
    """Development values per epoch: mean ± one standard deviation over seeds, at the largest label fraction."""
    curves = curve_means(analysis)
    if not curves:
        return None
    cube = analysis.cube
    canvas, axes = _panels(analysis, height=2.9, share="x")
    for t, panel in enumerate(axes):
        for system, colour in zip(cube.systems, _colours(analysis), strict=True):
            curve: CurveMeans | None = curves.get((system, cube.targets[t]))
            if curve is None:
                continue
            panel.plot(curve.epochs, curve.mean, color=colour, label=system, linewidth=1.3)
            panel.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        panel.grid(True)
        panel.set_title(cube.targets[t].capitalize(), loc="left", fontweight="bold")
        panel.set_xlabel("Epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel(f"Development {analysis.resolved.study.metric.upper()}")
    legend(canvas, max(axes, key=lambda panel: len(panel.get_legend_handles_labels()[1])), len(cube.systems))
    return canvas


RENDERERS: Mapping[str, Callable[[Analysis, Figure], Any]] = {
    "mean_bars": mean_bars,
    "label_fractions": label_fractions,
    "learning_curves": learning_curves,
    "factor_curve": factor_curve,
    "factor_lines": factor_lines,
    "heat_map": heat_map,
    "learned": learned_lines,
    "imputed": imputed_rows,
}


def _panels(analysis: Analysis, height: float, share: str) -> tuple[Canvas, Any]:
    """One panel per target, side by side."""
    return panels(len(analysis.cube.targets), height, share_x=True, share_y=share == "all")


def _colours(analysis: Analysis) -> list[str]:
    """One colour per system, the same in every figure."""
    own, grey, colours = 0, 0, []
    for system in analysis.cube.systems:
        if system in analysis.floors:
            colours.append(GREYS[grey % len(GREYS)])
            grey += 1
        else:
            colours.append(COLOURS[own % len(COLOURS)])
            own += 1
    return colours
