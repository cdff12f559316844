"""Figures, by the kind that a declaration names. Pure functions of the analysis; None where there is no data."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.cube import PARTITIONS
from affect.report.curves import CurveMeans, curve_means
from affect.stats import mean_interval
from affect.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# Okabe and Ito's palette, told apart with any colour vision; floors are grey.
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#6A3D9A", "#8C6D1F")
_GREYS = ("#555555", "#8A8A8A", "#B0B0B0")
_MARKERS = "oDs^vPX*"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "grid.color": "#E3E6E9",
    "grid.linewidth": 0.7,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def draw(figure: Figure, analysis: Analysis) -> dict[str, bytes] | None:
    """`png` and `pdf` of a declared figure, without date, path or version of anything; None without data for it."""
    import matplotlib

    if figure.kind not in RENDERERS:
        raise ValueError(f"a figure is of kind {', '.join(RENDERERS)}, not {figure.kind}")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change a report
        matplotlib.rcParams.update(_STYLE)
        canvas = RENDERERS[figure.kind](analysis)
        if canvas is None:
            return None
        canvas.suptitle(_corpus(analysis), x=0.005, ha="left", fontsize=8, color="#666666")
        files = {}
        for kind, metadata in (
            ("png", {"Software": None}),
            ("pdf", {"Creator": None, "Producer": None, "CreationDate": None}),
        ):
            buffer = io.BytesIO()
            canvas.savefig(buffer, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.06)
            files[kind] = buffer.getvalue()
    return files


def mean_bars(analysis: Analysis) -> Canvas | None:
    """Means of development and test per system, a panel per target, with marks and 95 % t intervals over seeds."""
    cube, p = analysis.cube, PARTITIONS.index("mean")
    values = cube.values[cube.main, :, :, p]
    if np.isnan(values).all():
        return None
    means, (low, high) = cube.means[cube.main, :, :, p], mean_interval(values)
    places = np.arange(len(cube.systems)) + 0.4 * np.array([system in analysis.floors for system in cube.systems])
    canvas, panels = _panels(analysis, height=0.55 + 0.34 * len(cube.systems), share="all")
    reach = float(np.nanmax(np.where(np.isnan(high), means, high), initial=0.1))
    lowest = min(0.0, float(np.nanmin(np.where(np.isnan(low), means, low), initial=0.0)))
    colours = _colours(analysis)
    for t, panel in enumerate(panels):
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
    panels[0].set_yticks(places, cube.systems)
    panels[0].invert_yaxis()
    return canvas


def label_fractions(analysis: Analysis) -> Canvas | None:
    """Mean test values against the label fraction with 95 % t intervals over seeds; None below two fractions."""
    cube = analysis.cube
    values = cube.values[..., PARTITIONS.index("test"), :]
    if len(cube.fractions) < 2 or np.isnan(values).all():
        return None
    order = np.argsort(cube.fractions)
    fractions = np.array(cube.fractions)[order]
    means, (low, high) = cube.means[order, :, :, PARTITIONS.index("test")], mean_interval(values[order])
    canvas, panels = _panels(analysis, height=2.9, share="x")
    # Systems stand a little beside each other, so that their intervals do not hide one another.
    shifts = 1.03 ** (np.arange(len(cube.systems)) - (len(cube.systems) - 1) / 2)
    for t, panel in enumerate(panels):
        for s, colour in enumerate(_colours(analysis)):
            error = np.nan_to_num(np.stack([means[:, s, t] - low[:, s, t], high[:, s, t] - means[:, s, t]]))
            floor = cube.systems[s] in analysis.floors
            panel.errorbar(
                fractions * shifts[s],
                means[:, s, t],
                yerr=error,
                color=colour,
                label=cube.systems[s],
                marker=_MARKERS[s % len(_MARKERS)],
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
    panels[0].set_ylabel(f"Test {analysis.resolved.study.metric.upper()}")
    _legend(canvas, panels[0], len(cube.systems))
    return canvas


def learning_curves(analysis: Analysis) -> Canvas | None:
    """Development values per epoch: mean ± one standard deviation over seeds, at the largest label fraction."""
    curves = curve_means(analysis)
    if not curves:
        return None
    cube = analysis.cube
    canvas, panels = _panels(analysis, height=2.9, share="x")
    for t, panel in enumerate(panels):
        for system, colour in zip(cube.systems, _colours(analysis), strict=True):
            curve: CurveMeans | None = curves.get((system, cube.targets[t]))
            if curve is None:
                continue
            panel.plot(curve.epochs, curve.mean, color=colour, label=system, linewidth=1.3)
            panel.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        panel.grid(True)
        panel.set_title(cube.targets[t].capitalize(), loc="left", fontweight="bold")
        panel.set_xlabel("Epoch")
    panels[0].set_ylabel(f"Development {analysis.resolved.study.metric.upper()}")
    _legend(canvas, max(panels, key=lambda panel: len(panel.get_legend_handles_labels()[1])), len(cube.systems))
    return canvas


RENDERERS: Mapping[str, Callable[[Analysis], Any]] = {
    "mean_bars": mean_bars,
    "label_fractions": label_fractions,
    "learning_curves": learning_curves,
}


def _corpus(analysis: Analysis) -> str:
    """The corpus, named inside every figure: figures travel without their page."""
    corpus = analysis.resolved.corpus
    said = not corpus.synthetic or "synthetic" in corpus.title.lower()
    return corpus.title if said else f"{corpus.title} (synthetic)"


def _panels(analysis: Analysis, height: float, share: str) -> tuple[Canvas, Sequence[Any]]:
    """A figure with one panel per target, side by side; drawn on no screen and in no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    n = len(analysis.cube.targets)
    canvas = Canvas(figsize=(max(4.0, 2.9 * n), height), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(1, n, squeeze=False, sharex=True, sharey=share == "all")[0]
    return canvas, panels


def _colours(analysis: Analysis) -> list[str]:
    """One colour per system, the same in every figure."""
    own, grey, colours = 0, 0, []
    for system in analysis.cube.systems:
        if system in analysis.floors:
            colours.append(_GREYS[grey % len(_GREYS)])
            grey += 1
        else:
            colours.append(_COLOURS[own % len(_COLOURS)])
            own += 1
    return colours


def _legend(canvas: Canvas, panel: Any, systems: int) -> None:
    handles, names = panel.get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside lower center", ncols=min(systems, 4), columnspacing=1.4, handlelength=2)
