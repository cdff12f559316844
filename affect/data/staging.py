"""A folder that appears whole or not at all: written under a hidden sibling name, then renamed."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affect.errors import UserError
from affect.files import sync_folder, writing


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, gone at the end whatever happens, with the parents it needed if it fails.

    `UserError` where the system refuses to write, then or while the folder is in use.
    """
    made: list[Path] = []
    partial: Path | None = None
    lock: int | None = None
    try:
        with writing(folder):
            made += [parent for parent in folder.absolute().parents if not parent.exists()]
            folder.parent.mkdir(parents=True, exist_ok=True)
            restore(folder)
            _sweep(folder)
            fresh = partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
            # Locked before it takes the name under which another writer would sweep it away.
            lock = _lock(fresh)
            partial = fresh.rename(fresh.with_name(fresh.name.replace(".new-", ".partial-")))
            yield partial
    finally:
        if partial is not None:
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


def restore(folder: Path) -> None:
    """Give `folder` back to the corpus that a writer had moved aside when it was killed."""
    for left in _hidden(folder, "replaced"):
        with contextlib.suppress(OSError):
            lock = _lock(left)
            if lock is not None:
                if not folder.exists():
                    left.rename(folder)
                os.close(lock)


def _sweep(folder: Path) -> None:
    """Remove what a killed writer of `folder` left behind: its hidden folders that no living process holds."""
    replaced = _hidden(folder, "replaced") if folder.exists() else []
    for left in [*_hidden(folder, "partial"), *replaced]:
        with contextlib.suppress(OSError):
            lock = _lock(left)
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _hidden(folder: Path, kind: str) -> list[Path]:
    return list(folder.parent.glob(f".{glob.escape(folder.name)}.{kind}-*"))


def publish(partial: Path, folder: Path, overwrite: bool) -> None:
    """Give the whole corpus its name; the one it replaces is moved aside first and then removed.

    Killed between the two, a writer leaves the old one under a name that `restore` knows, locked until it ends.
    """
    partial.chmod(0o755)
    aside = folder.with_name(f".{folder.name}.replaced-{uuid.uuid4().hex}")
    lock = None
    if overwrite and folder.exists():
        lock = _lock(folder)
        folder.rename(aside)
    try:
        partial.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise UserError(f"{folder}: came into being meanwhile; it is left as it is.") from None
    finally:
        if lock is not None:
            os.close(lock)
    sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
