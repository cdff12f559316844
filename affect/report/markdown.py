"""Blocks → Markdown (GitHub flavour), with columns padded so that the text also reads well in a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import assert_never

from affect.report.document import Banner, Block, Bullets, Cell, Grid, Heading, Image, Paragraph

_SPECIAL = re.compile(r"([\\`*|\[\]~]|<(?=[A-Za-z/!?])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_START = re.compile(r"^([-+>#]|\d+(?=[.)]\s))")


def markdown(blocks: Sequence[Block]) -> str:
    """The whole document, ending in one line break."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def escape(text: str) -> str:
    """Plain text as Markdown that shows it unchanged, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {escape(text)}"
        case Paragraph(text):
            return _START.sub(_opening, escape(text))
        case Bullets(items):
            return _bullets(items)
        case Banner(text):
            return f"> **{escape(text)}**"
        case Image(name, caption, alt):
            return f"![{escape(alt)}]({name}.png)\n\n{escape(caption)} ([PDF]({name}.pdf))"
        case Grid():
            return _grid(block)
    assert_never(block)


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {_START.sub(_opening, escape(item))}" for item in items)


def _opening(match: re.Match[str]) -> str:
    """What would open a list, a quote or a heading, made plain: `-` → `\\-`, `1.` → `1\\.`."""
    return f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}"


def _grid(grid: Grid) -> str:
    head = [escape(column) for column in grid.columns]
    lines = [[_cell(cell) for cell in row] for row in grid.rows]
    if grid.groups:
        # Markdown knows no spanning heads: the groups are the head, the columns' own heads its first row.
        lines = [head, *lines]
        head = [part for label, span in grid.groups for part in [escape(label), *[""] * (span - 1)]]
    widths = [max(3, *map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width if j < grid.labels else "-" * (width - 1) + ":" for j, width in enumerate(widths)]
    table = "\n".join(_line(line, widths, grid.labels) for line in [head, rule, *lines])
    parts = [f"**{escape(grid.caption)}**", table]
    if grid.notes:
        parts.append(_bullets(grid.notes))
    return "\n\n".join(parts)


def _line(cells: Sequence[str], widths: Sequence[int], labels: int) -> str:
    sides = [
        cell.ljust(width) if j < labels else cell.rjust(width)
        for j, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(sides)} |"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = f"**{text}**" if cell.strong else text
    return " ".join(part for part in (text, cell.marks, cell.bracketed, escape(cell.note)) if part)
