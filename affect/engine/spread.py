"""The same work on many items, on all cores: resident workers on Ray that take a few items per call."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console

from affect.engine.progress import display, duration
from affect.errors import UserError

A = TypeVar("A")
B = TypeVar("B")

BATCH = 8
"""Items per call at most: what a lost worker costs."""
TRIES = 3
"""How often an item is given to a worker before the deaths of its workers are held against it."""
STILLBORN = 10
"""Workers lost before any has answered, after which it is not the items' fault."""


@dataclass(frozen=True)
class Items:
    """How far a spread is."""

    what: str
    done: int
    total: int
    seconds: float
    """Since it began."""

    @property
    def share(self) -> float:
        return self.done / self.total

    @property
    def finished(self) -> bool:
        return self.done == self.total

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} {self.what}"
        if self.finished or not self.done:
            return text
        return f"{text}, about {duration(self.seconds * (self.total - self.done) / self.done)} left"


class _Worker:
    """What runs in an actor. A mistake of the user travels as a value."""

    def __init__(self, work: Callable[[A], B]) -> None:
        self.work: Callable[[Any], Any] = work

    def do(self, items: Sequence[Any]) -> list[Any] | UserError:
        try:
            return [self.work(item) for item in items]
        except UserError as error:
            return error


def on_ray(
    work: Callable[[A], B], items: Sequence[A], what: str, console: Console, slots: int | None = None
) -> Iterator[B]:
    """What `work` returns for each of `items`, as it comes; a bar on `console` says how far it is.

    `slots`: workers, one per core by default. An item at which `TRIES` workers have died is left out. Ray is the one
    that is up, else the one that RAY_ADDRESS names, else one of our own on loopback, as for `OnRay`.
    """
    if not items:
        return
    from affect.engine.on_ray import OnRay

    ray_of_ours = OnRay("cpu", slots=slots)
    with ray_of_ours.connected(), display(console) as shown:
        began = time.monotonic()
        done = 0
        for results, settled in _batches(work, items, ray_of_ours.slots):
            done += settled
            shown.show(Items(what, done, len(items), time.monotonic() - began))
            yield from results


def _batches(work: Callable[[A], B], items: Sequence[A], slots: int) -> Iterator[tuple[list[B], int]]:
    """Results of a batch of items, and how many items they settle: more than results where items are given up."""
    import ray

    size = max(1, min(BATCH, len(items) // (4 * slots)))
    waiting = [range(start, min(start + size, len(items))) for start in reversed(range(0, len(items), size))]
    tries: Counter[int] = Counter()
    hire = ray.remote(_Worker).options(num_cpus=1, max_restarts=0).remote
    running: dict[Any, tuple[Any, range]] = {}
    idle: list[Any] = []
    answered = lost = 0
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                batch = waiting.pop()
                worker = idle.pop() if idle else hire(work)
                running[worker.do.remote([items[i] for i in batch])] = (worker, batch)
            (ref,), _ = ray.wait(list(running), num_returns=1)
            worker, batch = running.pop(ref)
            try:
                answer = ray.get(ref)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                lost += 1
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                if not answered and lost >= STILLBORN:
                    raise UserError(f"Ray's workers end before they have done anything ({reason}).") from None
                # The one at fault is found by giving each of them to a worker alone.
                tries.update(batch)
                again = [i for i in batch if tries[i] < TRIES]
                waiting += [range(i, i + 1) for i in again]
                yield [], len(batch) - len(again)
                continue
            if isinstance(answer, UserError):
                raise answer
            answered += 1
            idle.append(worker)
            yield answer, len(batch)
    finally:
        for worker in [*idle, *(worker for worker, _ in running.values())]:
            ray.kill(worker)
