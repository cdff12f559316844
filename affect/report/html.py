"""Blocks → one HTML page that needs nothing beside it: readable on a phone, on paper and by a screen reader."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import assert_never

from affect.report.document import Banner, Block, Bullets, Cell, Grid, Heading, Image, Paragraph

_STYLE = """
:root { --ink: #1c2126; --soft: #5c6670; --line: #d5dadf; --accent: #0b5c8f; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 62rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .4rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .7rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
p, ul { margin: .6rem 0; max-width: 46rem; }
ul { padding-left: 1.25rem; }
a { color: var(--accent); }
.banner { margin: 1rem 0; padding: .8rem 1rem; border-left: 4px solid #d08700; background: #fff6e0; font-weight: 600; }
figure { margin: 1.4rem 0 1.8rem; }
figure img { display: block; width: 100%; max-width: 56rem; height: auto; }
figcaption { margin-top: .5rem; color: var(--soft); font-size: .9rem; max-width: 46rem; }
.grid { margin: 1.3rem 0 1.8rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .45rem; }
thead { border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink); }
tbody { border-bottom: 2px solid var(--ink); }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap; font-weight: 400; }
thead th { font-weight: 600; }
th.label { text-align: left; }
th.group { text-align: center; border-bottom: 1px solid var(--line); }
th.label:first-child { position: sticky; left: 0; background: #fff; }
tr.rule > * { border-top: 1px solid var(--ink); }
.wide { white-space: normal; min-width: 16rem; }
.marks { color: var(--accent); }
.muted, .note { color: var(--soft); }
.note { font-size: .82rem; }
.notes { list-style: none; padding: 0; margin: .5rem 0 0; color: var(--soft); font-size: .86rem; }
@media (max-width: 40rem) { body { padding: .9rem; font-size: 15px; } th, td { padding: .25rem .5rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } .scroll { overflow: visible; }
  table { font-size: 8.5pt; } th, td { padding: .12rem .35rem; } figure, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; } .banner { border: 1px solid #d08700; background: none; } }
""".strip()

_WIDE = 40
"""Characters above which a cell may wrap."""


def html(title: str, blocks: Sequence[Block], images: Mapping[str, bytes]) -> str:
    """A page with the figures of `images` (name → PNG) inside it, each linked to its PDF."""
    body = "\n".join(_block(block, images) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _block(block: Block, images: Mapping[str, bytes]) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{escape(item)}</li>" for item in items) + "\n</ul>"
        case Banner(text):
            return f'<p class="banner" role="note">{escape(text)}</p>'
        case Image():
            return _image(block, images[block.name])
        case Grid():
            return _grid(block)
    assert_never(block)


def _image(image: Image, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return (
        f'<figure id="{image.name}">\n<a href="{image.name}.pdf">'
        f'<img alt="{escape(image.alt)}" src="data:image/png;base64,{data}"></a>\n'
        f'<figcaption>{escape(image.caption)} (<a href="{image.name}.png">PNG</a>, '
        f'<a href="{image.name}.pdf">PDF</a>)</figcaption>\n</figure>'
    )


def _grid(grid: Grid) -> str:
    lines = [f'<div class="grid" id="{grid.name}">', '<div class="scroll">', "<table>"]
    lines += [f"<caption>{escape(grid.caption)}</caption>", "<thead>"]
    if grid.groups:
        groups = "".join(
            f'<th colspan="{span}"{_class("group")} scope="colgroup">{escape(label)}</th>'
            if label
            else f'<td colspan="{span}"></td>'
            for label, span in grid.groups
        )
        lines.append(f"<tr>{groups}</tr>")
    heads = "".join(
        f'<th{_class("label" if j < grid.labels else "")} scope="col">{escape(column)}</th>'
        for j, column in enumerate(grid.columns)
    )
    lines += [f"<tr>{heads}</tr>", "</thead>", "<tbody>"]
    for i, row in enumerate(grid.rows):
        cells = "".join(_cell(cell, j < grid.labels) for j, cell in enumerate(row))
        lines.append(f"<tr{_class('rule' if i in grid.rules else '')}>{cells}</tr>")
    lines += ["</tbody>", "</table>", "</div>"]
    if grid.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in grid.notes)
        lines.append(f'<ul class="notes">{notes}</ul>')
    return "\n".join([*lines, "</div>"])


def _cell(cell: Cell, label: bool) -> str:
    text = escape(cell.text)
    text = f"<strong>{text}</strong>" if cell.strong else text
    marks = " ".join(part for part in (cell.marks, cell.bracketed) if part)
    parts = [text]
    if marks:
        parts.append(f'<span class="marks">{escape(marks)}</span>')
    if cell.note:
        parts.append(f'<span class="note">{escape(cell.note)}</span>')
    names = ["label"] * label + ["muted"] * cell.muted + ["wide"] * (len(cell.plain) > _WIDE)
    inner = " ".join(parts)
    return f'<th{_class(*names)} scope="row">{inner}</th>' if label else f"<td{_class(*names)}>{inner}</td>"


def _class(*names: str) -> str:
    given = " ".join(name for name in names if name)
    return f' class="{given}"' if given else ""
