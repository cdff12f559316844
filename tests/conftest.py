"""Random inputs are the same in every run, so that a failure can be repeated (EXPLORE=1 draws new ones); long files first."""

import os

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
if not os.environ.get("EXPLORE"):
    settings.load_profile("repeatable")

# Ray's workers give way to everything else, so the tests beside them would starve them.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (its name)

# Test processes and Ray's share the cores: threads of one product would wait, spinning, for cores that others have.
os.environ["OMP_NUM_THREADS"] = "1"

LONGEST = ("test_readme", "test_executors", "test_search", "test_crash", "test_on_train", "test_cluster")
"""Files that take minutes: they go first, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)
