"""Where results come from: packages and the state of a git checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from affect.engine.provenance import provenance


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "affect").mkdir()
    (tmp_path / "affect" / "a.py").write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return tmp_path


def test_packages_that_results_depend_on() -> None:
    named = {part.split()[0] for part in provenance().packages.split(", ")}
    assert {"torch", "numpy", "numba", "scikit-learn", "optuna"} <= named


@pytest.mark.parametrize(
    ("path", "dirty"), [("notes.txt", False), ("affect/a.py", True), ("affect/new.py", True), ("studies/mine.py", True)]
)
def test_a_checkout_is_dirty_where_its_source_differs(checkout: Path, path: str, dirty: bool) -> None:
    clean = provenance(checkout)
    assert clean.git_dirty is False
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("2")
    found = provenance(checkout)
    assert (found.git_commit, found.git_dirty) == (clean.git_commit, dirty)


def test_no_checkout_has_no_commit(tmp_path: Path) -> None:
    found = provenance(tmp_path)
    assert (found.git_commit, found.git_dirty) == (None, None)
