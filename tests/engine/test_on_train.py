"""Ray Train: the same losses and rows whatever shares a batch, and checkpoints that are gone on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest

from affect.engine.executors import Executor, Inline
from affect.engine.on_ray import STILLBORN, OnRay, _Gone
from affect.engine.on_train import OnTrain
from affect.engine.results import Workplace
from affect.engine.scratch import Scratch
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row
from tests.engine.engine_fakes import notes
from tests.engine.helpers import environment
from tests.engine.test_executors import go

pytestmark = pytest.mark.ray

Resolve = Callable[..., Resolved]
LADDER = {"epochs": 5, "batch_size": 32, "width": 8, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def two_workers(ray_with_toys: None) -> Iterator[Executor]:
    """One trial on two workers, saved after every epoch. They stand for all tests, and have all cores of their Ray."""
    executor = OnTrain("cpu", workers=2, seconds=0.0)
    with executor.standing():
        yield executor


def values_of(rows: pd.DataFrame) -> np.ndarray:
    keys = ["partition", "target", "seed"]
    return rows.astype(dict.fromkeys(keys, "str")).sort_values(keys)["value"].to_numpy()


def test_a_ladder_is_the_same_on_every_executor(
    resolve: Resolve, ray_with_toys: None, place: Workplace, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    executors: dict[str, Callable[[], Executor]] = {
        "inline": Inline,
        "ray": lambda: OnRay("cpu", slots=1),
        "train1": lambda: OnTrain("cpu", slots=1),
        "train2": lambda: request.getfixturevalue("two_workers"),
    }
    losses, values = {}, {}
    for name, executor in executors.items():
        folder = tmp_path / name
        folder.mkdir()
        resolved = resolve(Row("ladder", (LADDER | {"folder": str(folder)},)), seeds=1)
        summary, rows = go(resolved, executor(), folder, place)
        assert summary.left == 0
        values[name] = values_of(rows)
        losses[name] = np.array([note["losses"] for note in notes(folder, 0)[:10]])
        assert bool(notes(folder, 1)) == (name == "train2")
    assert losses["inline"].shape == (10, 2, 1), "ten steps of two updates"
    for name in ("ray", "train1"):
        np.testing.assert_array_equal(losses[name], losses["inline"])
        np.testing.assert_array_equal(values[name], values["inline"])
    np.testing.assert_allclose(losses["train2"], losses["inline"], rtol=1e-5)
    np.testing.assert_allclose(values["train2"], values["inline"], atol=1e-3)


def test_a_worker_killed_in_mid_trial_is_retried_from_its_checkpoint(
    resolve: Resolve, two_workers: Executor, place: Workplace, tmp_path: Path
) -> None:
    resolved = resolve(Row("ladder", (LADDER | {"folder": str(tmp_path), "seconds": 0.2},)), seeds=1)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            time.sleep(0.05)
            killed.extend([note["pid"] for note in notes(tmp_path, 1) if note["epoch"] == 3][:1])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary, rows = go(resolved, two_workers, tmp_path / "results", place)
    thread.join()
    assert (summary.left, summary.failed) == (0, ())
    for worker in (0, 1):
        began: dict[int, int] = {}
        for note in notes(tmp_path, worker):
            began.setdefault(note["pid"], note["epoch"])
        assert list(began.values()) in ([0, 2], [0, 3]), "the second try begins at a checkpoint"
    assert set(rows["status"]) == {"complete"}
    assert rows["trial"].nunique() == 1
    assert not rows.duplicated(["trial", "partition", "target"]).any()
    undisturbed = resolve(Row("ladder", (LADDER | {"folder": str(tmp_path)},)), seeds=1)
    _, reference = go(undisturbed, Inline(), tmp_path / "undisturbed", place)
    np.testing.assert_allclose(values_of(rows), values_of(reference), atol=1e-3)


def test_a_worker_that_fails_alone_does_not_leave_the_others_waiting(
    resolve: Resolve, two_workers: Executor, place: Workplace, tmp_path: Path
) -> None:
    resolved = resolve(Row("toy", ({"fault": "lone"},)), Row("other"), seeds=1)
    summary, rows = go(resolved, two_workers, tmp_path, place)
    assert [message for _, message in summary.failed] == ["ArithmeticError: only here"]
    status = rows.drop_duplicates("trial").set_index("system")["status"]
    assert dict(status) == {"toy": "failed", "other": "complete"}


def test_a_killed_run_leaves_its_folder_to_the_next(tmp_path: Path) -> None:
    code = "\n".join(
        (
            "import os, sys",
            "from pathlib import Path",
            "from affect.engine.scratch import Scratch",
            "(Scratch(Path(sys.argv[1])).path / 'checkpoint').touch()",
            "os.kill(os.getpid(), 9)",
        )
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment(), check=False)
    assert len(list(tmp_path.rglob("checkpoint"))) == 1
    mine = Scratch(tmp_path)
    other = Scratch(tmp_path)
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {mine.path, other.path}
    mine.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "found"),
    [
        *(("127.0.0.1", "lo"), ("127.0.0.3", "lo"), ("::1", "lo")),
        *(("192.0.2.7", "eth1"), ("2001:db8::7", "eth1"), ("192.0.2.8", None), ("head", None)),
    ],
)
def test_the_interface_that_other_nodes_reach(
    address: str, found: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ray

    from affect.engine import rendezvous

    own = {"lo": ["127.0.0.1"], "eth0": ["192.0.2.6"], "eth1": ["192.0.2.7", "2001:db8::7"]}
    interfaces = {name: [SimpleNamespace(address=each) for each in addresses] for name, addresses in own.items()}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: address)
    monkeypatch.setattr(rendezvous, "LOOPBACK", "lo")
    monkeypatch.setattr(rendezvous.dist, "init_process_group", lambda *_: None)
    config = rendezvous.FileConfig(folder=str(tmp_path))
    for one_node in (False, True):
        for name in rendezvous.INTERFACES:
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        rendezvous._join(0, 2, tmp_path / "group", config, one_node)
        told = [os.environ.get(name) for name in rendezvous.INTERFACES]
        assert told == (["lo", "lo"] if one_node else [found, None])


def test_workers_that_end_while_others_work_end_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer gives up where there is no room for it, and another takes its place in the queue."""
    executor = OnTrain("cpu", slots=2)
    hired: list[int] = []
    monkeypatch.setattr(executor, "_hire", lambda: hired.append(1))
    monkeypatch.setattr(executor, "_answer", lambda ref: _Gone("lost", "worker lost: no room"))
    executor._idle = ["first"]
    for _ in range(2 * STILLBORN):
        executor._welcome("ref", "second")
    assert len(hired) == 2 * STILLBORN
    executor._idle = []
    with pytest.raises(UserError, match=r"Ray's workers end while they start \(worker lost: no room\)"):
        executor._welcome("ref", "second")


def test_trainers_that_the_cluster_has_no_room_for(ray_with_toys: None) -> None:
    executor = OnTrain("cpu", slots=2, workers=2)
    executor._starting = {"second": None}
    assert executor._more_to_come()
    executor._idle = ["first"]
    assert not executor._more_to_come(), "two CPUs are one trainer of two workers"


def test_more_workers_than_there_will_ever_be(ray_with_toys: None, place: Workplace) -> None:
    executor = OnTrain("cpu", workers=3)
    with pytest.raises(UserError, match=r"--workers-per-trial 3: one trial takes 3 CPUs, and Ray has 2\."):
        executor.start(place, lambda share: None)
