"""(a) Many short trials: the engine against Ray Tune with a trial per actor, all on one running Ray."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from affect.data.corpus import open_corpus
from affect.data.twin import make_twin
from affect.engine.plan import Plan, plan
from affect.engine.run import PLANNED
from affect.resolved import Resolved
from affect.study import Mark, Row, Scale, Study
from affect.trial import Trial
from tests.bench.figures import Item, Line, Target, compared
from tests.bench.local import CORES, ray_running, resolve, train
from tests.bench.one_trial import fit_one
from tests.bench.processes import Ready, alone

SYSTEM = "MTL"
SEEDS = 4
RATES = tuple(1e-4 * 1.3**step for step in range(16))
SECONDS = 0.2
"""Training time of one trial."""


def bench(repeats: int) -> Item:
    """64 trials, 16 learning rates × 4 seeds, as a user would put them to Ray Tune as well."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = make_twin("podcast-twin-demo", folder / "corpus")
        trial_seconds = alone(_seconds, wanted(corpus.folder, 20).trials[0], str(corpus.folder))
        epochs = max(1, round(20 * SECONDS / trial_seconds))
        resolved = resolved_sweep(corpus.folder, epochs)
        trials = wanted(corpus.folder, epochs).trials
        each = alone(_seconds, trials[0], str(corpus.folder))
        sides: dict[str, list[float]] = {"ours": [], "start": [], "reuse": [], "stock": []}
        packs = 0
        with ray_running():
            for turn in range(repeats):
                summary, seconds, start = train(resolved, corpus, folder / f"ours-{turn}")
                sides["ours"].append(seconds)
                sides["start"].append(start)
                assert summary.trained == len(trials)
                packs = len(list((folder / f"ours-{turn}").glob("*/trials/*.parquet")))
                for side in ("reuse", "stock"):
                    where = folder / f"{side}-{turn}"
                    sides[side].append(tuned(trials, corpus.folder, where, side == "reuse"))
    ours = sides["ours"]

    def against(what: str, side: str, target: Target | None) -> Line:
        ratios = [theirs / mine for mine, theirs in zip(ours, sides[side], strict=True)]
        return compared(what, "s", ours, sides[side], ratios, target)

    bare = len(trials) * each / CORES
    return Item(
        "a",
        f"{len(trials)} trials of {each:.2f} s on {CORES} cores: wall time, how many times faster",
        (
            against("engine : Ray Tune, a trial per actor", "stock", Target(10, "at least")),
            against("engine : Ray Tune, reuse_actors=True", "reuse", None),
            compared("engine : bare single-trial fits / cores", "s", ours, [bare], [bare / t for t in ours], None),
            Line("  until the engine's first pack: workers start, pack size is measured", median(sides["start"])),
        ),
        (
            "Ray is up before all sides. The engine's actors start cold within its time, which also has in it its "
            f"measurement of pack sizes and the result files; it trained {packs} packs.",
            "Tune trains the same trials with the same System.fit, one replicate each, and reports one number; it "
            "neither scores the test part nor writes predictions.",
        ),
    )


def resolved_sweep(folder: Path, epochs: int) -> Resolved:
    """Every learning rate on every seed: one stage, nothing to be refitted."""
    rows = (Row(SYSTEM, tuple({"learning_rate": rate} for rate in RATES)),)
    study = Study(
        name="short_trials",
        title="Short trials",
        paper="none",
        targets=("arousal", "valence", "dominance"),
        metric="ccc",
        scales={"demo": Scale("podcast-twin-demo", rows, SEEDS, SEEDS)},
        marks=(Mark("•", SYSTEM),),
    )
    return resolve(study, open_corpus(folder), rows, SEEDS, SEEDS, {"epochs": epochs})


def wanted(folder: Path, epochs: int) -> Plan:
    """The plan of the sweep on an empty store."""
    return plan(resolved_sweep(folder, epochs), pd.DataFrame({name: [] for name in PLANNED}))


def _seconds(ready: Ready, trial: Trial, folder: str) -> float:
    """Seconds that the fit of one trial takes, once the process is warm."""
    fit_one(trial, folder)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        fit_one(trial, folder)
        times.append(time.perf_counter() - started)
    return sorted(times)[2]


def tuned(trials: tuple[Trial, ...], folder: Path, storage: Path, reuse: bool) -> float:
    """Wall seconds of Ray Tune on the same trials, one core each."""
    from ray import tune

    def trainable(config: dict[str, Any], trials: tuple[Trial, ...], folder: str) -> None:
        tune.report({"ccc": fit_one(trials[config["trial"]], folder)})

    stop = tune.FailureConfig(fail_fast=True)
    started = time.perf_counter()
    tuner = tune.Tuner(
        tune.with_parameters(trainable, trials=trials, folder=str(folder)),
        param_space={"trial": tune.grid_search(list(range(len(trials))))},
        tune_config=tune.TuneConfig(metric="ccc", mode="max", reuse_actors=reuse),
        run_config=tune.RunConfig(name="tune", storage_path=str(storage), verbose=0, failure_config=stop),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        results = tuner.fit()
    seconds = time.perf_counter() - started
    if results.num_errors or len(results) != len(trials):
        raise RuntimeError(f"Ray Tune failed on {results.num_errors} of {len(trials)} trials")
    return seconds
