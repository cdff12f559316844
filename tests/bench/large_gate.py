"""(h) Writing a corpus of 5 GB with its leakage gate: how long both take, and how much memory."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from affect.data import leakage
from affect.data.corpus import open_corpus
from affect.data.manifest import LEAK_FREE, PARTITIONS, TargetInfo
from affect.data.writer import ViewSource, write_corpus
from tests.bench.figures import Item, Line, Target
from tests.bench.large_corpus import ROWS, VIEW, WIDTH
from tests.bench.processes import Ready, alone

SHARES = (0.6, 0.1, 0.2, 0.1)
"""Of the partitions: most rows are scored, which is the most there is to compare."""
BLOCK = 1000
FACTORS = 24
COPIES = 50
"""Rows of test that are a training row bit for bit, and as many that are one but for noise."""
GIB, MIB = 1024**3, 1024**2


def bench() -> Item:
    """One round: what is planted must be found, and 5.1 GB of disk are needed where temporary files go."""
    with tempfile.TemporaryDirectory() as scratch:
        found = alone(_written, str(Path(scratch) / "large"))
    size, gate = 4 * ROWS * WIDTH, found["gate"]
    return Item(
        "h",
        f"writing a corpus of {ROWS:,} × {WIDTH:,} ({size / GIB:.1f} GiB) and looking for leaks in it",
        (
            Line("making its rows and writing them", found["write"], other=found["made"]),
            Line("the leakage gate : reading the file", gate, "s", found["read"], gate / found["read"]),
            Line("opening it, and one row", found["open"]),
            Line("most memory of the process", found["peak"] / MIB, "MiB", target=Target(1536.0, "at most", "ours")),
        ),
        (f"Other: making the rows alone. Found: {'; '.join(found['findings'])}",),
    )


def _table(draw: np.random.Generator) -> pd.DataFrame:
    partition = np.repeat(np.array(PARTITIONS, object), [round(share * ROWS) for share in SHARES])
    speaker = [f"{name}-{row % 200}" for row, name in enumerate(partition)]
    labels = {
        name: np.where(partition == "unlabelled", np.nan, draw.uniform(1, 7, ROWS)) for name in ("arousal", "valence")
    }
    ids = [f"clip-{row:06d}" for row in range(ROWS)]
    return pd.DataFrame({"id": ids, "subject": speaker, "group": speaker, "partition": partition} | labels)


def _rows(samples: pd.DataFrame) -> Iterator[np.ndarray]:
    """Correlated columns of all sizes with constants and outliers of 1e12, copies among the rows, and one column that is
    the arousal but for noise."""
    shape = np.random.default_rng(1)
    loadings = shape.standard_normal((FACTORS, WIDTH), np.float32)
    size = (10.0 ** shape.uniform(-3, 4, WIDTH)).astype(np.float32)
    size[::1000] = 0
    centre = (size * shape.normal(0, 3, WIDTH)).astype(np.float32) + 1
    arousal = samples["arousal"].fillna(4).to_numpy()
    test = int(np.flatnonzero(samples["partition"] == "test")[0])
    kept = np.empty((0, WIDTH), np.float32)
    for start in range(0, ROWS, BLOCK):
        draw = np.random.default_rng([2, start])
        block = draw.standard_normal((BLOCK, FACTORS), np.float32) @ loadings
        block += draw.standard_normal(block.shape, np.float32)
        block *= size
        block += centre
        block[:, 5::500] = np.where(draw.random(block[:, 5::500].shape) < 0.002, 1e12, block[:, 5::500])
        block[:, 77] = arousal[start : start + BLOCK] + 0.3 * draw.standard_normal(BLOCK)
        if start == 0:
            kept = block[: 2 * COPIES].copy()
        if start == test:
            block[:COPIES] = kept[:COPIES]
            block[COPIES : 2 * COPIES] = kept[COPIES:] * (1 + 1e-6 * draw.uniform(0.5, 1, (COPIES, 1)))
        yield block


def _written(ready: Ready, folder: str) -> dict[str, Any]:
    samples = _table(np.random.default_rng(0))
    started = time.perf_counter()
    for _ in _rows(samples):
        pass
    made = time.perf_counter() - started
    times = []
    look = leakage.findings

    def timed(*given: Any) -> Any:
        began = time.perf_counter()
        found = look(*given)
        times.append(time.perf_counter() - began)
        return found

    started = time.perf_counter()
    with patch.object(leakage, "findings", timed):
        write_corpus(
            folder,
            name="large",
            title="Large",
            banner="Random numbers, for a benchmark",
            synthetic=True,
            source="none",
            licence="none",
            samples=samples,
            targets={name: TargetInfo(1.0, 7.0) for name in ("arousal", "valence")},
            groups="speaker",
            protocols={LEAK_FREE: "partition"},
            views={VIEW: ViewSource((ROWS, WIDTH), lambda: _rows(samples), "random numbers")},
        )
    whole = time.perf_counter() - started
    started = time.perf_counter()
    corpus = open_corpus(folder)
    corpus.view(VIEW, LEAK_FREE)[ROWS // 2].sum()
    opened = time.perf_counter() - started
    peak = 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    findings = [f"{found.kind}: {found.sentence}" for found in corpus.manifest.findings]
    _check(findings)
    started = time.perf_counter()
    with (corpus.folder / corpus.manifest.views[VIEW].file).open("rb") as file:
        while file.read(8 * MIB):
            pass
    read = time.perf_counter() - started
    return {
        "made": made,
        "write": whole - times[0],
        "gate": times[0],
        "open": opened,
        "peak": peak,
        "read": read,
        "findings": findings,
    }


def _check(findings: list[str]) -> None:
    due = ("rows_recur: 50 of", "rows_nearly_recur: 50 of", f"label_encoded: column 77 of view {VIEW}")
    if len(findings) != len(due) or any(not each.startswith(start) for each, start in zip(findings, due, strict=True)):
        raise RuntimeError(f"other findings than what was planted: {findings}")
