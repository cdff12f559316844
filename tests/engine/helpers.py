"""A tiny corpus, studies over it, and other processes: what several tests of the engine need."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fsspec import AbstractFileSystem

from affect.data.corpus import Corpus
from affect.data.manifest import TargetInfo
from affect.data.writer import array_view, write_corpus
from affect.engine import lease
from affect.study import Mark, Row, Scale, Study, Table

ROOT = Path(__file__).parents[2]
NO_ROWS = pd.DataFrame({name: [] for name in ("trial", "partition", "target", "value", "status")})
GRID = tuple({"alpha": a / 2, "beta": b / 2} for a in range(3) for b in range(3 - a))
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


@dataclass(frozen=True)
class Results:
    """A folder of result folders, looked at and damaged from outside: without the engine, by fsspec alone."""

    uri: str
    filesystem: AbstractFileSystem
    path: str

    def names(self, folder: str) -> list[str]:
        """Names in `folder`, sorted; hidden ones are left out."""
        path = f"{self.path}/{folder}"
        if not self.filesystem.isdir(path):
            return []
        found = sorted(entry.rpartition("/")[2] for entry in self.filesystem.ls(path, detail=False))
        return [name for name in found if name and not name.startswith(".")]

    def read(self, name: str) -> bytes:
        return bytes(self.filesystem.cat_file(f"{self.path}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        self.filesystem.pipe_file(f"{self.path}/{name}", content)

    def remove(self, name: str) -> None:
        self.filesystem.rm_file(f"{self.path}/{name}")

    def has(self, name: str) -> bool:
        return bool(self.filesystem.exists(f"{self.path}/{name}"))

    def contents(self, folder: str) -> dict[str, bytes]:
        return {name: self.read(f"{folder}/{name}") for name in self.names(folder)}

    def frame(self, folder: str) -> pd.DataFrame:
        """All tables of `folder` as one."""
        parts = [pd.read_parquet(io.BytesIO(content)) for content in self.contents(folder).values()]
        return pd.concat(parts, ignore_index=True)


class Silent:
    """A display that shows nothing."""

    def show(self, state: object) -> None:
        return None


def environment() -> dict[str, str]:
    """For processes of our own: they import the tests' modules as this one does, and keep to one core."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


PATIENCE = 900
"""Seconds that a test waits for another process: many times what it takes, for machines differ."""


@contextmanager
def process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own, all of which ends with the block."""
    with subprocess.Popen(command, text=True, start_new_session=True, **options) as started:
        try:
            yield started
        finally:
            kill(started.pid)  # a driver's Ray outlives it


def output_of(started: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process says until it ends, on stdout and on stderr."""
    try:
        return started.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{late}; it said: {late.output!r} {late.stderr!r}") from None


def completed(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in a session of its own, to its end."""
    with process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as started:
        said = output_of(started)
    return subprocess.CompletedProcess(command, started.returncode, *said)


def kill(session: int) -> None:
    """Kill all processes of a session, as losing its machine would, and wait until they are gone."""
    deadline = time.monotonic() + PATIENCE
    while left := living(session):
        assert time.monotonic() < deadline
        for number in left:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.1)


def living(session: int) -> set[int]:
    """Processes of a session (`start_new_session`), whoever their parents are by now. Needs Linux' /proc."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # It ended meanwhile.
            continue
        if int(sid) == session and state != "Z":
            found.add(int(path.parent.name))
    return found


def named(session: int, name: str) -> list[int]:
    """Processes of a session that have `name` in the name of their program. Needs Linux' /proc."""
    found = []
    for number in living(session):
        with suppress(OSError):
            if name in Path(f"/proc/{number}/cmdline").read_text().split("\0")[0]:
                found.append(number)
    return found


def listening(processes: Iterable[int]) -> set[str]:
    """Addresses, in the kernel's hexadecimal, at which `processes` accept connections. Needs Linux' /proc."""
    inodes = set()
    for path in (path for process in processes for path in Path(f"/proc/{process}/fd").glob("*")):
        with suppress(OSError):
            inodes.add(os.readlink(path).removeprefix("socket:[").removesuffix("]"))
    tables = [path.read_text().splitlines()[1:] for path in Path("/proc/net").glob("tcp*")]
    sockets = [line.split() for table in tables for line in table]
    return {local for _, local, _, state, *more in sockets if state == "0A" and more[5] in inodes}


@contextmanager
def another_run(results: str | Path, study: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the results folder of `study`. A new interpreter: a fork of this one would take
    over the locks of its threads."""
    code = "\n".join(
        (
            "import sys",
            "from affect.engine import lease",
            "from affect.engine.store import Store",
            f"lease.BEAT = {lease.BEAT}",
            "with Store(*sys.argv[1:]).locked():",
            "    print('held', flush=True)",
            "    sys.stdin.read()",
        )
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(results), study],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()
