"""A run's own folder below one that other runs and machines may share.

It goes when the run ends, and with the next run on the same machine when it was killed: the system has released its lock
by then. Folders of other machines are left alone, for not every shared file system tells of their locks.
"""

from __future__ import annotations

import platform
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

PREFIX = "affect-train-"
PATIENCE = 10.0
"""Seconds to wait for the lock of a folder that nobody else uses: whoever clears up may hold it for a moment."""


class Scratch:
    """A new folder in `parent`, by default where temporary ones go."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        mine = f"{PREFIX}{platform.node()}-"
        _clear(parent, mine)
        self.path = parent / f"{mine}{secrets.token_hex(4)}"
        self._lock = FileLock(_lock_of(self.path))
        self._lock.acquire(timeout=PATIENCE)
        self.path.mkdir(mode=0o700)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        _lock_of(self.path).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _clear(parent: Path, prefix: str) -> None:
    """Remove what runs have left that were killed; what belongs to other users stays."""
    for lock in parent.glob(f"{prefix}*.lock"):
        with suppress(OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_name(lock.name.removesuffix(".lock")), ignore_errors=True)
            lock.unlink(missing_ok=True)
