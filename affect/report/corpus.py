"""A paper's table of the data: sizes of the corpus that was used beside those that were published."""

from __future__ import annotations

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.document import Cell, Grid
from affect.report.published import Published
from affect.study import Table


def corpus_grid(table: Table, analysis: Analysis, published: Published | None) -> Grid:
    """Rows, features of each view, partitions, classes, and the labels that each label fraction leaves."""
    resolved = analysis.resolved
    corpus, names = resolved.corpus, resolved.study.view_names
    views = zip(corpus.view.split("+"), corpus.widths or (corpus.width,), strict=True)
    sizes = {
        "samples": sum(corpus.rows.values()),
        **{f"features of {names.get(view, view)}": width for view, width in views},
        **{partition: rows for partition, rows in corpus.rows.items() if rows},
        **({"classes": corpus.classes} if corpus.classes else {}),
        **{f"labels at {100 * f:g} %": corpus.labelled(f) for f in sorted(analysis.cube.fractions)},
    }
    rows = []
    for what, here in sizes.items():
        found = None if published is None else published.cell("corpus", what, "count")
        beside = [Cell("–" if found is None else numbers.count(found), muted=True)] if published else []
        rows.append((Cell(what), Cell(numbers.count(here)), *beside))
    return Grid(
        name=table.name,
        caption=table.title,
        columns=("", "here", *(["published"] if published else [])),
        rows=tuple(rows),
        notes=(f"Published: {published.source}.",) if published else (),
    )
