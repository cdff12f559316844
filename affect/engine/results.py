"""What a pack leaves: every fit evaluated once, laid out as the three tables of a results folder. Knows nothing of Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from affect import schema
from affect.data.task import Inputs, Part, Task
from affect.engine.packs import Pack
from affect.engine.provenance import Provenance
from affect.resolved import Resolved
from affect.stats.metrics import frobenius_ratio, score_columns
from affect.systems import get_system
from affect.systems.base import Fit
from affect.trial import Trial

PREDICTED = ("development", "test")
"""Partitions whose predictions are kept, per sample."""

NMSE = "nmse"

MISSING_ROWS, ALL_ROWS = "missing rows", "all rows"
"""Over which rows an imputation error is taken: trial rows of the metric `nmse` name them where others name a target."""

SHOWN_SEED, SHOWN_ROWS = 0, 50
"""The seed of whose trials so many imputed rows are kept as predictions of partition `train`, a target per feature."""


@dataclass(frozen=True)
class Workplace:
    """What all packs of a run have in common."""

    study: str
    corpus: str
    """The corpus' name."""
    corpus_folder: str
    provenance: Provenance
    findings: str = ""
    """Kinds of what was found in the corpus, separated by commas; ` (allowed)` behind those that `--allow` named."""


def workplace(resolved: Resolved, folder: Path, provenance: Provenance) -> Workplace:
    """Where `resolved` is run, on the corpus in `folder`."""
    findings = ",".join(dict.fromkeys(resolved.corpus.kinds))
    return Workplace(resolved.study.name, resolved.corpus.name, str(folder.resolve()), provenance, findings)


@dataclass(frozen=True)
class PackResult:
    """The three tables that a pack leaves."""

    trials: pa.Table
    curves: pa.Table
    predictions: pa.Table


def result_of(
    pack: Pack,
    place: Workplace,
    task: Task,
    fits: Sequence[Fit],
    started: float,
    search: str | None = None,
    suggestions: Sequence[int] | None = None,
) -> PackResult:
    """Evaluate the fits of `pack` (one per trial, begun at `started` on the performance counter) and lay them out.

    `search` and `suggestions` (one number per trial) say where trials of a search come from.
    """
    seeds = {trial.seed for trial in pack.trials}
    parts = {seed: task.parts(seed) for seed in seeds}
    incomplete = {seed: task.incomplete(seed) for seed in seeds}
    scores = [_Score(trial, fit, parts[trial.seed]) for trial, fit in zip(pack.trials, fits, strict=True)]
    for trial, fit, score in zip(pack.trials, fits, scores, strict=True):
        score.add_imputation(fit, incomplete[trial.seed], task)
    seconds = time.perf_counter() - started
    return PackResult(
        trials=_trials_table(pack, place, [score.rows for score in scores], seconds, search, suggestions),
        curves=_curves_table(task.spec.metric, pack.trials, fits),
        predictions=pa.concat_tables([score.predictions() for score in scores]).unify_dictionaries(),
    )


def failed_result(pack: Pack, place: Workplace, message: str) -> PackResult:
    """Rows of trials that could not be fitted: no values, and the reason."""
    line = " ".join(message.split())
    rows = [
        [
            (name, target, trial.task.metric, None, None, None, "failed", line)
            for name in ("train", *PREDICTED)
            for target in _scored(trial)
        ]
        for trial in pack.trials
    ]
    return PackResult(
        trials=_trials_table(pack, place, rows, 0.0),
        curves=schema.CURVES.empty_table(),
        predictions=schema.PREDICTIONS.empty_table(),
    )


_Kept = tuple[str, str, np.ndarray, np.ndarray, np.ndarray]
"""Partition, target, ids of samples, truth, prediction."""

_ScoreRow = tuple[str, str, str, float | None, int | None, int | None, str, str | None]
"""Partition, target, metric, value, n, epoch, status, message."""


def _scored(trial: Trial) -> tuple[str, ...]:
    return tuple(get_system(trial.system).scored_targets(trial.settings, trial.task.targets))


def _best_of(fit: Fit) -> dict[str, float]:
    """Target → the highest development value of a fit's curves."""
    best: dict[str, float] = {}
    for _, partition, target, value in fit.curves:
        if partition == "development":
            best[target] = max(value, best.get(target, -math.inf))
    return best


