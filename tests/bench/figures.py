"""What a benchmark yields: lines of a table, each perhaps with a target, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Target:
    """A bound on the ratio of a line, or on our figure itself."""

    bound: float
    kind: Literal["at least", "at most"]
    on: Literal["ratio", "ours"] = "ratio"


@dataclass(frozen=True)
class Line:
    """One comparison. `ratio` is whatever the target speaks of, its two ends those of the rounds."""

    what: str
    ours: float
    unit: str = "s"
    other: float | None = None
    ratio: float | None = None
    ends: tuple[float, float] | None = None
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        value = self.ours if self.target.on == "ours" else self.ratio
        if value is None:
            return None
        return value >= self.target.bound if self.target.kind == "at least" else value <= self.target.bound


@dataclass(frozen=True)
class Item:
    """A benchmark's outcome."""

    key: str
    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def compared(
    what: str, unit: str, ours: Sequence[float], other: Sequence[float], ratios: Sequence[float], target: Target | None
) -> Line:
    """A line of medians over rounds; round by round, both sides were measured right after each other."""
    ends = (min(ratios), max(ratios)) if len(ratios) > 1 else None
    return Line(what, median(ours), unit, median(other), median(ratios), ends, target)


def quantity(value: float | None, unit: str) -> str:
    """A figure with its unit, three digits: `12 ms`, `1,230 steps/s`."""
    if value is None:
        return ""
    if unit == "s":
        for factor, name in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
            if value * factor >= 1 or name == "µs":
                value, unit = value * factor, name
                break
    return f"{number(value)} {unit}"


def number(value: float) -> str:
    """Three digits: `1,230`, `12.3`, `0.045`."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"


def show(item: Item, console: Console) -> None:
    """Print an item as a table."""
    table = Table(title=f"({item.key}) {item.title}", title_justify="left")
    for name in ("what", "ours", "other", "ratio", "target", ""):
        table.add_column(name, justify="left" if name in ("what", "") else "right")
    for line in item.lines:
        ratio = "" if line.ratio is None else number(line.ratio)
        if line.ends:
            ratio += f" ({number(line.ends[0])}–{number(line.ends[1])})"
        verdict = {None: "", True: "[green]met[/green]", False: "[red]missed[/red]"}[line.met]
        table.add_row(
            line.what, quantity(line.ours, line.unit), quantity(line.other, line.unit), ratio, _target(line), verdict
        )
    console.print(table)
    for note in item.notes:
        console.print(f"  {note}", highlight=False, markup=False)
    console.print()


def _target(line: Line) -> str:
    if line.target is None:
        return ""
    sign = "≥" if line.target.kind == "at least" else "≤"
    bound = quantity(line.target.bound, line.unit) if line.target.on == "ours" else f"{line.target.bound:g}"
    return f"{sign} {bound}"


def plain(item: Item) -> dict[str, Any]:
    """An item as JSON."""
    lines = [asdict(line) | {"met": line.met} for line in item.lines]
    return {"title": item.title, "lines": lines, "notes": list(item.notes)}
