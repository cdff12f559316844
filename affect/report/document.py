"""What a report says, before it is Markdown, LaTeX or HTML. All strings are plain text; renderers escape them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell of a grid."""

    text: str
    strong: bool = False
    muted: bool = False
    marks: str = ""
    """Symbols of the paper's own test."""
    paired: str = ""
    """Symbols of the paired test after Holm; shown in parentheses."""
    note: str = ""
    """A short remark such as `7/10 seeds`."""

    @property
    def plain(self) -> str:
        """Text, marks and note in one line."""
        return " ".join(part for part in (self.text, self.marks, self.bracketed, self.note) if part)

    @property
    def bracketed(self) -> str:
        return f"({self.paired})" if self.paired else ""


@dataclass(frozen=True)
class Grid:
    """A table. The first `labels` columns name the row and are set flush left."""

    name: str
    """For anchors and labels: letters, digits and hyphens."""
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: int = 1
    groups: tuple[tuple[str, int], ...] = ()
    """(heading, number of columns) over the column heads, covering all columns."""
    rules: tuple[int, ...] = ()
    """Rows that a rule precedes."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        widths = {len(self.columns), *map(len, self.rows)}
        if self.groups:
            widths.add(sum(span for _, span in self.groups))
        if len(widths) > 1:
            raise ValueError(f"grid {self.name} has rows of {sorted(widths)} columns")


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Banner:
    """What must not be overlooked: the corpus and its caveats."""

    text: str


@dataclass(frozen=True)
class Image:
    """A figure: files `<name>.png` and `<name>.pdf` beside the report."""

    name: str
    caption: str
    alt: str


Block = Heading | Paragraph | Bullets | Banner | Image | Grid
