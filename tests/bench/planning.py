"""(f) Planning 100,000 trials, and a report from a million rows."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from affect.engine.plan import Plan, plan
from affect.engine.run import PLANNED
from affect.report.build import build_report
from affect.report.evidence import Evidence
from affect.resolved import Resolved
from affect.study import CorpusFacts
from studies.ladder_ablation import STUDY
from tests.bench.figures import Item, Line, Target
from tests.bench.processes import Ready, alone

TRIALS, ROWS = 100_000, 1_000_000
PARTITIONS = ("train", "development", "test")
SLOWEST_PLAN, SLOWEST_REPORT = Target(3.0, "at most", "ours"), Target(10.0, "at most", "ours")


def bench(repeats: int) -> Item:
    """The full-scale study with so many seeds; every candidate is compared on all of them."""
    fresh, known, trials, cells = alone(_planned, repeats)
    few, many = alone(_reported, (1.0, 0.1, 0.02), repeats), alone(_reported, (1.0,), repeats)
    return Item(
        "f",
        "planning and reporting by the hundred thousand",
        (
            Line(f"plan {trials:,} trials of {cells} cells, nothing stored", median(fresh), target=SLOWEST_PLAN),
            Line(f"plan {trials:,} trials, all of them stored", median(known), target=SLOWEST_PLAN),
            Line(
                f"report from {few[1]:,} rows, 3 label fractions, {few[2]:,} seeds",
                median(few[0]),
                target=SLOWEST_REPORT,
            ),
            Line(
                f"report from {many[1]:,} rows, 1 label fraction, {many[2]:,} seeds",
                median(many[0]),
                target=SLOWEST_REPORT,
            ),
        ),
        (
            "Reports have all tables, figures and claims of the study but learning curves, of which there would be more "
            "rows than of values.",
        ),
    )


def resolved_with(seeds: int, selection_seeds: int, fractions: tuple[float, ...] = (1.0,)) -> Resolved:
    """The full-scale study on an imagined corpus."""
    corpus = CorpusFacts(
        name="imagined",
        title="An imagined corpus",
        banner="Made-up numbers",
        fingerprint="0" * 64,
        synthetic=True,
        groups="speaker",
        view="hld",
        width=6373,
        has_text=False,
        rows={"train": 18_346, "development": 3_753, "test": 7_341, "unlabelled": 175_196},
        pool=193_542,
    )
    return Resolved(
        study=STUDY,
        scale="full",
        corpus=corpus,
        rows=STUDY.scales["full"].rows,
        label_fractions=fractions,
        seeds=seeds,
        selection_seeds=selection_seeds,
        preset="paper",
        protocol="as_published",
        overrides={},
        device="cpu",
    )


def _planned(ready: Ready, repeats: int) -> tuple[list[float], list[float], int, int]:
    none = pd.DataFrame({name: [] for name in PLANNED})
    cells = len({trial.cell for trial in plan(resolved_with(1, 1), none).trials})
    seeds = math.ceil(TRIALS / cells)
    resolved = resolved_with(seeds, seeds)
    fresh, wanted = _times(resolved, none, repeats)
    known, again = _times(resolved, _stored(wanted), repeats)
    assert not again.pending
    return fresh, known, len(wanted.trials), cells


def _times(resolved: Resolved, rows: pd.DataFrame, repeats: int) -> tuple[list[float], Plan]:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        wanted = plan(resolved, rows)
        times.append(time.perf_counter() - started)
    return times, wanted


def _stored(wanted: Plan) -> pd.DataFrame:
    """Rows of `trials` for every trial × partition × target, as a store hands them out."""
    ids = [trial.id for trial in wanted.trials]
    targets = STUDY.targets
    each = len(PARTITIONS) * len(targets)
    frame = pd.DataFrame(
        {
            "trial": np.repeat(ids, each),
            "partition": np.tile(np.repeat(PARTITIONS, len(targets)), len(ids)),
            "target": np.tile(targets, len(PARTITIONS) * len(ids)),
            "value": np.random.default_rng(0).uniform(0, 1, each * len(ids)),
            "status": "complete",
        }
    )
    return frame.astype(dict.fromkeys(("trial", "partition", "target", "status"), "category"))


def _reported(ready: Ready, fractions: tuple[float, ...], repeats: int) -> tuple[list[float], int, int]:
    evidence, seeds = made_up(fractions)
    times = []
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(repeats):
            started = time.perf_counter()
            build_report(evidence, Path(scratch) / str(turn))
            times.append(time.perf_counter() - started)
    return times, len(evidence.values), seeds


def made_up(fractions: tuple[float, ...]) -> tuple[Evidence, int]:
    """Evidence with a million values, and its number of seeds."""
    resolved = resolved_with(1, 1, fractions)
    systems = [row.system for row in resolved.rows if row.system != "tfidf_ridge"]
    seeds = math.ceil(ROWS / (len(systems) * len(fractions) * len(STUDY.targets) * len(PARTITIONS)))
    resolved = resolved_with(seeds, 1, fractions)
    names = ["system", "label_fraction", "target", "partition", "seed"]
    axes = [systems, fractions, STUDY.targets, PARTITIONS, range(seeds)]
    values = pd.MultiIndex.from_product(axes, names=names).to_frame(index=False)
    draw = np.random.default_rng(0)
    level = 0.5 + 0.01 * values["system"].map({name: i for i, name in enumerate(systems)})
    values["value"] = level + draw.normal(0, 0.01, seeds)[values["seed"]] + draw.normal(0, 0.005, len(values))
    values["n"] = values["partition"].map(resolved.corpus.rows)
    values["epoch"] = 40
    values["status"] = "complete"
    expected = values.loc[values["partition"] == "test", [*names[:3], "seed"]]
    cells = values[names[:3]].drop_duplicates()
    settings = [{"learning_rate": 5e-5, "epochs": 100, "batch_size": 256} for _ in range(len(cells))]
    return Evidence(resolved, values, cells.assign(settings=settings, options=1), expected), seeds
