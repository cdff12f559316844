"""Kill a study's driver, workers and raylet at random moments, again and again: `python -m tests.chaos --kills 30`.

Every second moment is one of the whole run, most of which is Ray's start; the others come just after a pack was stored.
After every kill what is stored must be sound: no row twice, no trial that was not planned, no finished pack changed.
When the study is through, its report must equal that of an undisturbed run, byte for byte; then another study begins,
until enough has been killed. Prints one line per kill; exit status 1 with the first thing found wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pandas as pd

from affect.data.corpus import Corpus
from tests.engine.helpers import environment, make_corpus, named, process
from tests.engine.test_crash import command, contents

SLOWLY = ("--set", "seconds=0.4")
PATIENCE = 300.0
"""Seconds after which a run that was disturbed counts as hanging."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="how often (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the moments and victims (%(default)s)")
    args = parser.parse_args()
    rng, killed, studies = random.Random(args.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        folder = Path(scratch)
        corpus = make_corpus(folder / "tiny")
        started = time.monotonic()
        undisturbed = _run(corpus, folder / "undisturbed")
        seconds = time.monotonic() - started
        while killed.total() < args.kills:
            studies += 1
            _live(corpus, folder / f"study-{studies}", undisturbed, rng, seconds, killed, args.kills)
    total = ", ".join(f"{count} {kind}s" for kind, count in sorted(killed.items()))
    print(f"{killed.total()} kills ({total}) over {studies} studies: nothing lost, nothing doubled, reports identical.")
    return 0


def _started(corpus: Corpus, work: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    silent = subprocess.DEVNULL
    return process(
        command(corpus, str(work / "results"), work, "ray", *SLOWLY), env=environment(), stdout=silent, stderr=silent
    )


def _run(corpus: Corpus, work: Path) -> Path:
    """A run that nobody disturbs."""
    with _started(corpus, work) as driver:
        assert driver.wait(PATIENCE) == 0
    return work


def _live(
    corpus: Corpus, work: Path, undisturbed: Path, rng: random.Random, seconds: float, killed: Counter[str], most: int
) -> None:
    """One study from its first start to its end, with kills in between as long as fewer than `most` are done."""
    before: dict[str, bytes] = {}
    packs = len(_packs(undisturbed))
    while True:
        with _started(corpus, work) as driver:
            if killed.total() == most:
                driver.wait(PATIENCE)
            at_work = rng.random() < 0.5
            least = rng.randint(len(before), packs - 1) + 1 if at_work and len(before) < packs else 0
            _wait(driver, work, least, rng.uniform(0, 1.0) * (1.0 if least else seconds))
            if driver.poll() is None:
                kind = rng.choice(tuple(VICTIMS))
                if kind != "driver" and not VICTIMS[kind](driver):
                    kind = "driver"  # too early for any other
                _kill(kind, driver, rng)
                killed[kind] += 1
                print(f"{killed.total():3} {work.name}: {kind} killed, {len(_packs(work))} packs stored", flush=True)
            done = driver.wait(PATIENCE) == 0
        before = _check(work, undisturbed, before)
        if done:
            break
    assert set(_rows(work)["trial"]) == set(_rows(undisturbed)["trial"]), "a trial is missing"
    assert contents(work / "reports") == contents(undisturbed / "reports"), "the report differs"


def _wait(driver: subprocess.Popen[str], work: Path, packs: int, seconds: float) -> None:
    """Until so many packs are stored, and then so many seconds more, unless the driver ends before."""
    deadline = time.monotonic() + PATIENCE
    while driver.poll() is None and len(_packs(work)) < packs:
        assert time.monotonic() < deadline, "a run hangs"
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):
        driver.wait(seconds)


def _packs(work: Path) -> list[Path]:
    """The stored packs."""
    return sorted((work / "results" / "toys" / "trials").glob("[!.]*.parquet"))


VICTIMS: dict[str, Callable[[subprocess.Popen[str]], list[int]]] = {
    "driver": lambda driver: [driver.pid],
    "worker": lambda driver: named(driver.pid, "ray::_Worker"),
    "raylet": lambda driver: named(driver.pid, "/raylet"),
}


def _kill(kind: str, driver: subprocess.Popen[str], rng: random.Random) -> None:
    with suppress(ProcessLookupError):
        os.kill(rng.choice(VICTIMS[kind](driver)), signal.SIGKILL)


def _rows(work: Path) -> pd.DataFrame:
    files = _packs(work)
    return pd.concat([pd.read_parquet(file) for file in files]) if files else pd.DataFrame({"trial": []})


def _check(work: Path, undisturbed: Path, before: dict[str, bytes]) -> dict[str, bytes]:
    """What is stored is sound; returns the finished packs."""
    rows = _rows(work)
    if len(rows):
        assert not rows.duplicated(["trial", "partition", "target", "metric"]).any(), "a row is there twice"
        assert set(rows["trial"]) <= set(_rows(undisturbed)["trial"]), "a trial that nobody planned"
        assert set(rows["status"]) == {"complete"}, "a trial failed"
    files = {path.name: path.read_bytes() for path in _packs(work)}
    assert {name: files.get(name) for name in before} == before, "a finished pack was changed"
    return files


if __name__ == "__main__":
    sys.exit(main())
