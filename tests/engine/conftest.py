from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import affect.systems
from affect.data.corpus import Corpus
from affect.engine.provenance import Provenance
from affect.engine.work import Workplace
from affect.study import Resolved, Row
from tests.engine import engine_fakes
from tests.engine.helpers import make_corpus, make_study


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpora") / "tiny")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy systems in place of the real ones."""
    monkeypatch.setattr(affect.systems, "registry", affect.systems.registry)
    engine_fakes.install()


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
