"""From a resolved study and the rows that exist to the trials that are wanted. Pure: no files, no clock, no Ray."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import pandas as pd

from affect.data.task import complete_count, complete_labels, labelled_count
from affect.errors import UserError
from affect.resolved import Resolved
from affect.schema import SETTLED
from affect.study import CorpusFacts, Row
from affect.systems import get_system
from affect.systems.base import Facts, System, resolve_settings
from affect.trial import Settings, TaskSpec, Trial

Key = tuple[str, float, str]
"""Name of a row, label fraction, target: one number of a table per seed and partition."""

DEVELOPMENT = "development"


@dataclass(frozen=True)
class Plan:
    """What is to be run, what is there, and which trials stand behind each number."""

    trials: tuple[Trial, ...]
    """Distinct trials wanted as far as they are known now."""
    pending: tuple[Trial, ...]
    """Those of them without a settled row."""
    finals: Mapping[Key, tuple[Trial, ...]]
    """Key → its trials, one per seed, once it is known which candidate they refit."""
    expected: Mapping[Key, tuple[int, ...]]
    """Key → the seeds that the finished study has."""
    awaited: Mapping[Key, tuple[Trial, ...]]
    """Key whose choice is open → the trials that it waits for."""
    later: tuple[tuple[Trial, int], ...]
    """(A candidate of an undecided choice, how many more trials follow from that choice at most)."""
    notes: tuple[str, ...]

    @property
    def waiting(self) -> int:
        """How many trials may follow once choices are made: an upper bound."""
        return sum(count for _, count in self.later)


@dataclass(frozen=True)
class Candidate:
    """Distinct settings of a row with the targets that they give a meaning to."""

    settings: Settings
    targets: tuple[str, ...]


def plan(resolved: Resolved, rows: pd.DataFrame) -> Plan:
    """The plan of `resolved` given `rows` of the `trials` table (columns trial, partition, target, value, status).

    A target that one candidate alone scores is refitted at once. Where several do, they are run on the first
    `selection_seeds` seeds; when all of these are settled, the best mean development value picks one.
    """
    with _without_collection():
        return _plan(resolved, rows)


def _plan(resolved: Resolved, rows: pd.DataFrame) -> Plan:
    known = _Known(rows)
    trials: dict[str, Trial] = {}
    finals: dict[Key, tuple[Trial, ...]] = {}
    expected: dict[Key, tuple[int, ...]] = {}
    awaited: dict[Key, tuple[Trial, ...]] = {}
    later: list[tuple[Trial, int]] = []
    notes: list[str] = []
    for row in resolved.rows:
        system = get_system(row.system)
        candidates = candidates_of(system, row, resolved)
        for fraction in resolved.label_fractions:
            if impossible := discards_too_much(resolved, fraction, row):
                notes.append(f"{row.name} is left out at {100 * fraction:g} % of the labels. {impossible}")
                continue
            seeds = tuple(resolved.seed_range if system.seeded or fraction < 1 else resolved.seed_range[:1])
            cells = _Cells(system, resolved, task_spec(resolved, fraction, row))
            for target in resolved.study.targets:
                options = [c for c in candidates if target in c.targets]
                if not options:
                    if not row.factors:  # the corners of a grid may leave a target out
                        notes.append(f"{row.name} has no candidate that scores {target}.")
                    continue
                key = (row.name, fraction, target)
                expected[key] = seeds
                chosen: Candidate | None = options[0]
                if len(options) > 1:
                    first = seeds[: resolved.selection_seeds]
                    compared = [cells.trials(option, first) for option in options]
                    for group in compared:
                        trials.update((trial.id, trial) for trial in group)
                    chosen = known.best(options, compared, target)
                    if chosen is None:
                        awaited[key] = tuple(t for group in compared for t in group if t.id not in known.settled)
                        if len(seeds) > len(first):
                            later.append((compared[0][0], len(seeds) - len(first)))
                        continue
                assert chosen is not None
                finals[key] = cells.trials(chosen, seeds)
                trials.update((trial.id, trial) for trial in finals[key])
    pending = tuple(trial for trial in trials.values() if trial.id not in known.settled)
    return Plan(
        tuple(trials.values()),
        pending,
        MappingProxyType(finals),
        MappingProxyType(expected),
        MappingProxyType(awaited),
        tuple(later),
        tuple(notes),
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """A plan makes objects by the 100,000 and no cycles; looking for some costs more than the plan itself."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def preset_of(system: System, resolved: Resolved) -> str:
    """The preset of a run or, of a system that has no such variant, the study's first."""
    return resolved.preset if resolved.preset in system.presets else resolved.study.presets[0]


