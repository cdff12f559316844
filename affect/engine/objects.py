"""A folder on an object store, where a put is whole by nature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, ClassVar, Self

import pyarrow as pa
from fsspec import AbstractFileSystem

from affect.engine import lease
from affect.engine.files import Folder, Guard, Stamp
from affect.errors import UserError


@dataclass(frozen=True)
class ObjectFolder(Folder):
    """The objects of which the keys begin with `path` and a slash. Whatever a server refuses is a UserError."""

    lasting: ClassVar[bool] = True

    filesystem: AbstractFileSystem
    """One that keeps no listings."""
    path: str

    def __str__(self) -> str:
        return str(self.filesystem.unstrip_protocol(self.path))

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Self:
        return type(self)(self.filesystem, self.path.rpartition("/")[0])

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.filesystem, f"{self.path}/{name}")

    def check(self) -> None:
        """UserError where the server, the bucket or the right to look into it is missing."""
        with self._reached():
            try:
                self.filesystem.ls(self.path, detail=True)
            except FileNotFoundError as error:
                # With a cause it is what the server said, of the bucket; otherwise nothing is there yet.
                if error.__cause__ is not None:
                    raise

    def lock(self, warn: Callable[[str], None]) -> AbstractContextManager[Guard]:
        """Others see within `affect.engine.lease.LEASE` seconds that a holder is dead."""
        return lease.held(self / ".lock", str(self), warn)

    def make(self, names: Sequence[str]) -> None:
        """Nothing: keys need no folders, and an interrupted put leaves no trace."""

    def names(self, suffix: str) -> list[str]:
        return sorted(name.removesuffix(suffix) for name in self._entries(suffix))

    def stamps(self, suffix: str) -> list[Stamp]:
        found = self._entries(suffix).items()
        return sorted(Stamp(name.removesuffix(suffix), entry["size"], _version(entry)) for name, entry in found)

    def written(self, suffix: str) -> dict[str, float]:
        return {name.removesuffix(suffix): _time(entry) for name, entry in self._entries(suffix).items()}

    def in_use(self) -> bool:
        return lease.is_held(self / ".lock")

    def has(self, name: str) -> bool:
        with self._reached():
            return bool(self.filesystem.exists(self._key(name)))

    def read(self, name: str) -> bytes:
        with self._reached(FileNotFoundError):
            return bytes(self.filesystem.cat_file(self._key(name)))

    def sources(self, names: Sequence[str]) -> list[str | pa.Buffer]:
        return [pa.py_buffer(content) for content in self.contents(names)]

    def contents(self, names: Sequence[str]) -> list[bytes]:
        """Files, many of them fetched at once; one that is missing is empty."""
        keys = [self._key(name) for name in names]
        with self._reached():
            found = self.filesystem.cat_ranges(keys, [0] * len(keys), [None] * len(keys), on_error="return")
        together = zip(names, found, strict=True)
        return [self._alone(name) if isinstance(part, Exception) else part for name, part in together]

    def ends(self, names: Sequence[str], length: int) -> list[tuple[bytes, bytes]]:
        entries = self._entries("")
        # An empty object has no part that could be asked for.
        sizes = {name: size for name in names if name in entries and (size := entries[name]["size"])}
        keys = [self._key(name) for name in sizes]
        starts = [max(0, size - length) for size in sizes.values()]
        with self._reached():
            heads = self.filesystem.cat_ranges(keys, [0] * len(keys), [length] * len(keys), on_error="raise")
            tails = self.filesystem.cat_ranges(keys, starts, list(sizes.values()), on_error="raise")
        found = dict(zip(sizes, zip(heads, tails, strict=True), strict=True))
        return [found.get(name, (b"", b"")) for name in names]

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        with self._reached():
            self.filesystem.pipe_file(self._key(name), bytes(content))

    def create(self, name: str, content: bytes) -> None:
        """Write a file that must not exist: FileExistsError where it does, for all but one of several at once."""
        with self._reached(FileExistsError):
            try:
                self.filesystem.pipe_file(self._key(name), content, mode="create")
            except OSError as error:
                # Not every server says in the same words that the object exists.
                if not self.has(name):
                    raise
                raise FileExistsError(self._key(name)) from error

    def remove(self, name: str) -> None:
        with self._reached(), suppress(FileNotFoundError):
            self.filesystem.rm_file(self._key(name))

    def move(self, name: str, goal: Self) -> None:
        with self._reached():
            self.filesystem.cp_file(self._key(name), goal._key(name))
            self.filesystem.rm_file(self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _entries(self, suffix: str) -> dict[str, dict[str, Any]]:
        """What the server tells of the objects here, and of the folders."""
        with self._reached():
            try:
                listed = self.filesystem.ls(self.path, detail=True)
            except FileNotFoundError:
                return {}
        found = {entry["name"].rstrip("/"): entry for entry in listed}
        named = {key.rpartition("/")[2]: entry for key, entry in found.items() if key != self.path}
        return {name: entry for name, entry in named.items() if name.endswith(suffix) and not name.startswith(".")}

    def _alone(self, name: str) -> bytes:
        """What could not be had with others: nothing where it is missing, or has no bytes to ask for."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return b""

    @contextmanager
    def _reached(self, *answers: type[Exception]) -> Iterator[None]:
        """Whatever goes wrong as one sentence, but the errors that are `answers`."""
        try:
            yield
        except Exception as error:
            if isinstance(error, (UserError, *answers)):
                raise
            raise UserError(f"{self}: cannot be reached ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _time(entry: Mapping[str, Any]) -> float:
    """Servers have several names for it."""
    when = next((entry[key] for key in ("LastModified", "updated", "mtime", "created") if key in entry), None)
    return when.timestamp() if isinstance(when, datetime) else math.nan


def _version(entry: Mapping[str, Any]) -> int:
    """From all that the server tells of an object, such as its digest and time."""
    told = str(sorted((name, str(value)) for name, value in entry.items()))
    return int.from_bytes(sha256(told.encode()).digest()[:8], "big", signed=True)
