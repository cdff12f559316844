"""Searches as a run carries them out and as the results folder keeps them: suggestions, control, refits, ablation path.

`searches/<name>.journal` is Optuna's, `searches/<name>.parquet` is what reports read; trials are in the store like all
others. The same call goes on wherever it was stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import optuna

from affect.engine import path, suggestions
from affect.engine.executors import Executor
from affect.engine.journal import open_journal
from affect.engine.progress import Display, SearchState
from affect.engine.run import Summary, run
from affect.engine.search import (
    ResolvedSearch,
    development_means,
    history_of,
    refits,
    stored_statuses,
    winner_of,
)
from affect.engine.store import Store
from affect.engine.work import Workplace
from affect.study import Resolved, SearchRecord


@dataclass
class Searcher:
    """Carries searches out, one after another, on a Ray that is up."""

    store: Store
    place: Workplace
    executor: Executor
    slots: int
    display: Display
    deadline: float

    def __call__(self, search: ResolvedSearch) -> Summary | None:
        """All phases of a search, as far as the deadline allows; the summary of what was trained last, None where
        suggestions are still lacking."""
        study = self._suggest(search)
        record = self._record(search, study)
        if search.lacking(study):
            return None
        if search.declared.control:
            control = replace(search, total=0, steps=search.spent(study))
            record = replace(record, control=control.name)
            other = self._suggest(control)
            self.store.save_search(self._record(control, other), history_of(control, other))
            if control.lacking(other):
                return None
        wanted = refits(search, suggestions.best(study, search.declared.refits))
        record = replace(record, refits=wanted)
        self.store.save_search(record, history_of(search, study))
        summary = self._run(wanted)
        if summary.plan.pending:
            return summary
        return self._path(search, study, record, summary)

    def _suggest(self, search: ResolvedSearch) -> optuna.Study:
        from affect.engine.tuning import carry_on

        storage = open_journal(self.store.searches_folder, search.name)
        return carry_on(
            search,
            storage,
            self.place,
            slots=self.slots,
            seconds=self._left(),
            status_of=stored_statuses(self.store.rows(), search.name),
            commit=lambda found: self.store.commit(found.pack, found.result),
            heard=_Watch(search, self.display),
        )

    def _record(self, search: ResolvedSearch, study: optuna.Study) -> SearchRecord:
        record = SearchRecord(
            search.name,
            search.declared.system,
            search.fraction,
            search.seeds,
            search.rungs,
            search.declared.reduction,
            importances=suggestions.importances(study),
        )
        self.store.save_search(record, history_of(search, study))
        return record

    def _path(self, search: ResolvedSearch, study: optuna.Study, record: SearchRecord, summary: Summary) -> Summary:
        """Walk from the hand-set configuration to the winner: each step is planned from the rows of those before."""
        assert record.refits is not None
        winner = winner_of(record.refits, summary.plan, self.store.rows())
        if winner is None:
            return summary
        record = replace(record, winner=winner.name)
        left = path.changes(search, winner.candidates[0])
        taken: list[path.Change] = []
        while left:
            summary = summary.followed_by(self._run(path.step(search, taken, left)))
            if summary.plan.pending:
                break
            best = path.best_of(left, development_means(summary.plan, self.store.rows()))
            taken.append(best)
            left = [change for change in left if change != best]
        self.store.save_search(replace(record, path=path.walked(search, taken)), history_of(search, study))
        return summary

    def _run(self, wanted: Resolved) -> Summary:
        left = self._left()
        return run(wanted, self.store, self.executor, self.place, self.display, None if left is None else left / 60)

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
        share = min(1.0, search.spent(study) / search.steps if search.control else done / search.total)
        if self.first:
            self.before, self.first = share, False
        gained, elapsed = share - self.before, time.monotonic() - self.begun
        best = suggestions.best(study, 1)
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
