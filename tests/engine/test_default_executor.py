"""The real study on a local Ray, the executor that users get, and on Ray Train, against the same in one process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.helpers import ROOT, environment, listening, living

OPTIONS = (
    *("--systems", "MTL", "Lad+UL+STL", "ridge", "--seeds", "1"),
    *("--set", "epochs=1", "width=16", "alpha=0.3", "beta=0.3"),
)
LOOPBACK = ("0100007F", "0" * 24 + "01000000", "0" * 16 + "FFFF0000" + "0100007F")
"""127.0.0.1, ::1 and ::ffff:127.0.0.1 as /proc/net spells them."""


def start(folder: Path, executor: str, *more: str) -> subprocess.Popen[str]:
    script = [sys.executable, str(ROOT / "studies" / "ladder_ablation.py"), *OPTIONS, "--executor", executor, *more]
    return subprocess.Popen(
        script,
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of the study in one process."""
    folder = tmp_path_factory.mktemp("alone")
    with start(folder, "inline") as driver:
        _, errors = driver.communicate(timeout=240)
    assert driver.returncode == 0, errors
    return folder / "reports" / "ladder_ablation"


@pytest.mark.ray
# Ray Train starts workers for each trial, so it gets few: ladders on it are in test_on_train.py.
@pytest.mark.parametrize(
    "executor",
    [("ray",), ("train", "--workers-per-trial", "2", "--systems", "MTL", "ridge")],
    ids=lambda words: words[0],
)
def test_the_real_study_on_a_local_ray(executor: tuple[str, ...], alone: Path, tmp_path: Path) -> None:
    seen: set[str] = set()
    with start(tmp_path, *executor) as driver:
        while driver.poll() is None:
            if sys.platform == "linux":
                seen |= listening(living(driver.pid))
            time.sleep(0.5)
        assert driver.stderr is not None
        assert driver.returncode == 0, driver.stderr.read()
    if sys.platform == "linux":
        assert seen, "Ray was seen while it ran"
        assert {address for address in seen if not address.startswith(LOOPBACK)} == set()
        patience = time.monotonic() + 10  # A process takes its time to end where others keep the cores busy.
        while living(driver.pid) and time.monotonic() < patience:
            time.sleep(0.1)
        assert living(driver.pid) == set(), "nothing of Ray is left"
    if "2" in executor:  # Workers that share batches sum in another order.
        return
    for name in ("table1.md", "values.csv"):
        assert (tmp_path / "reports" / "ladder_ablation" / name).read_bytes() == (alone / name).read_bytes()
