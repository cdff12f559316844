"""kill -9 in mid-study: the same command finishes, and nobody can tell from the report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from affect.data.corpus import Corpus
from tests.engine.helpers import environment, living

HERE = Path(__file__).parent


def command(corpus: Corpus, work: Path, executor: str, *more: str) -> list[str]:
    script = [sys.executable, str(HERE / "toy_study.py"), "--corpus", str(corpus.folder), "--executor", executor]
    return [*script, "--results", str(work / "results"), "--reports", str(work / "reports"), *more]


def finish(corpus: Corpus, work: Path, executor: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(corpus, work, executor, *more), env=environment(), capture_output=True, text=True, timeout=240
    )


def rows_in(work: Path) -> pd.DataFrame:
    return pd.read_parquet(work / "results" / "toys" / "trials")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def end(driver: subprocess.Popen[bytes]) -> None:
    """End what a driver has left, which is the Ray that it started: its session outlives it."""
    driver.kill()
    driver.wait()
    for process in living(driver.pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while living(driver.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_killed_driver(corpus: Corpus, tmp_path: Path, executor: str, request: pytest.FixtureRequest) -> None:
    slowly = ("--set", "seconds=0.3")
    undisturbed, killed = tmp_path / "a", tmp_path / "b"
    done = finish(corpus, undisturbed, "inline", *slowly)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        command(corpus, killed, executor, *slowly),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    request.addfinalizer(partial(end, process))
    trials = killed / "results" / "toys" / "trials"
    deadline = time.monotonic() + 120
    while not (trials.exists() and len(list(trials.glob("[!.]*"))) >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = contents(trials)
    again = finish(corpus, killed, executor, *slowly)
    assert again.returncode == 0, again.stderr
    after = contents(trials)
    assert {name: after[name] for name in before if name.endswith(".parquet")} == {
        name: content for name, content in before.items() if name.endswith(".parquet") and not name.startswith(".")
    }, "finished packs are kept"
    rows = rows_in(killed)
    assert not rows.duplicated(["trial", "partition", "target", "metric"]).any()
    assert set(rows["trial"]) == set(rows_in(undisturbed)["trial"])
    assert contents(killed / "reports") == contents(undisturbed / "reports")


def test_a_time_limit_then_the_rest(corpus: Corpus, tmp_path: Path) -> None:
    slowly = ("--set", "seconds=0.3")
    first = finish(corpus, tmp_path, "inline", *slowly, "--max-minutes", "0.02")
    assert first.returncode == 3, first.stderr
    assert (tmp_path / "reports" / "toys" / "table_1.md").exists(), "what exists is reported"
    second = finish(corpus, tmp_path, "inline", *slowly)
    assert second.returncode == 0, second.stderr
    assert not rows_in(tmp_path).duplicated(["trial", "partition", "target"]).any()
