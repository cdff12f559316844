"""What a worker does: open a task, measure what a pack would cost, fit one. Knows nothing of Ray."""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from affect.data import twin
from affect.data.corpus import Corpus, open_corpus
from affect.data.manifest import MANIFEST
from affect.data.task import Task
from affect.engine.packs import GUESS, Measure, Pack
from affect.engine.results import PackResult, Workplace, result_of
from affect.errors import UserError
from affect.systems import get_system
from affect.systems.base import Facts, Replicate, Watch, fit_pack
from affect.systems.process import settle
from affect.systems.shards import ALONE, Shard
from affect.trial import Settings, TaskSpec

LONGEST = 900.0
"""Seconds that a pack should be expected to take at most, or hardly more: what a crash or a time limit may cost a worker."""
SHORTER_COSTS = 1.1
"""How much longer per trial a pack may take than the fastest, for being no longer than `LONGEST`."""


@dataclass(frozen=True)
class Probe:
    """One measurement to make: see `affect.systems.base.System.probe`."""

    system: str
    settings: Settings
    facts: Facts
    device: str
    largest: int


@lru_cache(maxsize=8)
def open_task(folder: str, spec: TaskSpec) -> Task:
    """The task `spec` on the corpus in `folder`, opened once per process."""
    corpus = _corpus_here(Path(folder))
    if corpus.manifest.fingerprint != spec.corpus:
        raise UserError(
            f"{folder}: the corpus has fingerprint {corpus.manifest.fingerprint[:12]}, "
            f"and not {spec.corpus[:12]} for which these trials were planned."
        )
    return Task(corpus, spec)


def _corpus_here(folder: Path) -> Corpus:
    """The corpus in `folder` on the node of this process. A twin that the node lacks is made: it is the same wherever
    it is made. Mistakes name the node, for the driver's may be another."""
    try:
        if folder.name in twin.NAMES and not (folder / MANIFEST).is_file():
            return twin.ensure_twin(folder.name, folder)
        return open_corpus(folder)
    except UserError as error:
        raise UserError(f"on node {platform.node()}: {error}") from None


def fastest(probe: Probe) -> Measure:
    """Measure which pack is fastest per trial on this worker's device."""
    settle(probe.device)
    system = get_system(probe.system)
    size, seconds = system.probe(probe.settings, probe.facts, probe.device, probe.largest)
    seconds *= system.steps(probe.settings, probe.facts)
    return Measure(size, seconds) if math.isfinite(seconds) else GUESS


def measure(probe: Probe) -> Measure:
    """The pack to cut trials into: the fastest that takes no longer than `LONGEST` or, where so small a pack is much slower,
    the fastest of all."""
    best = fastest(probe)
    if best.size > 1 and best.size * best.seconds > LONGEST:
        shorter = fastest(replace(probe, largest=max(1, int(LONGEST / best.seconds))))
        if shorter.seconds <= SHORTER_COSTS * best.seconds:
            return shorter
    return best


def run_pack(pack: Pack, place: Workplace, watch: Watch = lambda fitting: None, shard: Shard = ALONE) -> PackResult:
    """Fit the trials of `pack` as one computation and evaluate each fit once. Workers that share it all return the same
    result."""
    first = pack.trials[0]
    settle(first.device)
    started = time.perf_counter()
    task = open_task(place.corpus_folder, first.task)
    data = {seed: task.fit_data(seed) for seed in {trial.seed for trial in pack.trials}}
    replicates = [Replicate(data[trial.seed], trial.settings, trial.seed) for trial in pack.trials]
    fits = fit_pack(get_system(first.system), replicates, device=first.device, shard=shard, watch=watch)
    return result_of(pack, place, task, fits, started)
