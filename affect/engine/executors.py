"""Where packs are trained. An executor takes packs and hands back outcomes; `Inline` trains in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import torch

from affect.engine.packs import GUESS, Measure, Pack
from affect.engine.results import PackResult, Workplace
from affect.engine.work import Probe, measure, run_pack
from affect.errors import UserError
from affect.systems.base import Fitting, Watch
from affect.systems.shards import ALONE, Severed, Shard

TRIES = 3
"""How often work is given to a worker before the deaths of its workers are held against it."""


@dataclass(frozen=True)
class Failure:
    """Why a pack or a probe has no result: `user` (input to be mended), `memory`, `lost` (its worker died), or `error`."""

    kind: Literal["user", "memory", "lost", "error"]
    message: str


@dataclass(frozen=True)
class Outcome:
    pack: Pack
    result: PackResult | Failure


T = TypeVar("T")
Beat = Callable[[float], None]
"""Called with the share of a pack that is done."""


class Executor(Protocol):
    """One contract for all executors: same trials, same rows."""

    slots: int
    """Packs trained at once, as far as is known."""

    def start(self, place: Workplace, beat: Beat) -> None:
        """Make workers ready for the packs of one run. An executor that trains in this process calls `beat` after
        every epoch, one with workers while it has none; it may raise `Interrupted`."""

    def measure(self, probes: Sequence[Probe]) -> list[Measure]:
        """Run the probes where packs are trained. One that fails is guessed; mistakes of the user are raised."""

    @property
    def free(self) -> int:
        """How many packs would start at once if submitted now."""

    def submit(self, pack: Pack) -> None:
        """Start a pack on a free worker."""

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes that arrived, after at most about `seconds`; packs keep running."""

    def close(self) -> None:
        """Drop what still runs and let the workers go."""


class Interrupted(Exception):
    """Raised by a beat to drop the pack that is being trained in this process, or to wait for workers no longer."""


def attempt(pack: Pack, place: Workplace, watch: Watch, shard: Shard = ALONE) -> PackResult | Failure:
    """`run_pack` with its errors as values: what a worker sends back never raises on arrival. That another worker of
    its shard is gone is no error of the pack, and raised."""
    return _caught(lambda: run_pack(pack, place, watch, shard))


def attempt_measure(probe: Probe) -> Measure | Failure:
    """`measure` with its errors as values."""
    return _caught(lambda: measure(probe))


def settled_measure(answer: Measure | Failure) -> Measure:
    """What to plan with when a probe has failed: the trials themselves will tell, one by one, what is wrong."""
    if not isinstance(answer, Failure):
        return answer
    if answer.kind == "user":
        raise UserError(answer.message)
    return GUESS


def _caught(work: Callable[[], T]) -> T | Failure:
    try:
        return work()
    except (Interrupted, Severed):
        raise
    except UserError as error:
        return Failure("user", str(error))
    except Exception as error:
        if out_of_memory(error):
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return Failure("memory", f"out of memory: {error}")
        return Failure("error", f"{type(error).__name__}: {error}")


def out_of_memory(error: BaseException) -> bool:
    """torch reports a full device by type and a full host by text alone."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def local_slots(device: str) -> int:
    """Workers that this machine has room for: one per core, or one per GPU."""
    if device == "cuda":
        return torch.cuda.device_count()
    if hasattr(os, "sched_getaffinity"):  # Linux alone tells which cores are ours.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Inline:
    """Trains packs one after another in this process."""

    def __init__(self) -> None:
        self.slots = 1
        self._beat: Beat = lambda share: None
        self._place: Workplace | None = None
        self._pack: Pack | None = None

    def start(self, place: Workplace, beat: Beat) -> None:
        self._place, self._beat = place, beat

    def measure(self, probes: Sequence[Probe]) -> list[Measure]:
        return [settled_measure(attempt_measure(probe)) for probe in probes]

    @property
    def free(self) -> int:
        return int(self._pack is None)

    def submit(self, pack: Pack) -> None:
        self._pack = pack

    def wait(self, seconds: float) -> list[Outcome]:
        if self._pack is None:
            return []
        assert self._place is not None
        pack, self._pack = self._pack, None
        try:
            return [Outcome(pack, attempt(pack, self._place, self._watch))]
        except Interrupted:
            return []

    def _watch(self, fitting: Fitting) -> None:
        self._beat(fitting.epoch / fitting.epochs)

    def close(self) -> None:
        self._pack = None