class _Score:
    """One fit evaluated on every partition, for the targets that it was fitted for."""

    def __init__(self, trial: Trial, fit: Fit, parts: Sequence[Part]) -> None:
        self.trial = trial
        self.rows: list[_ScoreRow] = []
        if fit.status == "stopped":
            # Nothing of it was kept but its curves: the best development value is all there is to say, test is not opened.
            best = _best_of(fit)
            n = next(len(part.ids) for part in parts if part.name == "development")
            self.rows = [
                ("development", target, trial.task.metric, best[target], n, fit.epochs.get(target), fit.status, None)
                for target in _scored(trial)
                if target in best
            ]
            parts = ()
        self._kept: list[_Kept] = []
        for part in parts:
            diverged = fit.status == "diverged"
            predicted = None if diverged else np.asarray(fit.predict(part.inputs))
            for target in _scored(trial):
                column = trial.task.targets.index(target)
                truth = part.targets[:, column]
                value = None
                if predicted is not None:
                    (value,) = score_columns(trial.task.metric, truth[:, None], predicted[:, [column]]).tolist()
                    if part.name in PREDICTED:
                        self._kept.append((part.name, target, part.ids, truth, predicted[:, column]))
                epoch = fit.epochs.get(target)
                self.rows.append((part.name, target, trial.task.metric, value, len(truth), epoch, fit.status, None))

    def predictions(self) -> pa.Table:
        return _predictions_table(self.trial.id, self._kept)

    def add_imputation(self, fit: Fit, incomplete: Inputs | None, task: Task) -> None:
        """How far what a fit put in the place of missing views lies from the truth: relative to the missing rows of the view
        that may be missing and, since rows that have it are exact, to all rows. Both in normalised units, in which the
        training mean has an error of about 1 over missing rows. Of one seed some rows themselves, to be looked at."""
        if fit.impute is None or incomplete is None or fit.status != "complete":
            return
        seed, width = self.trial.seed, incomplete.widths[-1]
        truth = replace(incomplete, present=None).numpy()[:, -width:]
        found = fit.impute(incomplete)[:, -width:]
        epoch = max(fit.epochs.values(), default=0)
        wholes = {MISSING_ROWS: float(np.linalg.norm(truth)), ALL_ROWS: task.norm_of_last_view(seed)}
        self.rows += [
            ("train", rows, NMSE, frobenius_ratio(found - truth, whole), len(truth), epoch, fit.status, None)
            for rows, whole in wholes.items()
        ]
        if seed == SHOWN_SEED:
            ids = task.corpus.samples["id"].to_numpy()[incomplete.rows[:SHOWN_ROWS]]
            self._kept += [
                ("train", f"{task.spec.views[-1]} {d}", ids, truth[:SHOWN_ROWS, d], found[:SHOWN_ROWS, d])
                for d in range(width)
            ]


def _trials_table(
    pack: Pack,
    place: Workplace,
    scores: Sequence[Sequence[_ScoreRow]],
    seconds: float,
    search: str | None = None,
    suggestions: Sequence[int] | None = None,
) -> pa.Table:
    hyperparameters = {
        name: hp.default
        for system in sorted({trial.system for trial in pack.trials})
        for name, hp in get_system(system).hyperparameters.items()
    }
    columns = schema.trials_schema(sorted(hyperparameters.items()))
    rows = []
    numbers: Sequence[int | None] = suggestions or [None] * len(pack.trials)
    for trial, score, number in zip(pack.trials, scores, numbers, strict=True):
        fixed = {
            "trial": trial.id,
            "study": place.study,
            "system": trial.system,
            "system_version": trial.version,
            "preset": trial.preset,
            "protocol": trial.task.protocol,
            "corpus": place.corpus,
            "corpus_fingerprint": trial.task.corpus,
            "label_fraction": trial.task.label_fraction,
            "fold": trial.task.fold,
            "seed": trial.seed,
            "pack": pack.id,
            "pack_size": len(pack.trials),
            "wall_seconds": seconds,
            "device": trial.device,
            "packages": place.provenance.packages,
            "git_commit": place.provenance.git_commit,
            "git_dirty": place.provenance.git_dirty,
            "search": search,
            "suggestion": number,
            "source_hash": place.provenance.source_hash,
            "findings": place.findings,
            **{name: getattr(trial.task, name) for name in ("view", "transductive", "missing", "discard")},
            **{f"hp_{name}": value for name, value in trial.settings.items()},
        }
        names = ("partition", "target", "metric", "value", "n", "epoch", "status", "message")
        rows += [fixed | dict(zip(names, row, strict=True)) for row in score]
    return pa.Table.from_pylist(rows, schema=columns)


def _curves_table(metric: str, trials: Sequence[Trial], fits: Sequence[Fit]) -> pa.Table:
    points = [
        (trial.id, epoch, partition, target, metric, value)
        for trial, fit in zip(trials, fits, strict=True)
        for scored in [set(_scored(trial))]
        for epoch, partition, target, value in fit.curves
        if target in scored
    ]
    points += [
        (trial.id, epoch, "train", name, "learned", value)
        for trial, fit in zip(trials, fits, strict=True)
        for epoch, name, value in fit.learned
    ]
    columns = zip(*points, strict=True) if points else ([] for _ in schema.CURVES)
    return pa.Table.from_arrays(
        [pa.array(list(column), field.type) for column, field in zip(columns, schema.CURVES, strict=True)],
        schema=schema.CURVES,
    )


def _predictions_table(trial: str, kept: Sequence[_Kept]) -> pa.Table:
    counts = [len(ids) for _, _, ids, _, _ in kept]

    def repeated(values: Sequence[str]) -> pa.DictionaryArray:
        distinct = list(dict.fromkeys(values))
        index = np.repeat([distinct.index(value) for value in values], counts).astype(np.int32)
        return pa.DictionaryArray.from_arrays(index, pa.array(distinct, pa.string()))

    def joined(column: int) -> np.ndarray:
        return np.concatenate([entry[column] for entry in kept] or [np.empty(0)]).astype(np.float32)

    return pa.Table.from_arrays(
        [
            repeated([trial] * len(kept)),
            repeated([entry[0] for entry in kept]),
            repeated([entry[1] for entry in kept]),
            pa.array(list(chain.from_iterable(entry[2] for entry in kept)), pa.string()),
            pa.array(joined(3)),
            pa.array(joined(4)),
        ],
        schema=schema.PREDICTIONS,
    )
