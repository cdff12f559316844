"""The contract of executors: same trials, same rows, isolated failures."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from affect.command import write_report
from affect.engine.evidence import evidence
from affect.engine.executors import Executor, Inline, local_slots, out_of_memory
from affect.engine.on_ray import OnRay
from affect.engine.on_train import OnTrain
from affect.engine.results import Workplace
from affect.engine.run import Summary, run
from affect.engine.store import Store
from affect.resolved import Resolved
from affect.study import Row
from tests.engine.helpers import GRID, Silent

Resolve = Callable[..., Resolved]


RAY, TRAIN = (pytest.param(name, marks=pytest.mark.ray) for name in ("ray", "train"))


@pytest.fixture(scope="module", params=["inline", RAY, TRAIN])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Workers stand for all tests of a kind, whatever became of them in the last."""
    if request.param == "inline":
        yield Inline()
        return
    request.getfixturevalue("ray_with_toys")
    found = OnRay("cpu", slots=2) if request.param == "ray" else OnTrain("cpu", slots=1)
    with found.standing():
        yield found


mortal = pytest.mark.parametrize("executor", [RAY, TRAIN], indirect=True)
"""Executors whose workers can die without this process."""


def go(resolved: Resolved, executor: Executor, results: Path, place: Workplace) -> tuple[Summary, pd.DataFrame]:
    store = Store(str(results), resolved.study.name)
    with store.locked():
        summary = run(resolved, store, executor, place, Silent())
    return summary, store.trials()


