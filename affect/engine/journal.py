"""Where Optuna's journal lies: one file in a local folder, which optuna-dashboard opens; an object per entry elsewhere."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from affect.engine.files import Folder, LocalFolder
from affect.engine.objects import ObjectFolder
from affect.errors import UserError

DIGITS = 9
"""Names of entries are numbers of so many digits, so that listings have them in order."""


def open_journal(folder: Folder, name: str) -> BaseStorage:
    """The storage in journal `name` of `folder`, made if absent. The folder must be this run's alone (`Folder.lock`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if isinstance(folder, LocalFolder):
            file = folder.path / f"{name}.journal"
            folder.path.mkdir(parents=True, exist_ok=True)
            _mend(file)
            return JournalStorage(JournalFileBackend(str(file), _Unlocked(str(file))))
        entries = folder / f"{name}.journal"
        assert isinstance(entries, ObjectFolder)
        return JournalStorage(Entries(entries))


def _mend(file: Path) -> None:
    """Take away half of a last line that a crash may have left, to which the next would be glued."""
    if file.exists():
        with file.open("r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)


class _Unlocked(JournalFileOpenLock):
    """No lock, as the folder is this run's alone: one of Optuna's that an interrupt leaves behind is waited for."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class Entries(BaseJournalBackend):
    """A journal as numbered objects: a store that cannot append can always add. Two runs cannot add the same number."""

    def __init__(self, folder: ObjectFolder) -> None:
        self._folder = folder
        names = folder.names("")
        self._objects = len(names)
        self._known = [log for source in folder.contents(names) for log in json.loads(source)]

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._known[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        name, content = f"{self._objects:0{DIGITS}}", json.dumps(logs).encode()
        try:
            self._folder.create(name, content)
        except FileExistsError:
            # It may have arrived although its answer did not; entries say who made them.
            if self._folder.read(name) != content:
                raise UserError(f"{self._folder}: was added to by another run; this one stops.") from None
        self._objects += 1
        self._known += logs
