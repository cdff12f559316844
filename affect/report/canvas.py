"""What all figures have in common: style, colours, and how they become files that are equal to the byte."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from affect.study import CorpusFacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# Okabe and Ito's palette, told apart with any colour vision; floors are grey.
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#6A3D9A", "#8C6D1F")
GREYS = ("#555555", "#8A8A8A", "#B0B0B0")
MARKERS = "oDs^vPX*"
DECADES = 30.0
"""Values that span more than this factor are drawn on a logarithmic axis."""
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


def paint(make: Callable[[], Canvas | None], corpus: CorpusFacts) -> dict[str, bytes] | None:
    """`png` and `pdf` of the canvas that `make` draws, without date, path or version of anything; None if it draws none.

    The corpus is named inside every figure: figures travel without their page.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change a report
        matplotlib.rcParams.update(_STYLE)
        canvas = make()
        if canvas is None:
            return None
        said = not corpus.synthetic or "synthetic" in corpus.title.lower()
        title = corpus.title if said else f"{corpus.title} (synthetic)"
        canvas.suptitle(title, x=0.005, ha="left", fontsize=8, color="#666666")
        files = {}
        for kind, metadata in (
            ("png", {"Software": None}),
            ("pdf", {"Creator": None, "Producer": None, "CreationDate": None}),
        ):
            buffer = io.BytesIO()
            canvas.savefig(buffer, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.06)
            files[kind] = buffer.getvalue()
    return files


def panels(
    columns: int, height: float, *, rows: int = 1, width: float = 2.9, share_x: bool = False, share_y: bool = False
) -> tuple[Canvas, Any]:
    """A figure with `rows` × `columns` panels of `width` inches, `height` inches in all, and its panels row by row; drawn
    on no screen and in no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(max(4.0, width * columns), height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas, canvas.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y).ravel()


def legend(canvas: Canvas, panel: Any, entries: int) -> None:
    """The legend of `panel` below the figure."""
    handles, names = panel.get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside lower center", ncols=min(entries, 4), columnspacing=1.4, handlelength=2)
