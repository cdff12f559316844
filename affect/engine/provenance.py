"""Where results come from: package versions and the state of the source, taken once where a study is started."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("affect", "torch", "ray", "numpy", "numba", "pandas", "pyarrow", "scikit-learn", "scipy")

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("affect", "search_spaces", "studies")
"""Folders in which a file that git does not know may change results; notes beside them do not."""


@dataclass(frozen=True)
class Provenance:
    packages: str
    git_commit: str | None
    """None where the source is not in a git checkout."""
    git_dirty: bool | None


def provenance(source: Path = ROOT) -> Provenance:
    """Provenance of the running source. Taken by the driver alone: workers may run in copies without `.git`."""
    commit = _git(source, "rev-parse", "HEAD")
    status = _git(source, "status", "--porcelain", "--untracked-files=no") if commit else None
    added = _git(source, "ls-files", "--others", "--exclude-standard", "--", *SOURCES) if commit else None
    return Provenance(
        packages=", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name))),
        git_commit=commit,
        git_dirty=None if status is None else bool(status or added),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(source: Path, *arguments: str) -> str | None:
    # A package installed into some other project's environment is not described by that project's commit.
    if not (source / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
