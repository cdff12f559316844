"""What `affect submit` checks and sends, and what a job knows of itself: without a cluster."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from affect.command import main
from affect.data import twin
from affect.data.corpus import Corpus
from affect.data.manifest import MANIFEST
from affect.engine import job, loopback
from affect.engine.provenance import RECORD, Provenance, provenance, source_hash
from affect.engine.submit import _follow, absolute_arguments, files_sent, refuse_too_large, submit
from affect.engine.work import open_task
from affect.errors import UserError
from affect.trial import TaskSpec
from tests.engine import toy_study
from tests.engine.helpers import ROOT, completed, environment


@contextmanager
def dashboard(status: int) -> Iterator[tuple[str, list[str]]]:
    """A dashboard that answers every request of a stranger with `status`, and the requests that it got."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"{self.command} {self.path}")
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a study in it."""
    (tmp_path / "project" / "studies").mkdir(parents=True)
    (tmp_path / "project" / "studies" / "mine.py").write_text("")
    return tmp_path / "project"


def affect_submit(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from affect.cli import main; main()", "submit", *options, "studies/mine.py"]
    return completed(command, cwd=folder, env={**environment(), **variables})


def refused(project: Path, address: str, study: str = "studies/mine.py") -> str:
    with pytest.raises(UserError) as caught:
        submit(str(project / study), (), address=address, folder=project, allow_open=False, follow=True)
    return str(caught.value)


def test_an_open_cluster_gets_nothing(project: Path) -> None:
    with dashboard(200) as (address, requests):
        assert refused(project, address).startswith(f"--address {address}: asks for no token, so anyone")
    assert requests == ["GET /api/version"]


def test_a_folder_too_large_is_not_sent(project: Path, tmp_path: Path) -> None:
    (project / "data").mkdir()
    with (project / "data" / "large.npy").open("wb") as file:
        file.truncate(150 * 1024**2)
    (tmp_path / "token").write_text("secret")
    with dashboard(401) as (address, requests):
        done = affect_submit(project, "--address", address, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert done.returncode == 2
    assert done.stderr == (
        f"affect: {project}: 150.0 MiB would be sent, and Ray takes 100 MiB; leave out with a .rayignore what the job "
        "does not need, the largest being data (150.0 MiB), studies (0.0 MiB).\n"
    )
    assert requests == ["GET /api/version"]
    (project / ".rayignore").write_text("/data/\n")
    refuse_too_large(project, files_sent(project))


def test_a_token_is_needed(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with dashboard(401) as (address, requests):
        expected = f"--address {address}: asks for a token, and there is none in RAY_AUTH_TOKEN or {tmp_path}/token."
        assert refused(project, address) == expected
    assert requests == ["GET /api/version"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://ray-head:8265", True),
        ("10.0.0.1:8265", True),
        ("https://ray-head", False),
        ("http://[::1]:8265", False),
    ],
)
def test_a_token_is_not_shown_on_the_way(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, shown: bool
) -> None:
    monkeypatch.setattr("affect.engine.submit._lets_everybody_in", lambda address: False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    sentence = refused(project, address)
    assert ("http would show our token to everyone on the way" in sentence) is shown
    assert ("there is none in RAY_AUTH_TOKEN" in sentence) is not shown


def test_no_dashboard(project: Path) -> None:
    assert refused(project, "127.0.0.1:1").startswith("--address http://127.0.0.1:1: no dashboard of a Ray cluster")
    with dashboard(404) as (address, _):
        assert refused(project, address) == f"--address {address}: is not the dashboard of a Ray cluster (status 404)."


def test_a_study_lies_in_what_is_sent(project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("")
    assert "is not in" in refused(project, "127.0.0.1:1", "../outside.py")
    assert refused(project, "127.0.0.1:1", "studies/no.py").endswith("no.py: no such study.")


def test_places_become_absolute(corpus: Corpus, tmp_path: Path) -> None:
    own = ["--seeds", "2", "--set", "epochs=1", "width=8"]
    assert absolute_arguments([*own, "--results", "out"], tmp_path) == [
        *own,
        *("--results", str(tmp_path / "out"), "--reports", str(tmp_path / "reports")),
    ]
    kept = ["--results", "s3://bucket/results", "--reports", "/shared/reports"]
    assert absolute_arguments(kept, tmp_path) == kept
    saved = absolute_arguments([*kept, "--checkpoints", "saved"], tmp_path)
    assert saved == [*kept, "--checkpoints", str(tmp_path / "saved")]
    found = absolute_arguments([*kept, "--corpus", corpus.folder.name], corpus.folder.parent)
    assert found == [*kept, "--corpus", str(corpus.folder)]
    (tmp_path / "corpora").symlink_to(corpus.folder.parent)
    assert absolute_arguments([*kept, "--corpus", "tiny"], tmp_path)[-1] == str(corpus.folder.resolve())
    assert absolute_arguments([*kept, "--corpus", "podcast-twin-demo"], tmp_path)[-1] == "podcast-twin-demo"
    with pytest.raises(UserError, match="expected one argument"):
        absolute_arguments(["--results"], tmp_path)


def test_what_is_sent_of_this_project() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files_sent(ROOT)}
    published = {path.relative_to(ROOT).as_posix() for path in (ROOT / "reports" / "published").iterdir()}
    assert published <= names, "reports are built where the job runs"
    assert {"affect/engine/submit.py", "studies/ladder_ablation.py", "search_spaces/ladder.py"} <= names
    assert not [name for name in names if name.startswith((".git/", "results/")) or "__pycache__" in name]
    assert os.access(ROOT / "studies" / "ladder_ablation.py", os.X_OK)


class Job:
    """A job server's client with one job that ends as it is told."""

    def __init__(self, status: str, code: int | None = None, interruption: BaseException | None = None) -> None:
        self.details = SimpleNamespace(
            status=SimpleNamespace(is_terminal=lambda: True), driver_exit_code=code, message=status
        )
        self.interruption = interruption

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield f"a line of {job}\n"
        if self.interruption is not None:
            raise self.interruption

    def get_job_info(self, job: str) -> SimpleNamespace:
        return self.details


