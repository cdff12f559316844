"""Studies run by the engine on a Ray that is up already, as the benchmarks need them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from affect.data.corpus import Corpus
from affect.engine.on_ray import OnRay
from affect.engine.packs import Pack
from affect.engine.progress import Shown
from affect.engine.provenance import Provenance
from affect.engine.results import Workplace, workplace
from affect.engine.run import Summary, run
from affect.engine.store import Store
from affect.resolved import Resolved
from affect.study import Row, Study
from affect.systems import get_system

CORES = len(os.sched_getaffinity(0))


class Silent:
    """A display that shows nothing."""

    def show(self, state: Shown) -> None:
        return None


def resolve(
    study: Study, corpus: Corpus, rows: tuple[Row, ...], seeds: int, selection_seeds: int, overrides: Mapping[str, Any]
) -> Resolved:
    """A study on the CPU with every choice fixed; rows that need text are left out where the corpus has none."""
    facts = corpus.facts("as_published")
    return Resolved(
        study=study,
        scale="demo",
        corpus=facts,
        rows=tuple(row for row in rows if facts.has_text or not get_system(row.system).needs_text),
        label_fractions=(1.0,),
        seeds=seeds,
        selection_seeds=selection_seeds,
        preset="paper",
        protocol="as_published",
        overrides=overrides,
        device="cpu",
    )


def _niceness() -> int:
    return os.nice(0)


@contextmanager
def ray_running() -> Iterator[int]:
    """A local Ray on all cores, which has started a worker process or two before anything is timed; yields the niceness
    of its workers (15 unless Ray is told otherwise: beside other work on the machine they get next to nothing)."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=CORES,
        include_dashboard=False,
        object_store_memory=512 * 1024**2,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield max(ray.get([ray.remote(_niceness).remote() for _ in range(CORES)]))
    finally:
        ray.shutdown()


class _Watched(OnRay):
    """The engine's executor, which remembers when it was given its first pack."""

    first_pack: float | None = None

    def submit(self, pack: Pack) -> None:
        if self.first_pack is None:
            self.first_pack = time.perf_counter()
        super().submit(pack)


def place_of(resolved: Resolved, corpus: Corpus) -> Workplace:
    """Where `resolved` is run; what its rows say of their source is of no use to anybody."""
    return workplace(resolved, corpus.folder, Provenance("benchmark", None, None, ""))


def train(resolved: Resolved, corpus: Corpus, results: Path) -> tuple[Summary, float, float]:
    """Run a study from an empty results folder on the Ray that is up: (what it did, wall seconds, those before the first
    pack).

    The time has in it the start of the engine's actors, its measurements of pack sizes, and the writing of all results.
    """
    place = place_of(resolved, corpus)
    store = Store(str(results), resolved.study.name)
    executor = _Watched(resolved.device)
    started = time.perf_counter()
    with store.locked():
        store.save_request(resolved)
        summary = run(resolved, store, executor, place, Silent())
    seconds = time.perf_counter() - started
    if summary.failed or summary.left:
        why = "".join(f" ({trial.system}: {message})" for trial, message in summary.failed[:1])
        raise RuntimeError(
            f"{len(summary.failed)} trials failed{why} and {summary.left} are left; nothing was measured"
        )
    assert executor.first_pack is not None
    return summary, seconds, executor.first_pack - started
