from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec.core import url_to_fs

import affect.systems
from affect.data.corpus import Corpus
from affect.engine import lease
from affect.engine.provenance import Provenance
from affect.engine.results import Workplace
from affect.resolved import Resolved
from affect.study import Row
from tests.engine import engine_fakes
from tests.engine.helpers import PATIENCE, Results, make_corpus, make_study


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
    return Workplace("trial_study", "tiny", str(corpus.folder), Provenance("none 1", "abc", False, "0" * 64))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[None]:
    """A server of S3 on this machine, as `AWS_ENDPOINT_URL` in the environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "tests")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            yield
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def s3_results(s3_server: None) -> Results:
    """Results in a new bucket."""
    bucket = f"bucket-{uuid4()}"
    filesystem, path = url_to_fs(f"s3://{bucket}/some/results", use_listings_cache=False)
    filesystem.mkdir(bucket)
    return Results(f"s3://{bucket}/some/results", filesystem, path)


@pytest.fixture(params=["local", "s3"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Results:
    """Results on each kind of file system."""
    if request.param == "s3":
        found: Results = request.getfixturevalue("s3_results")
        return found
    filesystem, path = url_to_fs(str(tmp_path / "results"), auto_mkdir=True)
    return Results(str(tmp_path / "results"), filesystem, path)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of object stores that are found out in seconds."""
    for name, seconds in (("BEAT", 0.2), ("POLL", 0.1), ("LEASE", 4.0)):
        monkeypatch.setattr(lease, name, seconds)


@pytest.fixture(scope="session")
def ray_with_toys() -> Iterator[None]:
    """A Ray whose workers know the toy systems."""
    engine_fakes.start_ray()
    yield
    import ray

    ray.shutdown()
