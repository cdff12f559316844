"""Where Optuna's journal lies: one file in a local folder, which optuna-dashboard opens; an object per entry elsewhere."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from affect.engine.files import Folder, LocalFolder

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
            return JournalStorage(JournalFileBackend(str(file)))
        return JournalStorage(Entries(folder / f"{name}.journal"))


def _mend(file: Path) -> None:
    """Take away what a crash may have left: half of a last line, to which the next would be glued, and Optuna's lock."""
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.exists():
        with file.open("r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)


class Entries(BaseJournalBackend):
    """A journal as numbered objects, one per entry: a store that cannot append can always add."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known = [json.loads(folder.read(name)) for name in folder.names("")]

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._known[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        for log in logs:
            self._folder.write(f"{len(self._known):0{DIGITS}}", json.dumps(log).encode())
            self._known.append(log)
