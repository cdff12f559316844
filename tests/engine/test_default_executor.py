"""The real study on the executor that users get, a local Ray, against the same in one process."""

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


def start(folder: Path, executor: str) -> subprocess.Popen[str]:
    script = [sys.executable, str(ROOT / "studies" / "ladder_ablation.py"), *OPTIONS, "--executor", executor]
    return subprocess.Popen(
        [*script, "--results", f"results_{executor}", "--reports", f"reports_{executor}"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.ray
def test_the_real_study_on_a_local_ray(tmp_path: Path) -> None:
    seen: set[str] = set()
    with start(tmp_path, "ray") as driver:
        while driver.poll() is None:
            if sys.platform == "linux":
                seen |= listening(living(driver.pid))
            time.sleep(0.2)
        assert driver.stderr is not None
        assert driver.returncode == 0, driver.stderr.read()
    if sys.platform == "linux":
        assert seen, "Ray was seen while it ran"
        assert {address for address in seen if not address.startswith(LOOPBACK)} == set()
        patience = time.monotonic() + 10  # A process takes its time to end where others keep the cores busy.
        while living(driver.pid) and time.monotonic() < patience:
            time.sleep(0.1)
        assert living(driver.pid) == set(), "nothing of Ray is left"
    with start(tmp_path, "inline") as alone:
        _, errors = alone.communicate(timeout=240)
    assert alone.returncode == 0, errors
    for name in ("table1.md", "values.csv"):
        first, second = (tmp_path / f"reports_{name_of}" / "ladder_ablation" / name for name_of in ("ray", "inline"))
        assert first.read_bytes() == second.read_bytes()
