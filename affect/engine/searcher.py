"""Searches as a run carries them out and as the results folder keeps them: suggestions, control, refits, ablation path.

`searches/<name>.journal` is Optuna's, `searches/<name>.parquet` is what reports read; trials are in the store like all
others. The same call goes on wherever it was stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import optuna

from affect.engine import path, suggestions
from affect.engine.journal import open_journal
from affect.engine.on_ray import OnRay
from affect.engine.progress import Display, SearchState, Titled
from affect.engine.refits import development_means, refits, winner_of
from affect.engine.results import Workplace
from affect.engine.run import Summary, run
from affect.engine.search import ResolvedSearch, history_of, stored_statuses
from affect.engine.store import Store
from affect.engine.waves import WaveResult
from affect.resolved import Resolved, SearchRecord
from affect.study import Row


@dataclass(frozen=True)
class Outcome:
    """How far a search has come."""

    record: SearchRecord
    finished: bool
    failed: tuple[str, ...]
    """What failed in this run, in words."""


def _record(search: ResolvedSearch) -> SearchRecord:
    return SearchRecord(
        search.name,
        search.resolved.corpus.name,
        search.declared.system,
        search.fraction,
        search.seeds,
        search.rungs,
        search.declared.reduction,
    )


def _measured(record: SearchRecord, search: ResolvedSearch, study: optuna.Study) -> SearchRecord:
    """With what the suggestions so far say."""
    hand_set = (each.value for each in suggestions.best(study) if not search.changed(each.settings))
    return replace(record, importances=suggestions.importances(study), hand_set=next(hand_set, None))


@dataclass
class Searcher:
    """Carries searches out, one after another, on a Ray that is up."""

    store: Store
    place: Workplace
    executor: OnRay
    display: Display
    deadline: float

    def __call__(self, search: ResolvedSearch) -> Outcome:
        """All phases of a search, as far as the deadline allows."""
        earlier = self.store.searches().get(search.name)
        over = set(earlier[1]["number"]) if earlier else set()
        study = self.suggest(search)
        failed = tuple(
            f"suggestion {number}: {why}" for number, why in suggestions.messages(study).items() if number not in over
        )
        # What an earlier run came to stays until this one has come as far.
        record = _measured(earlier[0] if earlier else _record(search), search, study)
        self.store.save_search(record, history_of(search, study))
        unfinished = Outcome(record, False, failed)
        if search.lacking(study):
            return unfinished
        if search.declared.control and search.spent(study):
            control = replace(search, steps=search.spent(study))
            other = self.suggest(control)
            self.store.save_search(_record(control), history_of(control, other))
            if control.lacking(other):
                return unfinished
            record = replace(record, control=control.name)
        wanted = refits(search, suggestions.best(study))
        with self.executor.standing():
            summary = self._run(wanted, f"refits of {search.declared.system}")
            if summary is not None and not summary.plan.pending:
                winner = winner_of(wanted, summary.plan, self.store.rows())
                walked = record.path if winner is not None and record.winner == winner.name else None
                record = replace(record, refits=wanted, winner=winner.name if winner else None, path=walked)
                if winner is not None:
                    record, summary = self._path(search, record, winner, summary)
            elif record.winner is None:
                record = replace(record, refits=wanted)
        self.store.save_search(record, history_of(search, study))
        if summary is None:
            return Outcome(record, False, failed)
        failed += tuple(f"{t.system}, seed {t.seed} (trial {t.id[:12]}): {why}" for t, why in summary.failed)
        return Outcome(record, not summary.left, failed)

    def suggest(self, search: ResolvedSearch) -> optuna.Study:
        """The suggestions of a search or of a control, as far as the deadline allows; rows and history are stored."""
        from affect.engine.tuning import carry_on

        watch, known = _Watch(search, self.display), self.store.searches().get(search.name)
        kept = -1

        def commit(found: WaveResult) -> None:
            if found.result is not None:
                self.store.commit(found.pack, found.result)

        def heard(study: optuna.Study) -> None:
            """For people who watch: in this terminal, and in others by `affect status`."""
            nonlocal kept
            watch(study)
            if (now := suggestions.finished(study)) != kept:
                kept = now
                self.store.save_search(known[0] if known else _record(search), history_of(search, study))

        return carry_on(
            search,
            open_journal(self.store.searches_folder, search.name),
            self.place,
            slots=self.executor.slots,
            seconds=self._left(),
            stored=stored_statuses(search, self.store.rows()),
            commit=commit,
            heard=heard,
        )

    def _path(
        self, search: ResolvedSearch, record: SearchRecord, winner: Row, summary: Summary
    ) -> tuple[SearchRecord, Summary | None]:
        """Walk from the hand-set configuration to the winner, in an order planned from the rows of each change alone. Only
        a path that came to its end is kept."""
        made = path.changes(search, winner.candidates[0])
        if not made:
            return record, summary
        alone = self._run(path.alone(search, made), f"single changes of {search.declared.system}")
        if alone is None:
            return record, None
        summary = summary.followed_by(alone)
        if alone.plan.pending:
            return record, summary
        means = development_means(alone.plan, self.store.rows(), len(search.resolved.study.targets))
        wanted = path.walked(search, path.ordered(made, means))
        walk = self._run(wanted, f"path of {search.declared.system}")
        if walk is None:
            return record, None
        summary = summary.followed_by(walk)
        return (record if walk.plan.pending else replace(record, path=wanted)), summary

    def _run(self, wanted: Resolved, title: str) -> Summary | None:
        """None where no time is left."""
        left = self._left()
        if left == 0:
            return None
        display = Titled(self.display, title)
        return run(wanted, self.store, self.executor, self.place, display, None if left is None else left / 60)

    def _left(self) -> float | None:
        return None if self.deadline == float("inf") else max(0.0, self.deadline - time.monotonic())


class _Watch:
    """Shows how far a search is whenever it hears of it."""

    def __init__(self, search: ResolvedSearch, display: Display) -> None:
        self.search, self.display = search, display
        self.begun, self.before = time.monotonic(), 0.0
        self.first = True

    def __call__(self, study: optuna.Study) -> None:
        search, done = self.search, suggestions.finished(study)
        share = min(1.0, done / search.total if search.steps is None else search.spent(study) / search.steps)
        if self.first:
            self.before, self.first = share, False
        gained, elapsed = share - self.before, time.monotonic() - self.begun
        best = suggestions.best(study)
        self.display.show(
            SearchState(
                name=search.declared.system + (", nothing stopped" if search.control else ""),
                counts=suggestions.counts(study),
                total=None if search.control else search.total,
                running=len(suggestions.running(study)),
                best=best[0].value if best else None,
                share=share,
                seconds_left=elapsed * (1 - share) / gained if gained > 0 else None,
            )
        )
