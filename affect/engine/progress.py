"""How far a run is: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

SECONDS_BETWEEN_LINES, SECONDS_OF_SILENCE = 10.0, 60.0
"""Between lines of a log that differ, and before a line is said again as a sign of life."""


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
    running: int = 0
    """Trials in training."""
    best: Mapping[str, float] = field(default_factory=dict)
    """Target → the highest development value of any trial so far."""

    @property
    def finished(self) -> bool:
        return self.exact and self.done == self.total

    def __str__(self) -> str:
        total = f"{self.total}" if self.exact else f"at most {self.total}"
        parts = [f"{self.done} of {total} trials"]
        parts += [f"{self.running} running"] if self.running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        if self.best:
            parts.append(
                "best on development: " + " ".join(f"{target} {value:.3f}" for target, value in self.best.items())
            )
        parts += [] if self.seconds_left is None or self.finished else [f"about {duration(self.seconds_left)} left"]
        return ", ".join(parts)


@dataclass(frozen=True)
class SearchState:
    """A search at one moment."""

    name: str
    counts: Mapping[str, int]
    """Status → suggestions that ended with it."""
    total: int | None
    """None where the search has a budget of steps instead."""
    running: int
    best: float | None
    share: float
    seconds_left: float | None

    @property
    def finished(self) -> bool:
        return self.share >= 1

    def __str__(self) -> str:
        done = sum(self.counts.values())
        parts = [f"{self.name}: {done}{'' if self.total is None else f' of {self.total}'} suggestions"]
        parts += [f"{count} {status}" for status, count in self.counts.items()]
        parts += [f"{self.running} running"] if self.running else []
        parts += [] if self.best is None else [f"best {self.best:.3f}"]
        parts += [] if self.seconds_left is None or self.finished else [f"about {duration(self.seconds_left)} left"]
        return ", ".join(parts)


class Shown(Protocol):
    """What a display shows: a sentence and how far things are."""

    @property
    def share(self) -> float:
        """Of the expected work, 0 to 1."""

    @property
    def finished(self) -> bool:
        """Whether this is the last that will be shown."""


class Display(Protocol):
    def show(self, state: Shown) -> None:
        """Show `state`; called as often as there is news."""


@dataclass(frozen=True)
class Titled:
    """A display that says what the trials are for, where a run is one of several: `refits of MTL: 3 of 10 trials`."""

    display: Display
    title: str

    def show(self, state: Shown) -> None:
        self.display.show(_Said(f"{self.title}: {state}", state.share, state.finished))


@dataclass(frozen=True)
class _Said:
    text: str
    share: float
    finished: bool

    def __str__(self) -> str:
        return self.text


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
    """A line at once, then at most one every ten seconds where there is news, and one at the end."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._said, self._last = "", -SECONDS_OF_SILENCE

    def show(self, state: Shown) -> None:
        now, line = self._clock(), str(state)
        wait = SECONDS_OF_SILENCE if line == self._said else SECONDS_BETWEEN_LINES
        if state.finished or now - self._last >= wait:
            self._said, self._last = line, now
            self._console.print(line, highlight=False)


@dataclass
class _Bar:
    progress: Progress
    task: TaskID

    def show(self, state: Shown) -> None:
        self.progress.update(self.task, completed=state.share, description=str(state))
