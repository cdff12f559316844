"""What networks learned beside their predictions, such as the weights of views: means over seeds per epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.canvas import COLOURS, legend, panels
from affect.resolved import Resolved
from affect.stats import mean_interval
from affect.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def learned_of(analysis: Analysis, system: str, fraction: float) -> pd.DataFrame:
    """What the row `system` learned at a label fraction: columns seed, epoch, kept, name and value."""
    frame = analysis.evidence.learned
    if frame is None:
        return pd.DataFrame(columns=["seed", "epoch", "kept", "name", "value"])
    return frame[(frame["system"] == system) & (frame["label_fraction"] == fraction)]


def in_words(name: str, resolved: Resolved) -> str:
    """`weight view 2` as `Weight of Eye`."""
    what, view, number = name.rpartition(" view ")
    views = resolved.corpus.view.split("+")
    if not view or not number.isdecimal() or int(number) > len(views):
        return name
    found = views[int(number) - 1]
    return f"{what.capitalize()} of {resolved.study.view_names.get(found, found)}"


def learned_lines(analysis: Analysis, figure: Figure) -> Canvas | None:
    """A line per name over epochs, with 95 % t intervals over seeds; a panel per label fraction."""
    fractions = sorted(analysis.cube.fractions)
    frames = [learned_of(analysis, figure.system, fraction) for fraction in fractions]
    names = sorted({name for frame in frames for name in frame["name"]})
    if not names:
        return None
    canvas, axes = panels(len(fractions), 2.7, share_x=True, share_y=True)
    for fraction, frame, panel in zip(fractions, frames, axes, strict=True):
        for k, name in enumerate(names):
            table = frame[frame["name"] == name].pivot(index="epoch", columns="seed", values="value")
            if table.empty:
                continue
            low, high = mean_interval(table.to_numpy(np.float64))
            colour = COLOURS[2 * k % len(COLOURS)]
            panel.plot(table.index, table.mean(axis=1), color=colour, label=in_words(name, analysis.resolved))
            panel.fill_between(table.index, low, high, color=colour, alpha=0.18, linewidth=0)
        panel.grid(True)
        panel.set_title(numbers.labels(fraction), loc="left", fontweight="bold")
        panel.set_xlabel("Epoch")
        panel.locator_params(axis="x", integer=True)
    axes[0].set_ylabel(f"Learned by {figure.system}")
    legend(canvas, max(axes, key=lambda panel: len(panel.get_legend_handles_labels()[1])), len(names))
    return canvas