def settings_of(system: System, resolved: Resolved, option: Settings) -> dict[str, float | int | str]:
    """Every hyperparameter: `--set` wins over `option`, that over what the study sets for the corpus, which was chosen for
    its first preset and holds for that alone."""
    preset = preset_of(system, resolved)
    own = resolved.corpus_settings if preset == resolved.study.presets[0] else {}
    return resolve_settings(system, preset, own, option, resolved.overrides)


def candidates_of(system: System, row: Row, resolved: Resolved) -> list[Candidate]:
    """Distinct settings of a row. `--set` wins over a candidate, so candidates may coincide or contradict it.

    A candidate that contradicts an override (alpha=.5 was set, the candidate has beta=.6) is left out; when none
    remains the contradiction is the user's, and raised. Where there is a choice, nothing is chosen that a preset other
    than the study's first fixes: it stands for somebody's own settings.
    """
    preset = preset_of(system, resolved)
    has_choice = len(row.candidates) > 1 and preset != resolved.study.presets[0]
    fixed = system.presets[preset] if has_choice else {}
    found: dict[tuple[float | int | str, ...], Candidate] = {}
    refused: UserError | None = None
    for option in row.candidates:
        try:
            settings = settings_of(system, resolved, {n: value for n, value in option.items() if n not in fixed})
        except UserError as error:
            refused = refused or error
            if not set(option) & set(resolved.overrides):
                raise
            continue
        values = tuple(settings.values())
        if values not in found:
            targets = tuple(system.scored_targets(settings, resolved.study.targets))
            found[values] = Candidate(settings, targets)
    if not found and refused is not None:
        raise refused
    return list(found.values())


def task_spec(resolved: Resolved, label_fraction: float, row: Row) -> TaskSpec:
    """The task that a row of a study is fitted on at one label fraction."""
    views = resolved.corpus.view.split("+")
    if row.only is not None and row.only >= len(views):
        raise UserError(
            f"{row.name} sees view {row.only + 1} of a task that has {resolved.corpus.view} alone; see --view."
        )
    return TaskSpec(
        corpus=resolved.corpus.fingerprint,
        view=resolved.corpus.view if row.only is None else views[row.only],
        targets=resolved.study.targets,
        metric=resolved.study.metric,
        protocol=resolved.protocol,
        label_fraction=label_fraction,
        transductive=row.transductive,
        missing=row.missing,
        discard=row.discard,
    )


def unsuited(resolved: Resolved, row: Row) -> str:
    """What a row does that rules out rows which lack views, where the corpus or the row itself has such; empty where it can
    be fitted."""
    corpus, system = resolved.corpus, get_system(row.system)
    views = corpus.view.split("+")
    seen = range(len(views)) if row.only is None else (row.only,)
    lacking = {view: count for view, count in enumerate(corpus.lacking) if count and view in seen}
    if row.discard and lacking:
        return f"discards rows that lack a view; {corpus.name} has such of its own, and how many depends on the seed."
    hidden = row.missing > 0 and not row.discard
    if not lacking and not hidden:
        return ""
    known = system.may_lack(candidates_of(system, row, resolved)[0].settings, len(views))
    for view, count in lacking.items():
        if view not in known:
            rows = f"{count:,} of the rows to fit on in {corpus.name}"
            if row.only is not None:
                return f"takes {views[view]} alone, which {rows} lack."
            does = (
                f"does without {' and '.join(views[v] for v in known)} alone" if known else "takes every view of a row"
            )
            return f"{does}, and {rows} lack {views[view]}."
    if hidden and len(views) - 1 not in known:
        return f"takes every view of a row, and a share of {row.missing:g} lacks {views[-1]}."
    return ""


