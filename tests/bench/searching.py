"""(g) What a search costs beyond its training: waves of half a minute, and a thousand suggestions that cost nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray

from affect.data.corpus import Corpus
from affect.data.twin import make_twin
from affect.engine.files import LocalFolder
from affect.engine.journal import open_journal
from affect.engine.provenance import Provenance
from affect.engine.search import WAVES_PER_SLOT, ResolvedSearch
from affect.engine.store import Store
from affect.engine.tuning import carry_on
from affect.engine.waves import WaveResult
from affect.engine.work import Workplace
from affect.study import Resolved, Row, Search, Settings
from search_spaces import ladder
from studies.ladder_hyperparameters import STUDY
from tests.bench.figures import Item, Line, Target
from tests.bench.local import CORES, ray_running, resolve
from tests.engine import engine_fakes
from tests.engine.helpers import make_corpus, make_study

EACH, EPOCHS = 5, 120
"""Suggestions per wave, and what makes such a wave take over half a minute."""
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
    results: list[WaveResult] = []
    with ray_running():
        seconds = _timed(search, corpus, folder / "a", results.append)
    walls = [found.result.trials["wall_seconds"][0].as_py() for found in results if found.result is not None]
    return Waves(len(walls), sum(walls) / len(walls), sum(walls) / CORES, seconds)


def _free(folder: Path) -> float:
    """Seconds of a thousand suggestions whose training costs nothing."""
    engine_fakes.install()
    corpus = make_corpus(folder / "tiny")
    resolved: Resolved = replace(
        resolve(make_study((Row("climb"),)), corpus, (Row("climb"),), 1, 1, {}), label_fractions=(1.0,)
    )
    search = ResolvedSearch(resolved, Search("climb", engine_fakes.climbs, rungs=(3, 6)), 1.0, total=FREE, seeds=1)
    engine_fakes.start_ray()
    try:
        store = Store(str(folder / "results"), resolved.study.name)
        with store.locked():
            return _timed(search, corpus, folder / "b", partial(_commit, store))
    finally:
        ray.shutdown()


def _commit(store: Store, found: WaveResult) -> None:
    assert found.result is not None
    store.commit(found.pack, found.result)


def _timed(search: ResolvedSearch, corpus: Corpus, journal: Path, commit: Callable[[WaveResult], Any]) -> float:
    place = Workplace(
        search.resolved.study.name, corpus.manifest.name, str(corpus.folder), Provenance("bench", None, None)
    )
    started = time.perf_counter()
    carry_on(
        search,
        open_journal(LocalFolder(journal), "bench"),
        place,
        slots=CORES,
        seconds=None,
        stored={},
        commit=commit,
        heard=lambda study: None,
    )
    return time.perf_counter() - started
