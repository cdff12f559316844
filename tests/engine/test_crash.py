"""kill -9 in mid-study: the same command finishes, and nobody can tell from the report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from affect.data.corpus import Corpus
from tests.engine.helpers import PATIENCE, ROOT, Results, completed, environment, named, output_of, process

HERE = Path(__file__).parent


def command(corpus: Corpus, results: str, work: Path, executor: str, *more: str) -> list[str]:
    script = [sys.executable, str(HERE / "toy_study.py"), "--corpus", str(corpus.folder), "--executor", executor]
    return [*script, "--results", results, "--reports", str(work / "reports"), *more]


def finish(corpus: Corpus, results: str, work: Path, executor: str, *more: str) -> subprocess.CompletedProcess[str]:
    return completed(command(corpus, results, work, executor, *more), env=environment())


@contextmanager
def started(
    corpus: Corpus, results: Results, work: Path, executor: str, *more: str, packs: int
) -> Iterator[subprocess.Popen[str]]:
    """The command in a process that holds the results and has stored so many packs; ended afterwards."""
    words, silent = command(corpus, results.uri, work, executor, *more), subprocess.DEVNULL
    with process(words, env=environment(), stdout=silent, stderr=silent) as driver:
        deadline = time.monotonic() + PATIENCE
        while not results.has("toys/requests/tiny.json") or len(results.names("toys/trials")) < packs:
            assert time.monotonic() < deadline
            assert driver.poll() is None
            time.sleep(0.02)
        yield driver


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


SLOWLY = ("--set", "seconds=0.3")


@pytest.fixture(scope="module")
def undisturbed(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the study comes to when nobody kills it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = finish(corpus, str(folder / "results"), folder, "inline", *SLOWLY)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("results", "executor"),
    [pytest.param("local", "ray", marks=pytest.mark.ray), ("s3", "inline")],
    indirect=["results"],
)
def test_a_killed_driver(corpus: Corpus, results: Results, undisturbed: Path, tmp_path: Path, executor: str) -> None:
    with started(corpus, results, tmp_path, executor, *SLOWLY, packs=2) as driver:
        driver.kill()
        driver.wait()
        before = results.contents("toys/trials")
        again = finish(corpus, results.uri, tmp_path, executor, *SLOWLY)
    assert again.returncode == 0, again.stderr
    after = results.contents("toys/trials")
    assert {name: after[name] for name in before} == before, "finished packs are kept"
    rows = results.frame("toys/trials")
    assert not rows.duplicated(["trial", "partition", "target", "metric"]).any()
    assert set(rows["trial"]) == set(pd.read_parquet(undisturbed / "results" / "toys" / "trials")["trial"])
    assert contents(tmp_path / "reports") == contents(undisturbed / "reports")


@pytest.mark.ray
def test_a_kill_at_a_random_moment() -> None:
    chaos = completed([sys.executable, "-m", "tests.chaos", "--kills", "1"], env=environment(), cwd=ROOT)
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    assert "nothing lost, nothing doubled, reports identical" in chaos.stdout


@pytest.mark.ray
def test_a_lost_raylet_ends_the_run_and_the_next_one_goes_on(corpus: Corpus, undisturbed: Path, tmp_path: Path) -> None:
    results = str(tmp_path / "results")
    words = command(corpus, results, tmp_path, "ray", *SLOWLY)
    with process(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver:
        deadline = time.monotonic() + PATIENCE
        while not named(driver.pid, "ray::_Worker"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for raylet in named(driver.pid, "/raylet"):
            os.kill(raylet, signal.SIGKILL)
        _, said = output_of(driver)
    assert driver.returncode != 0
    assert "Traceback" not in said
    assert finish(corpus, results, tmp_path, "inline", *SLOWLY).returncode == 0
    assert contents(tmp_path / "reports") == contents(undisturbed / "reports")


@pytest.mark.parametrize("executor", [pytest.param("ray", marks=pytest.mark.ray), "inline"])
def test_a_driver_that_is_told_to_end_says_so(corpus: Corpus, tmp_path: Path, executor: str) -> None:
    """`kill`, a queue's time limit, `ray job stop`."""
    words = command(corpus, str(tmp_path / "results"), tmp_path, executor, "--set", "seconds=2")
    with process(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver:
        deadline = time.monotonic() + PATIENCE
        while not list(tmp_path.glob("results/toys/trials/*.parquet")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.terminate()
        _, said = output_of(driver)
    assert driver.returncode == 130
    sentence = "toy_study.py: interrupted; what was finished is kept, and the same command goes on."
    assert said.splitlines()[-1] == sentence
    assert "SIGTERM" not in said, "Ray prints a stack"


def test_two_runs_at_once(corpus: Corpus, results: Results, tmp_path: Path) -> None:
    with started(corpus, results, tmp_path / "a", "inline", "--set", "seconds=100", packs=0):
        second = finish(corpus, results.uri, tmp_path / "b", "inline")
    assert second.returncode == 2
    refusal = second.stderr.splitlines()[-1]
    assert f"{results.uri}/toys: is in use by another run" in refusal
    assert "Traceback" not in second.stderr
    assert not (tmp_path / "b").exists()


def test_a_time_limit_then_the_rest(corpus: Corpus, results: Results, tmp_path: Path) -> None:
    first = finish(corpus, results.uri, tmp_path, "inline", *SLOWLY, "--max-minutes", "0.02")
    assert first.returncode == 3, first.stderr
    assert (tmp_path / "reports" / "toys" / "table_1.md").exists(), "what exists is reported"
    second = finish(corpus, results.uri, tmp_path, "inline", *SLOWLY)
    assert second.returncode == 0, second.stderr
    assert not results.frame("toys/trials").duplicated(["trial", "partition", "target"]).any()
