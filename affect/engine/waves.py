"""Waves: suggestions × seeds trained together, in which the weaker ones are stopped early. Knows neither Ray nor Optuna.

ASHA acts on each suggestion by itself: at a rung it goes on if it is among the best 1/η of all suggestions that have
come to this rung, those of its own wave and those of waves before. The hand-set configuration always goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from affect.engine.packs import Pack, cut
from affect.engine.results import PackResult, Workplace, result_of
from affect.engine.work import Probe, fastest, open_task
from affect.errors import UserError
from affect.systems import get_system
from affect.systems.base import Fitting, Replicate
from affect.systems.process import settle
from affect.systems.training import facts_of
from affect.trial import Trial

Tried = Callable[[int, Mapping[int, float]], None]
"""Called at a rung with its epoch and the value of every suggestion that came to it."""


COMPLETE, STOPPED, DIVERGED, FAILED = "complete", "stopped", "diverged", "failed"


@dataclass(frozen=True)
class Verdict:
    """What came of a suggestion. `values`: epoch → mean development value up to there, for every rung it reached."""

    number: int
    status: str
    """`complete` at the full budget, `stopped` before, `diverged`, or `failed`."""
    values: Mapping[int, float] = field(default_factory=dict)
    epochs: int = 0
    """Epochs that it was trained."""
    message: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Wave:
    """What one worker tries at once."""

    search: str
    """Name of the search, noted in every row."""
    members: Mapping[int, tuple[Trial, ...]]
    """Number of a suggestion → its trials, one per search seed; all of one task."""
    rungs: tuple[int, ...]
    reduction: int
    records: Mapping[int, Sequence[float]] = field(default_factory=dict)
    """Rung → values of suggestions in other waves."""
    spared: frozenset[int] = frozenset()
    """Suggestions that are compared but never stopped: the hand-set configuration, the yardstick of all others, which may
    learn too slowly for the first rung."""

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(trial for trials in self.members.values() for trial in trials)

    def halves(self) -> tuple[Wave, Wave]:
        """Its suggestions in two parts."""
        members = list(self.members.items())
        middle = len(members) // 2
        return replace(self, members=dict(members[:middle])), replace(self, members=dict(members[middle:]))


@dataclass(frozen=True)
class WaveResult:
    """The rows of a wave (none where everything failed), and what became of each suggestion."""

    pack: Pack
    result: PackResult | None
    verdicts: tuple[Verdict, ...]


def promoted(values: Mapping[int, float], records: Sequence[float], reduction: int) -> set[int]:
    """The suggestions that go on from a rung: those among the best 1/`reduction` of `values` and `records`, at least
    one of them all. A value of equal rank goes on."""
    everyone = sorted([*values.values(), *records], reverse=True)
    if not everyone:
        return set()
    threshold = everyone[max(1, len(everyone) // reduction) - 1]
    return {number for number, value in values.items() if value >= threshold}


def run_wave(wave: Wave, place: Workplace, tried: Tried) -> list[WaveResult]:
    """Train a wave. If it fails as a whole, its halves are tried, and suggestions that fail alone are `failed`. UserError
    for a mistake that no suggestion can be blamed for."""
    try:
        return [_run(wave, place, tried)]
    except UserError:
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    # Not in the handler: there, what failed is still held, and it may be memory that was lacking.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(wave.members) == 1:
        (number,) = wave.members
        return [WaveResult(Pack(wave.trials, search=wave.search), None, (Verdict(number, FAILED, message=message),))]
    return [result for half in wave.halves() for result in run_wave(half, place, tried)]


def _run(wave: Wave, place: Workplace, tried: Tried) -> WaveResult:
    first = wave.trials[0]
    settle(first.device)
    started = time.perf_counter()
    task = open_task(place.corpus_folder, first.task)
    data = {seed: task.fit_data(seed) for seed in {trial.seed for trial in wave.trials}}
    system = get_system(first.system)
    replicates = {t.id: Replicate(data[t.seed], t.settings, t.seed) for t in wave.trials}
    fittings = []
    for trials in _stacks(wave.trials, replicates[first.id]):
        members = [replicates[trial.id] for trial in trials]
        fittings.append((tuple(trial.id for trial in trials), system.begin(members, device=first.device)))
    going = dict.fromkeys(wave.members, COMPLETE)
    values: dict[int, dict[int, float]] = {number: {} for number in wave.members}
    trained = dict.fromkeys(wave.members, 0)
    longest = max(fitting.epochs for _, fitting in fittings)
    for rung in (*(r for r in wave.rungs if r < longest), longest):
        for _, fitting in fittings:
            while fitting.epoch < min(rung, fitting.epochs):
                fitting.advance()
        trained |= {number: rung for number, status in going.items() if status == COMPLETE}
        now = _values(wave, fittings)
        for number in [n for n, status in going.items() if status == COMPLETE and math.isnan(now[n])]:
            going[number] = DIVERGED
            _stop(wave.members[number], fittings)
        reached = {n: now[n] for n, status in going.items() if status == COMPLETE}
        for number, value in reached.items():
            values[number][rung] = value
        tried(rung, reached)
        if rung == longest:
            break
        for number in reached.keys() - promoted(reached, wave.records.get(rung, ()), wave.reduction) - wave.spared:
            going[number] = STOPPED
            _stop(wave.members[number], fittings)
        if COMPLETE not in going.values():
            break
    fits = {name: fit for names, fitting in fittings for name, fit in zip(names, fitting.fits(), strict=True)}
    pack = Pack(wave.trials, search=wave.search)
    number_of = {trial.id: number for number, trials in wave.members.items() for trial in trials}
    result = result_of(
        pack,
        place,
        task,
        [fits[trial.id] for trial in pack.trials],
        started,
        wave.search,
        [number_of[trial.id] for trial in pack.trials],
    )
    return WaveResult(pack, result, tuple(Verdict(n, status, values[n], trained[n]) for n, status in going.items()))


_sizes: dict[object, int] = {}
"""Structure → pack size, measured once per worker."""


def _stacks(trials: Sequence[Trial], replicate: Replicate) -> list[tuple[Trial, ...]]:
    """Cut the trials of a wave into what is trained as one stack."""
    facts = facts_of(replicate.data)
    groups: dict[object, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(get_system(trial.system).structure(trial.settings, facts), []).append(trial)
    stacks = []
    for structure, members in groups.items():
        first = members[0]
        if structure not in _sizes:
            _sizes[structure] = fastest(Probe(first.system, first.settings, facts, first.device, len(members))).size
        stacks += cut(members, math.ceil(len(members) / _sizes[structure]))
    return stacks


def _values(wave: Wave, fittings: Sequence[tuple[tuple[str, ...], Fitting]]) -> dict[int, float]:
    """Number → mean over seeds and targets of the best development value so far; NaN where a seed diverged. A target
    that a suggestion gives no weight counts as zero, or leaving hard targets out would pay."""
    best = {name: row for names, fitting in fittings for name, row in zip(names, fitting.best(), strict=True)}
    means = {}
    for number, trials in wave.members.items():
        rows = [best[trial.id] for trial in trials]
        gone = any(np.isnan(row).all() for row in rows)
        means[number] = math.nan if gone else float(np.mean([np.nan_to_num(row, nan=0.0) for row in rows]))
    return means


def _stop(trials: Sequence[Trial], fittings: Sequence[tuple[tuple[str, ...], Fitting]]) -> None:
    names = {trial.id for trial in trials}
    for members, fitting in fittings:
        if stopped := [k for k, name in enumerate(members) if name in names]:
            fitting.stop(stopped)