def discards_too_much(resolved: Resolved, label_fraction: float, row: Row) -> str:
    """Why a row that discards incomplete rows has too few labels left to be fitted; empty where it has enough. One corner
    of a grid must not stop a study."""
    if not row.discard:
        return ""
    corpus = resolved.corpus
    labelled = labelled_count(corpus.rows["train"], label_fraction, corpus.classes)
    try:
        complete_labels(labelled, row.missing, corpus.classes)
    except UserError as error:
        return str(error)
    return ""


def task_facts(corpus: CorpusFacts, task: TaskSpec) -> Facts:
    """Sizes of a task as far as planning needs them."""
    known = dict(zip(corpus.view.split("+"), corpus.widths or (corpus.width,), strict=True))
    widths = tuple(known[view] for view in task.views)
    labelled = labelled_count(corpus.rows["train"], task.label_fraction, corpus.classes)
    rest = corpus.rows["test"] if task.transductive else corpus.pool - labelled
    whole = rest if task.transductive else complete_count(rest, task.missing)
    complete = complete_count(labelled, task.missing) + whole
    if not task.transductive:  # Views are hidden from rows that have them all.
        complete = max(1, complete - complete_count(max(corpus.lacking, default=0), task.missing))
    if task.discard:
        labelled, rest = complete_labels(labelled, task.missing, corpus.classes), whole
    return Facts(
        width=sum(widths),
        targets=task.targets,
        n_labelled=labelled,
        n_pool=labelled + rest,
        n_development=corpus.rows[DEVELOPMENT],
        widths=widths,
        classes=corpus.classes,
        epoch_rows=corpus.pool,
        n_complete=complete,
    )


class _Cells:
    """Trials of one row at one label fraction; each cell is hashed once."""

    def __init__(self, system: System, resolved: Resolved, task: TaskSpec) -> None:
        self._system = system
        self._resolved = resolved
        self._task = task
        self._by_cell: dict[tuple[int, tuple[int, ...]], tuple[Trial, ...]] = {}
        self._first: dict[int, Trial] = {}

    def trials(self, candidate: Candidate, seeds: tuple[int, ...]) -> tuple[Trial, ...]:
        key = (id(candidate), seeds)
        if key not in self._by_cell:
            if id(candidate) not in self._first:
                self._first[id(candidate)] = Trial(
                    system=self._system.name,
                    version=self._system.version,
                    preset=preset_of(self._system, self._resolved),
                    settings=candidate.settings,
                    task=self._task,
                    seed=0,
                    device=self._resolved.device,
                )
            self._by_cell[key] = tuple(self._first[id(candidate)].with_seeds(seeds))
        return self._by_cell[key]


class _Known:
    """What the rows say: which trials are settled, and their development values."""

    def __init__(self, rows: pd.DataFrame) -> None:
        settled = rows[rows["status"].isin(SETTLED)] if len(rows) else rows
        self.settled = frozenset(settled["trial"].unique().tolist()) if len(rows) else frozenset()
        self._rows = settled

    def best(self, options: Sequence[Candidate], compared: Sequence[Sequence[Trial]], target: str) -> Candidate | None:
        """The option with the best mean development value, the first of equals; None while rows are missing."""
        if any(trial.id not in self.settled for group in compared for trial in group):
            return None
        values = self._values
        means = [sum(values.get((trial.id, target), -np.inf) for trial in group) / len(group) for group in compared]
        return options[int(np.argmax(means))]

    @cached_property
    def _values(self) -> dict[tuple[str, str], float]:
        """(Trial, target) → development value."""
        rows = self._rows[self._rows["partition"] == DEVELOPMENT]
        numbers = rows["value"].to_numpy(np.float64, na_value=np.nan)
        # A diverged fit has no value; it loses against every other.
        numbers = np.where((rows["status"] == "diverged").to_numpy() | np.isnan(numbers), -np.inf, numbers)
        keys = zip(rows["trial"].tolist(), rows["target"].tolist(), strict=True)
        return dict(zip(keys, numbers.tolist(), strict=True))