def report_of(resolved: Resolved, results: Path, reports: Path) -> dict[str, bytes]:
    """The files of the report made from `results`."""
    store = Store(str(results), resolved.study.name)
    folder = write_report(resolved, evidence(resolved, store), reports, Console(quiet=True))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stripped(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["trial", "partition", "target"]
    kept = frame.drop(columns=["wall_seconds", "pack", "pack_size"])
    names = {name: "str" for name, kind in kept.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    return kept.astype(names).sort_values(keys, ignore_index=True)


def test_same_trials_and_same_rows(resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", GRID), Row("other"), seeds=3, fractions=(1.0, 0.5))
    summary, rows = go(resolved, executor, tmp_path / "a", place)
    assert summary.left == 0
    _, reference = go(resolved, Inline(), tmp_path / "b", place)
    pd.testing.assert_frame_equal(stripped(rows), stripped(reference), check_exact=True)


def test_failures_are_isolated(resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path) -> None:
    candidates = ({"alpha": 1.0, "beta": 0.0}, {"alpha": 0.0, "beta": 1.0, "fault": "error"}, {"alpha": 0, "beta": 0})
    summary, rows = go(resolve(Row("toy", candidates)), executor, tmp_path, place)
    assert dict(rows.groupby("status", observed=True)["trial"].nunique()) == {"complete": 4, "failed": 2}
    assert {message.split(":")[0] for _, message in summary.failed} == {"ArithmeticError"}


def test_out_of_memory_halves(resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path) -> None:
    summary, rows = go(resolve(Row("toy", ({"fault": "memory"},)), seeds=4), executor, tmp_path, place)
    assert summary.trained == 4
    assert set(rows["status"]) == {"complete"}
    assert set(rows["pack_size"]) == {1}


def test_probes_that_fail_are_guessed(resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path) -> None:
    faults = ("none", "probe_error", "probe_memory", "probe_endless")
    candidates = tuple({"fault": fault, "width": width} for width, fault in enumerate(faults, 1))
    summary, rows = go(resolve(Row("toy", candidates), seeds=4, selection_seeds=4), executor, tmp_path, place)
    assert summary.left == 0
    sizes = dict(rows.groupby("hp_fault", observed=True)["pack_size"].max())
    assert sizes == {"none": 4 // executor.slots, "probe_error": 1, "probe_memory": 1, "probe_endless": 1}


def after_deaths_in_measuring(
    resolve: Resolve, executor: Executor, place: Workplace, folder: Path, fault: str
) -> set[int]:
    """Pack sizes of four trials alike."""
    resolved = resolve(Row("toy", ({"fault": fault, "folder": str(folder)},)), seeds=4)
    summary, rows = go(resolved, executor, folder / "results", place)
    assert (folder / "killed").exists()
    assert summary.left == 0
    return set(rows["pack_size"])


@mortal
def test_a_worker_that_dies_while_it_measures(
    resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path
) -> None:
    sizes = after_deaths_in_measuring(resolve, executor, place, tmp_path, "probe_kill_once")
    assert sizes == {4 // executor.slots}


@pytest.mark.parametrize("executor", [RAY], indirect=True)  # Trainers, which start slowly, count deaths the same way.
def test_sizes_are_guessed_where_workers_always_die(
    resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path
) -> None:
    assert after_deaths_in_measuring(resolve, executor, place, tmp_path, "probe_kill") == {1}


@mortal
def test_a_dying_worker_costs_one_try(resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path) -> None:
    candidates = ({"fault": "kill_once", "folder": str(tmp_path)},)
    resolved = resolve(Row("toy", candidates), Row("other"), seeds=4)
    summary, rows = go(resolved, executor, tmp_path / "results", place)
    assert (tmp_path / "killed").exists()
    assert summary.left == 0
    assert set(rows["status"]) == {"complete"}
    assert not rows.duplicated(["trial", "partition", "target"]).any()


@mortal
def test_a_trial_that_always_kills_its_worker_fails_alone(
    resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path
) -> None:
    candidates = ({"fault": "kill", "folder": str(tmp_path)},)
    resolved = resolve(Row("toy", candidates), Row("other"), seeds=1)
    summary, rows = go(resolved, executor, tmp_path / "results", place)
    assert len(summary.failed) == 1
    assert "worker lost" in summary.failed[0][1]
    assert "3 tries" in summary.failed[0][1]
    status = rows.drop_duplicates("trial").set_index("system")["status"]
    assert dict(status) == {"toy": "failed", "other": "complete"}


@mortal
def test_a_worker_killed_from_outside(resolve: Resolve, executor: Executor, place: Workplace, tmp_path: Path) -> None:
    resolved = resolve(Row("toy", ({"seconds": 1.5, "folder": str(tmp_path)},)), seeds=12)
    marker = tmp_path / "pid"

    def kill() -> None:
        while not marker.exists():
            time.sleep(0.05)
        os.kill(int(marker.read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary, rows = go(resolved, executor, tmp_path / "results", place)
    thread.join()
    assert summary.left == 0
    assert rows["trial"].nunique() == 12
    assert not rows.duplicated(["trial", "partition", "target"]).any()
    go(resolved, Inline(), tmp_path / "undisturbed", place)
    disturbed = report_of(resolved, tmp_path / "results", tmp_path / "reports")
    assert disturbed == report_of(resolved, tmp_path / "undisturbed", tmp_path / "other_reports")


@pytest.mark.ray
def test_the_time_limit_holds_while_no_worker_comes(
    resolve: Resolve, ray_with_toys: None, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This Ray has no GPU, so it has none that is free."""
    monkeypatch.setattr("affect.engine.on_ray.PATIENCE", 60.0)
    store, started = Store(str(tmp_path), "trial_study"), time.monotonic()
    with store.locked():
        summary = run(resolve(Row("toy", GRID)), store, OnRay("cuda", slots=1), place, Silent(), max_minutes=0.03)
    assert summary.stopped
    assert summary.left == len(summary.plan.trials) + summary.plan.waiting
    assert time.monotonic() - started < 30


def test_slots_where_cores_of_our_own_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert local_slots("cpu") == 3


def test_what_counts_as_out_of_memory() -> None:
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not out_of_memory(RuntimeError("shapes differ"))
