"""Grids → LaTeX tables (package booktabs), to be `\\input` into a paper."""

from __future__ import annotations

from collections.abc import Sequence

from affect.report.document import Cell, Grid

_ESCAPES = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "•": r"\ensuremath{\bullet}",
    "∗": r"\ensuremath{\ast}",
    "\u2212": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "Δ": r"\ensuremath{\Delta}",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "λ": r"\ensuremath{\lambda}",
    "σ": r"\ensuremath{\sigma}",
    "²": r"\ensuremath{^2}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
}


def latex(grids: Sequence[Grid], banner: str) -> str:
    """One `table` per grid, with the banner as its first note."""
    return "% Needs \\usepackage{booktabs}.\n\n" + "\n\n".join(_grid(grid, banner) for grid in grids) + "\n"


def escape(text: str) -> str:
    """Plain text as LaTeX that shows it unchanged, on one line."""
    return "".join(_ESCAPES.get(character, character) for character in " ".join(text.split()))


def _grid(grid: Grid, banner: str) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(grid.caption)}}}",
        rf"\label{{tab:{grid.name}}}",
        rf"\begin{{tabular}}{{{'l' * grid.labels}{'r' * (len(grid.columns) - grid.labels)}}}",
        r"\toprule",
    ]
    if grid.groups:
        lines += _groups(grid)
    lines += [_line([escape(column) for column in grid.columns]), r"\midrule"]
    for i, row in enumerate(grid.rows):
        if i in grid.rules:
            lines.append(r"\midrule")
        lines.append(_line([_cell(cell) for cell in row]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    notes = [escape(note) for note in (banner, *grid.notes)]
    return "\n".join([*lines, r"\par\medskip\raggedright", *[rf"{note}\par" for note in notes], r"\end{table}"])


def _groups(grid: Grid) -> list[str]:
    """The heads over several columns and the rules below them."""
    cells, rules, column = [], [], 1
    for label, span in grid.groups:
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(label)}}}" if label else " & ".join([""] * span))
        if label:
            rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    return [_line(cells), " ".join(rules)]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = rf"\textbf{{{text}}}" if cell.strong else text
    if cell.marks:
        text += rf"\textsuperscript{{{escape(cell.marks)}}}"
    return " ".join(part for part in (text, escape(cell.bracketed), escape(cell.note)) if part)
