"""(b) What a study costs beyond its training loops: the engine's wall time against the same packs fitted bare."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from affect.command import write_report
from affect.data.twin import make_twin
from affect.engine.evidence import evidence
from affect.engine.packs import Pack
from affect.engine.plan import plan
from affect.engine.run import PLANNED
from affect.engine.sizes import Sizes
from affect.engine.store import Store
from affect.engine.work import measure, open_task
from affect.resolved import Resolved
from affect.systems import get_system
from affect.systems.base import Replicate, fit_pack
from affect.systems.process import settle
from affect.trial import Trial
from studies.ladder_ablation import STUDY
from tests.bench.figures import Item, Line, Target
from tests.bench.local import CORES, ray_running, resolve, train
from tests.bench.processes import Ready, alone, together

LENGTH = 300.0
"""Seconds of training per worker from which the target counts."""
MARGIN = 1.15
"""The study is made this much longer than asked for: its length is only expected."""


def bench(minutes: float) -> Item:
    """The demo study with as many seeds (or, for a preview, as few epochs) as fill `minutes` on all cores."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = make_twin("podcast-twin-demo", folder / "corpus")
        scale = STUDY.scales["demo"]
        base = resolve(STUDY, corpus, scale.rows, scale.seeds, scale.selection_seeds, {})
        resolved = alone(_sized, base, 60 * minutes * MARGIN)
        with ray_running() as niceness:
            summary, trained, start = train(resolved, corpus, folder / "results")
            store = Store(str(folder / "results"), STUDY.name)
            started = time.perf_counter()
            write_report(resolved, evidence(resolved, store), folder / "reports", Console(quiet=True))
            reported = time.perf_counter() - started
            rows = store.trials()[["pack", "wall_seconds"]].drop_duplicates("pack")
            in_packs = float(rows["wall_seconds"].sum()) / CORES
            packs = _packs(store, summary.plan.trials, rows)
            bare = _bare(packs, str(corpus.folder), niceness) / CORES
    wall = trained + reported
    epochs = sorted({int(trial.settings["epochs"]) for trial in summary.plan.trials if "epochs" in trial.settings})
    long_enough = bare >= LENGTH
    preview = "" if long_enough else f"; a preview: the target is for {LENGTH / 60:.0f} minutes of training"
    target = Target(1.05, "at most") if long_enough else None
    return Item(
        "b",
        f"a study of {bare / 60:.1f} minutes of training on {CORES} workers: wall time / bare loops{preview}",
        (
            Line("whole study, report included : bare fits", wall, "s", bare, wall / bare, None, target),
            Line("  until all results are stored : bare fits", trained, "s", bare, trained / bare),
            Line(
                "  until all results are stored : packs as timed by the workers",
                trained,
                "s",
                in_packs,
                trained / in_packs,
            ),
            Line("  until the first pack: workers start, pack sizes are measured", start, "s", bare, start / bare),
            Line("  report", reported, "s", bare, reported / bare),
        ),
        (
            f"The demo study, {resolved.seeds} seeds, {', '.join(map(str, epochs))} epochs: {summary.trained} trials in "
            f"{len(packs)} packs, two stages. Ray is up before; the engine's actors start within its time.",
            f"Bare: System.fit alone on the same packs, from one queue in {CORES} processes right after the study, at the "
            f"niceness of Ray's workers and with the same Ray up; summed seconds / {CORES}. "
            "The workers' own times contain the final scoring.",
        ),
    )


def _sized(ready: Ready, base: Resolved, seconds: float) -> Resolved:
    """`base` with seeds, or else epochs, such that it is expected to train for `seconds` on all cores."""
    costs = Sizes(base, lambda: CORES)
    first = plan(base, pd.DataFrame({name: [] for name in PLANNED}))
    costs.learn(first.pending, first.later, lambda probes: [measure(probe) for probe in probes])

    def expected(seeds: int) -> float:
        wanted = plan(replace(base, seeds=seeds), pd.DataFrame({name: [] for name in PLANNED}))
        counted = [*((trial, 1) for trial in wanted.pending), *wanted.later]
        return sum(costs(costs.group_of(trial)).seconds * count for trial, count in counted) / CORES

    if expected(base.seeds) < seconds:
        seeds = base.seeds
        while expected(seeds) < seconds:
            seeds += max(1, seeds // 10)
        return replace(base, seeds=seeds)
    epochs = int(STUDY.settings[base.corpus.name]["epochs"])
    return replace(base, overrides={"epochs": max(1, round(epochs * seconds / expected(base.seeds)))})


def _packs(store: Store, trials: Sequence[Trial], rows: pd.DataFrame) -> list[tuple[Trial, ...]]:
    """The packs that were trained, longest first."""
    by_id = {trial.id: trial for trial in trials}
    found = {m.id: tuple(by_id[name] for name in m.trials) for m in store.memberships()}
    seconds = dict(zip(rows["pack"].astype(str), rows["wall_seconds"], strict=True))
    return [found[name] for name in sorted(found, key=lambda name: -seconds[name])]


def _bare(packs: Sequence[tuple[Trial, ...]], folder: str, niceness: int) -> float:
    """Seconds in `System.fit`, summed over processes that share the packs as workers would."""
    import multiprocessing

    with multiprocessing.get_context("forkserver").Manager() as manager:
        queue = manager.Queue()
        for pack in packs:
            queue.put(pack)
        return sum(together([(_fit_packs, (queue, folder, niceness))] * CORES))


def _fit_packs(ready: Ready, queue: Any, folder: str, niceness: int) -> float:
    from queue import Empty

    os.nice(max(0, niceness - os.nice(0)))
    settle("cpu")
    seconds = 0.0
    ready()
    while True:
        try:
            pack = Pack(queue.get_nowait())
        except Empty:
            return seconds
        task = open_task(folder, pack.trials[0].task)
        data = {seed: task.fit_data(seed) for seed in {trial.seed for trial in pack.trials}}
        replicates = [Replicate(data[trial.seed], trial.settings, trial.seed) for trial in pack.trials]
        system = get_system(pack.trials[0].system)
        started = time.perf_counter()
        fit_pack(system, replicates, device="cpu")
        seconds += time.perf_counter() - started
