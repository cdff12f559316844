"""(g) What a search costs beyond its training: waves of half a minute, and a thousand suggestions that cost nothing."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from affect.data.corpus import Corpus
from affect.data.twin import make_twin
from affect.engine.on_ray import OnRay
from affect.engine.search import WAVES_PER_SLOT, ResolvedSearch
from affect.engine.searcher import Searcher
from affect.engine.store import Store
from affect.study import Row, Search
from affect.trial import Settings
from search_spaces import ladder
from studies.ladder_hyperparameters import STUDY
from tests.bench.figures import Item, Line, Target
from tests.bench.local import CORES, Silent, place_of, ray_running, resolve
from tests.engine import engine_fakes
from tests.engine.helpers import make_corpus, make_study

EACH, EPOCHS = 5, 150
"""Suggestions per wave (the last ones have fewer), and what makes such a wave take over half a minute."""
FREE = 1000


def fixed_batch(trial: Any) -> Settings:
    """The ladder's space with one batch size, so that all waves are about as long."""
    return {**ladder.ladder(trial), "batch_size": 256}


def bench() -> Item:
    """Both searches, one after the other, each on a Ray of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        waves = _training(folder)
        free = _free(folder)
    return Item(
        "g",
        "searches: wall time / training inside, and the price of a suggestion",
        (
            Line(
                f"{waves.count} waves of {waves.each:.0f} s on {CORES} workers : training inside",
                waves.wall,
                "s",
                waves.inside,
                waves.wall / waves.inside,
                None,
                Target(1.10, "at most") if waves.each >= 30 else None,
            ),
            Line(f"{FREE} suggestions of a free objective", free, "s", target=Target(60.0, "at most", "ours")),
        ),
        (
            "Training inside: the waves as timed by the workers, final scoring included, summed / cores. Ray is up before; "
            "Tune's actors start within the time, and nothing is stopped early.",
        ),
    )


@dataclass(frozen=True)
class Waves:
    count: int
    each: float
    """Mean seconds of one."""
    inside: float
    """Seconds of training per core."""
    wall: float


def _training(folder: Path) -> Waves:
    """A search without early stops."""
    corpus = make_twin("podcast-twin-demo", folder / "corpus")
    rows = (Row("Lad+L+MTL"),)
    resolved = resolve(STUDY, corpus, rows, 1, 1, {"epochs": EPOCHS})
    declared = Search("Lad+L+MTL", fixed_batch, rungs=())
    search = ResolvedSearch(resolved, declared, 1.0, total=EACH * WAVES_PER_SLOT * CORES, seeds=1)
    with ray_running():
        seconds = timed(search, corpus, folder / "a")
    packs = Store(str(folder / "a"), STUDY.name).trials().drop_duplicates("pack")
    inside = float(packs["wall_seconds"].sum())
    return Waves(len(packs), inside / len(packs), inside / CORES, seconds)


def _free(folder: Path) -> float:
    """Seconds of a thousand suggestions whose training costs nothing."""
    engine_fakes.install()
    search, corpus = free_search(folder / "tiny", FREE)
    engine_fakes.start_ray()
    try:
        return timed(search, corpus, folder / "b")
    finally:
        ray.shutdown()


def free_search(folder: Path, total: int) -> tuple[ResolvedSearch, Corpus]:
    """A search of `total` suggestions over a toy system, and its corpus, made in `folder`."""
    corpus, rows = make_corpus(folder), (Row("climb"),)
    resolved = resolve(make_study(rows), corpus, rows, 1, 1, {})
    declared = Search("climb", engine_fakes.climbs, rungs=(3, 6))
    return ResolvedSearch(resolved, declared, 1.0, total=total, seeds=1), corpus


def timed(search: ResolvedSearch, corpus: Corpus, results: Path) -> float:
    """Seconds of a search's suggestions as a study carries them out on the Ray that is up, with all that is stored."""
    store = Store(str(results), search.resolved.study.name)
    executor = OnRay("cpu", slots=CORES)
    searcher = Searcher(store, place_of(search.resolved, corpus), executor, Silent(), deadline=math.inf)
    with store.locked():
        started = time.perf_counter()
        searcher.suggest(search)
        return time.perf_counter() - started
