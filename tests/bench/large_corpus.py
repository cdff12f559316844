"""(e) Opening a corpus of 5 GB, and what a worker that reads it holds of its own."""

from __future__ import annotations

import math
import os
import pickle
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from affect.data.corpus import open_corpus
from affect.data.manifest import AS_PUBLISHED, FORMAT, MANIFEST, PARTITIONS, SAMPLES, Manifest, TargetInfo, ViewInfo
from affect.data.task import Inputs
from affect.data.writer import check_samples
from tests.bench.figures import Item, Line, Target
from tests.bench.local import CORES
from tests.bench.processes import Ready, alone, together

ROWS, WIDTH = 200_000, 6_373
SHARES = (0.1, 0.02, 0.03, 0.85)
"""Of the partitions."""
VIEW = "hld"
BATCHES, BATCH = 100, 256
MIB = 1024**2
WORKERS = max(2, CORES)


def bench(repeats: int) -> Item:
    """A sparse file of zeros, which takes no disk, opened and read by several processes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "large"
        size = write_sparse(folder)
        rounds = [alone(_opened, str(folder)) for _ in range(max(3, repeats))]
        firsts = [found["first"] for found in rounds]
        agains = [found["again"] for found in rounds]
        held = together([(_held, (str(folder),))] * WORKERS)
        pickled = rounds[0]["pickled"]
    own = max(found["RssAnon"] for found in held)
    shared = max(found["RssFile"] for found in held)
    return Item(
        "e",
        f"a corpus of {ROWS:,} × {WIDTH:,} ({size / 1024**3:.1f} GiB)",
        (
            Line("open and touch one row, first in a process", median(firsts), target=Target(0.050, "at most", "ours")),
            Line("open and touch one row, again", median(agains)),
            Line(
                f"own memory of each of {WORKERS} workers after {BATCHES} batches : view",
                own / MIB,
                "MiB",
                size / MIB,
                own / size,
                None,
                Target(0.01, "at most"),
            ),
            Line("  mapped pages, shared by all workers : view", shared / MIB, "MiB", size / MIB, shared / size),
            Line("the corpus as sent to a worker", pickled / 1024, "KiB"),
            Line("the sample table, on first use", median([found["facts"] for found in rounds])),
        ),
        (f"Each worker gathered {BATCHES} × {BATCH} random rows; own memory is the growth of RssAnon.",),
    )


def write_sparse(folder: Path) -> int:
    """A corpus folder whose view is a hole; returns the view's bytes. The fingerprint is no digest: nothing is read."""
    (folder / "views").mkdir(parents=True)
    counts = [round(share * ROWS) for share in SHARES]
    partition = np.repeat(np.array(PARTITIONS, object), counts)
    labelled = partition != "unlabelled"
    people = np.array([f"{name}-{row % 50}" for row, name in enumerate(partition)], object)
    draw = np.random.default_rng(0)
    targets = {name: TargetInfo(1.0, 7.0) for name in ("arousal", "valence", "dominance")}
    samples = pd.DataFrame(
        {"id": [f"clip-{row:06d}" for row in range(ROWS)], "subject": people, "group": people, "partition": partition}
        | {name: np.where(labelled, draw.uniform(1, 7, ROWS), np.nan) for name in targets}
    )
    protocols = {AS_PUBLISHED: "partition"}
    check_samples(samples, targets, "speaker", protocols, SAMPLES, {}).to_parquet(folder / SAMPLES)
    view = ViewInfo(f"views/{VIEW}.npy", (ROWS, WIDTH), "float32", "zeros")
    with (folder / view.file).open("wb") as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": view.shape}
        np.lib.format.write_array_header_1_0(out, header)
        size = 4 * math.prod(view.shape)
        out.truncate(out.tell() + size)
    manifest = Manifest(
        format=FORMAT,
        name="large",
        title="A large corpus of zeros",
        banner="Zeros, for a benchmark",
        synthetic=True,
        source="none",
        licence="none",
        rows=ROWS,
        views={VIEW: view},
        targets=targets,
        groups="speaker",
        protocols=protocols,
        findings=(),
        counts=(),
        notes=(),
        fingerprint="0" * 64,
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return size


def _opened(ready: Ready, folder: str) -> dict[str, float]:
    times = []
    for turn in range(20):
        started = time.perf_counter()
        corpus = open_corpus(folder)
        row = np.asarray(corpus.view(VIEW, AS_PUBLISHED)[(turn * 9973) % ROWS])
        assert row.sum() == 0
        times.append(time.perf_counter() - started)
    started = time.perf_counter()
    corpus.facts(AS_PUBLISHED)
    facts = time.perf_counter() - started
    return {"first": times[0], "again": median(times[1:]), "facts": facts, "pickled": float(len(pickle.dumps(corpus)))}


def _held(ready: Ready, folder: str) -> dict[str, float]:
    """Growth of this process' memory while it gathers batches, measured while all workers still hold the view."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(os.getpid())
    # Whatever torch sets up at its first gather is no copy of the corpus.
    Inputs((np.zeros((BATCH, WIDTH), np.float32),), np.arange(BATCH), np.zeros(WIDTH), np.ones(WIDTH)).take(slice(None))
    before = memory()
    view = open_corpus(folder).view(VIEW, AS_PUBLISHED)
    inputs = Inputs((view,), np.arange(ROWS), np.zeros(WIDTH), np.ones(WIDTH))
    for _ in range(BATCHES):
        inputs.take(torch.randint(ROWS, (BATCH,), generator=draw))
    ready()
    after = memory()
    ready()
    return {name: after[name] - before[name] for name in before}


def memory() -> dict[str, float]:
    """Bytes of this process in memory: its own (RssAnon) and those of mapped files (RssFile)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: 1024.0 * int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")}
