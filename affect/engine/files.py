"""Where results lie: folders of whole files, each visible entirely or not at all. Here is what a folder can do, and the
local one; `affect.engine.objects` has the one on object stores, and nothing else of the engine knows file systems."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import pyarrow as pa
from filelock import FileLock, Timeout

from affect.errors import UserError
from affect.files import TEMPORARY, write_whole, writing

GLANCE = 1.0
"""Seconds to wait for a lock: whoever looks whether a folder is in use holds it for a moment."""

Guard = Callable[[], None]
"""UserError where the folder is no longer this run's."""


class Stamp(NamedTuple):
    """A file's name, its size, and a number that changes with its content."""

    name: str
    size: int
    version: int


class Folder(ABC):
    """A folder, which need not exist. Names that begin with a dot are not listed; as a string it is what users call it."""

    lasting: ClassVar[bool]
    """Whether a file that was whole once needs no second look."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def parent(self) -> Self: ...

    @abstractmethod
    def __truediv__(self, name: str) -> Self:
        """The folder `name` in this one."""

    @abstractmethod
    def check(self) -> None:
        """UserError where no such folder can be. Writes nothing."""

    @abstractmethod
    def lock(self, warn: Callable[[str], None]) -> AbstractContextManager[Guard]:
        """Hold the folder, created if needed, for this run alone. UserError where another run holds it."""

    @abstractmethod
    def make(self, names: Sequence[str]) -> None:
        """Create the folders `names` in this one, and remove what an interrupted writer left. Only while locked."""

    @abstractmethod
    def names(self, suffix: str) -> list[str]:
        """Names of what is here, without `suffix`, sorted; none where the folder is missing."""

    @abstractmethod
    def stamps(self, suffix: str) -> list[Stamp]:
        """Stamps of the files here; their names as in `names`."""

    @abstractmethod
    def written(self, suffix: str) -> dict[str, float]:
        """File (as in `names`) → Unix time at which it was written; NaN where that is not known."""

    @abstractmethod
    def in_use(self) -> bool:
        """Whether a run holds the folder now."""

    @abstractmethod
    def has(self, name: str) -> bool: ...

    @abstractmethod
    def read(self, name: str) -> bytes:
        """FileNotFoundError where there is none."""

    @abstractmethod
    def sources(self, names: Sequence[str]) -> list[str | pa.Buffer]:
        """Files for pyarrow to read: local paths, or contents. One that is missing reads as damaged."""

    @abstractmethod
    def ends(self, names: Sequence[str], length: int) -> list[tuple[bytes, bytes]]:
        """First and last bytes of files."""

    @abstractmethod
    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Create or replace a file: after any crash it is whole or as it was."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file that may be missing."""

    @abstractmethod
    def move(self, name: str, goal: Self) -> None:
        """Move a file to the folder `goal`, created if needed."""


@dataclass(frozen=True)
class LocalFolder(Folder):
    """A folder of this machine's file system."""

    lasting: ClassVar[bool] = False

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def parent(self) -> Self:
        return type(self)(self.path.parent)

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.path / name)

    def check(self) -> None:
        check_folder(self.path)

    @contextmanager
    def lock(self, warn: Callable[[str], None]) -> Iterator[Guard]:
        """The system releases the lock however the holder ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=GLANCE)
        except Timeout:
            raise UserError(f"{self}: is in use by another run; wait for it or use another --results.") from None
        except OSError as error:
            raise UserError(f"{self}: cannot be written to ({error.strerror or error}).") from None
        try:
            yield lambda: None
        finally:
            lock.release()

    def make(self, names: Sequence[str]) -> None:
        for left in self.path.rglob(f"{TEMPORARY}*"):
            left.unlink(missing_ok=True)
        for name in names:
            (self.path / name).mkdir(exist_ok=True)

    def names(self, suffix: str) -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted(
            entry.name.removesuffix(suffix)
            for entry in os.scandir(self.path)
            if entry.name.endswith(suffix) and not entry.name.startswith(".")
        )

    def stamps(self, suffix: str) -> list[Stamp]:
        names = self.names(suffix)
        found = [(self.path / f"{name}{suffix}").stat() for name in names]
        return [Stamp(name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, found, strict=True)]

    def written(self, suffix: str) -> dict[str, float]:
        return {stamp.name: stamp.version / 1e9 for stamp in self.stamps(suffix)}

    def in_use(self) -> bool:
        if not (self.path / ".lock").exists():
            return False
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # A folder that one may only read: by whom it is used cannot be told.
            return False
        lock.release()
        return False

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def sources(self, names: Sequence[str]) -> list[str | pa.Buffer]:
        return [str(self.path / name) for name in names]

    def ends(self, names: Sequence[str], length: int) -> list[tuple[bytes, bytes]]:
        return [_ends(self.path / name, length) for name in names]

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        with writing(self.path / name):
            write_whole(self.path / name, content)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def move(self, name: str, goal: Self) -> None:
        goal.path.mkdir(parents=True, exist_ok=True)
        os.replace(self.path / name, goal.path / name)


def check_folder(folder: Path) -> None:
    """Refuse a folder whose place, or that of one above it, is taken by a file, or whose name no file system takes."""
    with writing(folder):
        for path in (folder, *folder.parents):
            if path.exists() and not path.is_dir():
                raise UserError(f"{path}: is a file where a folder is needed.")


def make_folder(folder: Path) -> None:
    """Create `folder`, so that a place that cannot be written to is known before anything is trained for it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _ends(path: Path, length: int) -> tuple[bytes, bytes]:
    with path.open("rb") as stream:
        head = stream.read(length)
        stream.seek(max(0, path.stat().st_size - length))
        return head, stream.read(length)
