"""The real study on a local Ray, the executor that users get, and on Ray Train, against the same in one process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.helpers import PATIENCE, ROOT, environment, listening, living, process

OPTIONS = (
    *("--systems", "MTL", "Lad+UL+STL", "ridge", "--seeds", "1"),
    *("--set", "epochs=1", "width=16", "alpha=0.3", "beta=0.3"),
)
LOOPBACK = ("0100007F", "0" * 24 + "01000000", "0" * 16 + "FFFF0000" + "0100007F")
"""127.0.0.1, ::1 and ::ffff:127.0.0.1 as /proc/net spells them."""


@contextmanager
def start(folder: Path, executor: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    script = [sys.executable, str(ROOT / "studies" / "ladder_ablation.py"), *OPTIONS, "--executor", executor, *more]
    with (
        (folder / "errors").open("w") as said,  # not a pipe, which fills up where nobody reads it
        process(script, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=said) as driver,
    ):
        yield driver


def errors(folder: Path) -> str:
    return (folder / "errors").read_text()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of the study in one process."""
    folder = tmp_path_factory.mktemp("alone")
    with start(folder, "inline") as driver:
        assert driver.wait(PATIENCE) == 0, errors(folder)
    return folder / "reports" / "ladder_ablation"


@pytest.mark.ray
# Ray Train takes long to start, so it gets few trials: ladders on it are in test_on_train.py.
@pytest.mark.parametrize(
    "executor",
    [("ray",), ("train", "--workers-per-trial", "2", "--systems", "MTL", "ridge")],
    ids=lambda words: words[0],
)
def test_the_real_study_on_a_local_ray(executor: tuple[str, ...], alone: Path, tmp_path: Path) -> None:
    seen: set[str] = set()
    with start(tmp_path, *executor) as driver:
        deadline = time.monotonic() + PATIENCE
        while driver.poll() is None:
            assert time.monotonic() < deadline, errors(tmp_path)
            if sys.platform == "linux":
                seen |= listening(living(driver.pid))
            time.sleep(0.5)
        assert driver.returncode == 0, errors(tmp_path)
        deadline = time.monotonic() + 60  # A process takes its time to end where others keep the cores busy.
        while sys.platform == "linux" and living(driver.pid):
            assert time.monotonic() < deadline, "something of Ray is left"
            time.sleep(0.1)
    if sys.platform == "linux":
        assert seen, "Ray was seen while it ran"
        assert {address for address in seen if not address.startswith(LOOPBACK)} == set()
    if "2" in executor:  # Workers that share batches sum in another order.
        return
    for name in ("table1.md", "values.csv"):
        assert (tmp_path / "reports" / "ladder_ablation" / name).read_bytes() == (alone / name).read_bytes()


def test_the_real_study_killed_in_its_middle_reports_the_same(alone: Path, tmp_path: Path) -> None:
    with start(tmp_path, "inline") as driver:
        deadline = time.monotonic() + PATIENCE
        while not list(tmp_path.glob("results/ladder_ablation/trials/*.parquet")):
            assert time.monotonic() < deadline, errors(tmp_path)
            assert driver.poll() is None, errors(tmp_path)
            time.sleep(0.02)
        driver.kill()
    with start(tmp_path, "inline") as driver:
        assert driver.wait(PATIENCE) == 0, errors(tmp_path)
    killed = tmp_path / "reports" / "ladder_ablation"
    files = {path.name for path in alone.iterdir()}
    assert {path.name for path in killed.iterdir()} == files
    assert all((killed / name).read_bytes() == (alone / name).read_bytes() for name in files)
