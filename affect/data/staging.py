"""A folder that appears whole or not at all: written under a hidden sibling name, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affect.errors import UserError


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, gone at the end whatever happens, with the parents it needed if it fails."""
    made = [parent for parent in folder.absolute().parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
        # Locked before it takes the name under which another writer would sweep it away.
        lock = _lock(fresh)
        partial = fresh.rename(fresh.with_name(fresh.name.replace(".new-", ".partial-")))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}).") from None
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if lock is not None:
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Hold an exclusive lock on a folder for as long as the descriptor is open; None when another process does."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(folder: Path) -> None:
    """Remove what a killed writer of `folder` left behind: its hidden folders that no living process holds."""
    for left in folder.parent.glob(f".{folder.name}.partial-*"):
        with contextlib.suppress(OSError):
            lock = _lock(left)
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def publish(partial: Path, folder: Path, overwrite: bool) -> None:
    """Give the whole corpus its name; the one it replaces is moved aside first and then removed."""
    partial.chmod(0o755)
    aside = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex}")
    if overwrite and folder.exists():
        folder.rename(aside)
    try:
        partial.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise UserError(f"{folder}: came into being meanwhile; it is left as it is.") from None
    sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