@pytest.mark.parametrize(("code", "status"), [(0, 0), (3, 3), (-9, 1), (None, 1)])
def test_a_job_is_followed_to_its_exit_status(code: int | None, status: int, capsys: pytest.CaptureFixture) -> None:
    assert _follow(Job("the node is gone", code), "j1", "http://host") == status
    told = capsys.readouterr()
    assert told.out == "a line of j1\n"
    assert ("did not end by itself: the node is gone" in told.err) == (code is None)


def test_following_may_stop_and_the_job_goes_on(capsys: pytest.CaptureFixture) -> None:
    assert _follow(Job("", 0, KeyboardInterrupt()), "j1", "http://host") == 130
    assert "goes on; `ray job logs --follow --address http://host j1` follows it again" in capsys.readouterr().err
    with pytest.raises(
        UserError, match=r"job j1 is out of sight \(closed\); `ray job status --address http://host j1`"
    ):
        _follow(Job("", 0, RuntimeError("closed")), "j1", "http://host")


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Make this process look like a job that was submitted with some metadata."""

    def become(metadata: dict[str, str]) -> None:
        monkeypatch.setenv(job.CONFIG, json.dumps({"runtime_env": {}, "metadata": metadata}))

    return become


def test_a_job_knows_where_its_code_comes_from(in_job: Callable[[dict[str, str]], None], project: Path) -> None:
    digest = source_hash(project)
    in_job({RECORD: Provenance("none 1", "abc", True, digest).to_json()})
    found = provenance(project)
    assert (found.git_commit, found.git_dirty, found.source_hash) == ("abc", True, digest)
    assert found.packages == provenance().packages, "those that trained"
    (project / "studies" / "mine.py").write_text("changed")
    changed = provenance(project)
    assert changed.git_commit is None, "the commit was recorded of other source"
    assert changed.source_hash not in (digest, "")


def test_the_source_hash_is_that_of_what_is_sent(project: Path) -> None:
    digest = source_hash(project)
    (project / "notes.txt").write_text("no source")
    (project / "studies" / "__pycache__").mkdir()
    (project / "studies" / "__pycache__" / "mine.pyc").write_text("no source")
    assert source_hash(project) == source_hash(project, files_sent(project)) == digest
    (project / "studies" / "more.py").write_text("")
    assert source_hash(project) == source_hash(project, files_sent(project)) != digest
    (project / "studies" / ".rayignore").write_text("more.py\n")
    assert source_hash(project, files_sent(project)) == digest


def test_places_that_a_job_would_lose(
    in_job: Callable[[dict[str, str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    job.refuse_lost({"--results": "results"})
    in_job({})
    job.refuse_lost({"--results": "/shared/results", "--reports": "s3://bucket/reports"})
    with pytest.raises(UserError, match=r"^--reports reports: would be lost with this job's copy of the code"):
        job.refuse_lost({"--results": "/shared/results", "--reports": "reports"})
    with pytest.raises(SystemExit):
        main(toy_study.STUDY, ["--results", "/shared/results", "--reports", "/shared/reports", "--checkpoints", "."])
    assert "--checkpoints .: would be lost with this job's copy of the code" in capsys.readouterr().err


@pytest.mark.parametrize("asks_for_token", [True, False])
def test_who_may_join(asks_for_token: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        if asks_for_token:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return b""

    class Everything(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Everything()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    assert not loopback.is_open(address), "nobody else reaches it"
    monkeypatch.setattr(loopback, "_loopback_only", lambda address: False)
    assert loopback.is_open(address) is not asks_for_token
    server.stop(None)


def test_a_cluster_that_does_not_answer_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    monkeypatch.setattr(loopback, "SECONDS", 1.0)
    monkeypatch.setattr(loopback, "_loopback_only", lambda address: False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match=r"did not say whether it asks for a token \(\w+\); try again"):
            loopback.is_open(address)
        monkeypatch.setenv("RAY_USE_TLS", "1")
        assert not loopback.is_open(address)


def test_a_node_makes_the_twin_that_it_lacks(tmp_path: Path) -> None:
    facts = twin.twin_facts("podcast-twin-demo", "as_published", ("arousal",))
    spec = TaskSpec(facts.fingerprint, facts.view, ("arousal",), "ccc", "as_published", 1.0)
    folder = tmp_path / "job" / "corpora" / "podcast-twin-demo"
    assert open_task(str(folder), spec).fit_data(0).y_labelled.shape[1] == 1
    assert (folder / MANIFEST).is_file()


def test_a_corpus_that_a_node_lacks(tmp_path: Path) -> None:
    spec = TaskSpec("0" * 64, "main", ("arousal",), "ccc", "as_published", 1.0)
    with pytest.raises(UserError) as caught:
        open_task(str(tmp_path / "mine"), spec)
    expected = f"on node {platform.node()}: {tmp_path / 'mine'}: no corpus here (manifest.json is missing)."
    assert str(caught.value) == expected
