"""How far a run is: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class State:
    """A run at one moment."""

    done: int
    """Trials with results, those of earlier runs included."""
    total: int
    failed: int
    share: float
    """Of the expected work of this run."""
    seconds_left: float | None
    """None while nothing is known."""
    exact: bool
    """False while choices are open, which makes `total` an upper bound."""

    def __str__(self) -> str:
        total = f"{self.total}" if self.exact else f"at most {self.total}"
        failed = f", {self.failed} failed" if self.failed else ""
        left = "" if self.seconds_left is None else f", about {duration(self.seconds_left)} left"
        return f"{self.done} of {total} trials{failed}{left}"


class Display(Protocol):
    def show(self, state: State) -> None:
        """Show `state`; called as often as there is news."""


def duration(seconds: float) -> str:
    """Seconds as a reader says them: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


@contextmanager
def display(console: Console) -> Iterator[Display]:
    """The display that suits `console`."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        yield _Bar(progress, progress.add_task("starting workers", total=1.0))


class Lines:
    """A line every ten seconds, and one at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def show(self, state: State) -> None:
        finished = state.exact and state.done == state.total
        if finished or time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._console.print(str(state), highlight=False)


@dataclass
class _Bar:
    progress: Progress
    task: TaskID

    def show(self, state: State) -> None:
        self.progress.update(self.task, completed=state.share, description=str(state))
