"""The loop of a run: plan, cut into packs, train, store, and plan again when choices can be made."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from affect.engine.executors import TRIES, Executor, Failure, Interrupted, Outcome
from affect.engine.packs import Group, Pack, partition
from affect.engine.plan import DEVELOPMENT, Key, Plan, plan
from affect.engine.progress import Display, State
from affect.engine.results import Workplace, failed_result
from affect.engine.schedule import forecast, next_pack, pace_of
from affect.engine.sizes import Sizes
from affect.engine.store import Store, open_packs
from affect.errors import UserError
from affect.resolved import Resolved
from affect.trial import Trial

PLANNED = ("trial", "partition", "target", "value", "status")
"""Columns of `trials` that a plan needs."""


@dataclass(frozen=True)
class Summary:
    """What a run did and left."""

    plan: Plan
    trained: int
    """Trials settled by this run."""
    failed: tuple[tuple[Trial, str], ...]
    stopped: bool
    """Ended by its time limit with work left."""
    seconds: float

    @property
    def left(self) -> int:
        return len(self.plan.pending) + self.plan.waiting - len(self.failed)

    @property
    def blocked(self) -> dict[Key, tuple[Trial, ...]]:
        """Key whose choice is open → the failed trials among those that it waits for."""
        failed = {trial.id for trial, _ in self.failed}
        found = {key: tuple(t for t in trials if t.id in failed) for key, trials in self.plan.awaited.items()}
        return {key: trials for key, trials in found.items() if trials}

    def followed_by(self, more: Summary) -> Summary:
        """Both runs as one."""
        return replace(
            more,
            trained=self.trained + more.trained,
            seconds=self.seconds + more.seconds,
            failed=(*(each for each in self.failed if each not in more.failed), *more.failed),
        )


def run(
    resolved: Resolved,
    store: Store,
    executor: Executor,
    place: Workplace,
    display: Display,
    max_minutes: float | None = None,
) -> Summary:
    """Train what `resolved` wants and `store` (locked) lacks. Whatever ends it, what is stored stays valid, and the
    same call goes on from there."""
    work = _Run(resolved, store, executor, place, display, max_minutes)
    try:
        work.loop()
    finally:
        executor.close()
    return work.summary()


@dataclass
class _Started:
    pack: Pack
    at: float
    share: float = 0.0

    @property
    def since(self) -> float:
        return time.monotonic() - self.at

    def added_to(self, times: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """System → (seconds that packs took, that they were expected to take), with this one."""
        took, expected = times.get(self.pack.system, (0.0, 0.0))
        return {**times, self.pack.system: (took + self.since, expected + self.pack.seconds)}


@dataclass
class _Run:
    resolved: Resolved
    store: Store
    executor: Executor
    place: Workplace
    display: Display
    max_minutes: float | None

    def __post_init__(self) -> None:
        self.begun = time.monotonic()
        self.deadline = math.inf if self.max_minutes is None else self.begun + 60 * self.max_minutes
        self.sizes = Sizes(self.resolved, lambda: self.executor.slots)
        self.rows: list[pd.DataFrame] = [self.store.rows()]
        self.plan = plan(self.resolved, self.rows[0])
        self.memberships = self.store.memberships()
        self.queue: list[Pack] = []
        self.running: dict[str, _Started] = {}
        self.tries: Counter[str] = Counter()
        self.trained = self.trained_before_plan = 0
        self.held: set[Group] = set()
        self.failed: dict[str, tuple[Trial, str]] = {}
        self.times: dict[str, tuple[float, float]] = {}
        self.best: dict[str, float] = {}
        self.stopped = False

    def loop(self) -> None:
        try:
            self._loop()
        except Interrupted:
            self.stopped = True

    def _loop(self) -> None:
        if not self.plan.pending:
            return
        self.executor.start(self.place, self._beat)
        self._queue_ready()
        while self.queue or self.running:
            self._submit()
            if self.stopped and not self.running:
                return
            outcomes = self.executor.wait(max(0.0, min(1.0, self.deadline - time.monotonic())))
            # Workers first, disks second: training goes on while results are written.
            for outcome in outcomes:
                self._clock(self.running.pop(outcome.pack.id), outcome)
            self._submit()
            for outcome in outcomes:
                self._settle(outcome)
            if time.monotonic() >= self.deadline:
                self.stopped = True
                return
            if outcomes and self._may_go_on():
                self._queue_ready()
            self._show()

    def summary(self) -> Summary:
        final = plan(self.resolved, self._all_rows())
        seconds = time.monotonic() - self.begun
        return Summary(final, self.trained, tuple(self.failed.values()), self.stopped, seconds)

    def _all_rows(self) -> pd.DataFrame:
        if len(self.rows) > 1:
            self.rows = [pd.concat(self.rows, ignore_index=True)]
        return self.rows[0]

    def _queue_ready(self) -> None:
        """Queue packs of all groups that are at rest. A group is cut only once nothing of it is in work, so the cut
        depends on the trials and not on which pack happened to end first."""
        self.plan = plan(self.resolved, self._all_rows())
        self.trained_before_plan = self.trained
        busy = self._busy()
        wanted = [t for t in self.plan.pending if t.id not in self.failed]
        ready = [trial for trial in wanted if self.sizes.group_of(trial) not in busy]
        inside = {trial.id for pack in self._unfinished() for trial in pack.trials}
        self.held = {group for t in wanted if (group := self.sizes.group_of(t)) in busy and t.id not in inside}
        if not ready:
            return
        self.sizes.learn(ready, self.plan.later, self.executor.measure)
        queued = [
            Pack(trials, self._seconds(trials), split_of) for trials, split_of in open_packs(self.memberships, ready)
        ]
        taken = {trial.id for pack in queued for trial in pack.trials}
        rest = [trial for trial in ready if trial.id not in taken]
        fresh = partition(rest, self.sizes.group_of, self.sizes, self.executor.slots)
        self.store.fix(fresh)
        self._enqueue(queued + fresh)

    def _may_go_on(self) -> bool:
        """Whether a group at rest has open choices or trials held back, so that another plan may bring packs."""
        waiting = self.held | {self.sizes.group_of(trial) for trial, _ in self.plan.later}
        return bool(waiting - self._busy())

    def _busy(self) -> set[Group]:
        return {self.sizes.group_of(pack.trials[0]) for pack in self._unfinished()}

    def _unfinished(self) -> list[Pack]:
        return [*self.queue, *(started.pack for started in self.running.values())]

    def _seconds(self, trials: Sequence[Trial]) -> float:
        return sum(self.sizes(self.sizes.group_of(trial)).seconds for trial in trials)

    def _enqueue(self, packs: Sequence[Pack]) -> None:
        """Longest first: what starts last is short, so that workers end together."""
        self.queue = sorted([*self.queue, *packs], key=lambda pack: -pack.seconds)

    def _submit(self) -> None:
        """Give packs to free workers, but none that is not expected to end in time."""
        self.stopped = False
        while self.queue and self.executor.free and not self.stopped:
            left = self.deadline - time.monotonic()
            pack = self.queue[0] if math.isinf(left) else self._next_within(left)
            if pack is None:
                self.stopped = True
            else:
                self.queue.remove(pack)
                self.tries[pack.id] += 1
                self.running[pack.id] = _Started(pack, time.monotonic())
                self.executor.submit(pack)

    def _next_within(self, left: float) -> Pack | None:
        paces, (_, needed) = self._paces(), self._forecast()
        return next_pack(
            self.queue, lambda pack: pack.seconds * paces.get(pack.system, 1.0), self.executor.slots, needed, left
        )

    def _clock(self, started: _Started, outcome: Outcome) -> None:
        """Keep what a pack took beside what it was expected to take."""
        if not isinstance(outcome.result, Failure):
            self.times = started.added_to(self.times)

    def _settle(self, outcome: Outcome) -> None:
        pack, result = outcome.pack, outcome.result
        if not isinstance(result, Failure):
            self.store.commit(pack, result)
            self.rows.append(result.trials.select(list(PLANNED)).to_pandas())
            self._note(self.rows[-1])
            self.trained += len(pack.trials)
        elif result.kind == "user":
            raise UserError(result.message)
        elif result.kind == "lost" and self.tries[pack.id] < TRIES:
            self._enqueue([pack])
        elif len(pack.trials) > 1:
            # Too large for memory: halves. Otherwise one of the trials is the culprit, found by running each alone.
            parts = pack.split(2 if result.kind == "memory" else len(pack.trials))
            self.store.fix(parts)
            self._enqueue(parts)
        else:
            tried = f" ({TRIES} tries)" if result.kind == "lost" else ""
            self.failed[pack.trials[0].id] = (pack.trials[0], result.message + tried)
            self.store.commit(pack, failed_result(pack, self.place, result.message + tried))

    def _note(self, rows: pd.DataFrame) -> None:
        """Keep the best development values for the display."""
        values = rows.loc[rows["partition"] == DEVELOPMENT].groupby("target", observed=True)["value"].max().dropna()
        targets = self.resolved.study.targets
        best = {t: max(self.best.get(t, -math.inf), values.get(t, -math.inf)) for t in targets}
        self.best = {target: value for target, value in best.items() if value > -math.inf}

    def _paces(self) -> dict[str, float]:
        """System → measured seconds per expected second, of packs that have ended and of those that are overdue."""
        times = self.times
        for started in self.running.values():
            if started.since > started.pack.seconds:
                times = started.added_to(times)
        return {system: pace_of(*took_expected) for system, took_expected in times.items()}

    def _beat(self, share: float) -> None:
        """One epoch of a pack in this process is over, or there is no worker yet."""
        for started in self.running.values():
            started.share = share
        if time.monotonic() >= self.deadline:
            raise Interrupted
        if share > 0:  # What packs take is not known yet where workers are waited for.
            self._show()

    def _forecast(self) -> tuple[float, float]:
        paces = self._paces()
        waiting = [(pack.system, pack.seconds) for pack in self.queue]
        waiting += [(trial.system, self._seconds([trial]) * count) for trial, count in self.plan.later]
        running = [
            (each.pack.seconds * paces.get(each.pack.system, 1.0), each.since, each.share)
            for each in self.running.values()
        ]
        return forecast(
            sum(took for took, _ in self.times.values()),
            running,
            sum(seconds * paces.get(system, 1.0) for system, seconds in waiting),
        )

    def _show(self) -> None:
        share, left = self._forecast()
        self.display.show(
            State(
                done=len(self.plan.trials) - len(self.plan.pending) + self.trained - self.trained_before_plan,
                total=len(self.plan.trials) + self.plan.waiting,
                failed=len(self.failed),
                share=share,
                seconds_left=left / self.executor.slots if share else None,
                exact=not self.plan.later,
                running=sum(len(started.pack.trials) for started in self.running.values()),
                best=self.best,
            )
        )
