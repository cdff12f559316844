from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import engine_fakes  # noqa: E402

import affect.systems  # noqa: E402
from affect.data.corpus import Corpus  # noqa: E402
from affect.data.manifest import TargetInfo  # noqa: E402
from affect.data.writer import array_view, write_corpus  # noqa: E402
from affect.engine.provenance import Provenance  # noqa: E402
from affect.engine.work import Workplace  # noqa: E402
from affect.study import Mark, Resolved, Row, Scale, Study, Table  # noqa: E402

TARGETS = ("arousal", "valence", "dominance")
SIZES = {"train": 120, "development": 40, "test": 50}


def make_corpus(folder: Path) -> Corpus:
    generator = np.random.default_rng(0)
    n = sum(SIZES.values())
    x = generator.standard_normal((n, 6))
    y = np.clip(4 + 0.5 * x[:, :3] + 0.4 * generator.standard_normal((n, 3)), 1, 7)
    samples = pd.DataFrame(
        {
            "id": [f"s{i:03}" for i in range(n)],
            "subject": [f"p{i % 10}" for i in range(n)],
            "group": [f"p{i % 10}" for i in range(n)],
            "partition": np.repeat(list(SIZES), list(SIZES.values())),
            **{name: y[:, t] for t, name in enumerate(TARGETS)},
        }
    )
    return write_corpus(
        folder,
        name="tiny",
        title="Tiny",
        banner="Tiny corpus for tests",
        synthetic=True,
        source="made up",
        licence="none",
        samples=samples,
        targets={name: TargetInfo(1, 7) for name in TARGETS},
        groups="speaker",
        protocols={"as_published": "partition"},
        views={"main": array_view(x.astype(np.float32), "six numbers")},
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpora") / "tiny")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy systems in place of the real ones."""
    monkeypatch.setattr(affect.systems, "registry", affect.systems.registry)
    engine_fakes.install()


def make_study(rows: tuple[Row, ...], seeds: int = 2, selection_seeds: int = 1) -> Study:
    return Study(
        name="trial_study",
        title="A study for tests",
        paper="none",
        targets=TARGETS,
        metric="ccc",
        scales={"demo": Scale("tiny", rows, seeds, selection_seeds)},
        marks=(Mark("*", rows[0].system),),
        tables=(Table("table_1", "Table", "none"),),
    )


@pytest.fixture
def resolve(corpus: Corpus, toys: None) -> Callable[..., Resolved]:
    """Resolved studies over the toy systems."""

    def make(
        *rows: Row,
        seeds: int = 2,
        selection_seeds: int = 1,
        fractions: tuple[float, ...] = (1.0,),
        overrides: dict[str, float] | None = None,
    ) -> Resolved:
        study = make_study(rows, seeds, selection_seeds)
        return Resolved(
            study=study,
            scale="demo",
            corpus=corpus.facts("as_published"),
            rows=rows,
            label_fractions=fractions,
            seeds=seeds,
            selection_seeds=selection_seeds,
            preset="paper",
            protocol="as_published",
            overrides=overrides or {},
            device="cpu",
        )

    return make


@pytest.fixture
def place(corpus: Corpus) -> Workplace:
    return Workplace("trial_study", "tiny", str(corpus.folder), Provenance("none 1", "abc", False))


@pytest.fixture(scope="session")
def ray_with_toys() -> Iterator[None]:
    """A Ray whose workers know the toy systems."""
    engine_fakes.start_ray()
    yield
    import ray

    ray.shutdown()
