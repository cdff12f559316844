"""Where results come from: package versions and the state of the source, taken once where a study is started."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from affect.engine import job

PACKAGES = ("affect", "torch", "ray", "numpy", "numba", "pandas", "pyarrow", "scikit-learn", "scipy", "optuna")

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("affect", "search_spaces", "studies")
"""Folders in which a file that git does not know may change results; notes beside them do not."""
RECORD = "affect"
"""Key of a job's metadata under which `affect submit` records the provenance of what it sends."""


@dataclass(frozen=True)
class Provenance:
    packages: str
    git_commit: str | None
    """None where the source is not in a git checkout."""
    git_dirty: bool | None
    source_hash: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def provenance(source: Path = ROOT, sent: Iterable[Path] | None = None) -> Provenance:
    """Provenance of the running source, or of the files `sent` to a cluster. Taken by the driver alone: workers may
    run in copies without `.git`. In a job, the commit is the one recorded by `affect submit`."""
    digest = source_hash(source, sent)
    commit, dirty = _recorded(digest) or _checkout(source)
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return Provenance(packages, commit, dirty, digest)


def source_hash(root: Path, files: Iterable[Path] | None = None) -> str:
    """SHA-256 over names and contents of the source below `root`, as far as it is among `files`: the same in a
    checkout and in the copy that a job runs in."""
    if files is None:
        files = (path for name in SOURCES for path in (root / name).rglob("*"))
    digest = sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        folders = name.split("/")
        left_behind = any(part.startswith(".") or part == "__pycache__" for part in folders)
        if folders[0] in SOURCES and not left_behind and path.is_file():
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _recorded(digest: str) -> tuple[str | None, bool | None] | None:
    """Commit and dirtiness as recorded for exactly this source, if they were."""
    record = (job.metadata() or {}).get(RECORD)
    if record is None:
        return None
    found = json.loads(record)
    return (found["git_commit"], found["git_dirty"]) if found["source_hash"] == digest else None


def _checkout(source: Path) -> tuple[str | None, bool | None]:
    """Commit and dirtiness of a git checkout; None, None elsewhere."""
    commit = _git(source, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changed = _git(source, "status", "--porcelain", "--untracked-files=no")
    added = _git(source, "ls-files", "--others", "--exclude-standard", "--", *SOURCES)
    return commit, None if changed is None else bool(changed or added)


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
