"""Rows of a view that training rows lacked as images: the truth, and what each row of a study filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.canvas import panels
from affect.study import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CUT = 2.0
"""Per cent of the truth's values at each end that are beyond the colours."""


def imputed_rows(analysis: Analysis, figure: Figure) -> Canvas | None:
    """A panel for the truth and one per row of the study, in equal colours; samples down, features across."""
    frame = analysis.evidence.imputed
    if frame is None or frame.empty:
        return None
    known = set(frame["system"])
    rows = [row for row in analysis.resolved.rows if row.name in known and set(row.factors) <= set(figure.factors)]
    tables = [frame[frame["system"] == row.name].pivot(index="sample", columns="feature") for row in rows]
    if not tables:
        return None
    images = [tables[0]["truth"].to_numpy(np.float64), *(table["prediction"].to_numpy(np.float64) for table in tables)]
    low, high = np.percentile(images[0], [CUT, 100 - CUT])
    canvas, axes = panels(len(images), 3.4, width=1.25, share_y=True)
    for panel, image, name in zip(axes, images, ("Original", *(row.line for row in rows)), strict=True):
        drawn = panel.imshow(image, cmap="viridis", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        panel.set_title(name, loc="left", fontsize=8)
        panel.set_xticks([])
        panel.set_yticks([])
    axes[0].set_ylabel(f"{numbers.plural(len(images[0]), 'sample')} of {analysis.resolved.corpus.view.split('+')[-1]}")
    canvas.colorbar(drawn, ax=list(axes), shrink=0.8)
    return canvas
