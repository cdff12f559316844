"""Rows of numbers in text files: ARFF as openSMILE writes it, and CSV of one clip. Strict: a bad cell is refused."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from affect.errors import UserError

ID_COLUMNS = ("id", "name", "file", "filename")
"""What the column that names the clip may be called, in lower case."""
NOT_FEATURES = (*ID_COLUMNS, "class", "frametime", "frameindex", "start", "end")
"""Columns that openSMILE writes beside features, in lower case."""
_ATTRIBUTE = re.compile(r"@attribute\s+('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)\s+(\S.*)", re.IGNORECASE)
_NUMERIC = ("numeric", "real", "integer")


@dataclass(frozen=True)
class Rows:
    """A text file of rows: the columns that are features, and the one that names the clip."""

    file: Path
    names: tuple[str, ...]
    """All columns."""
    features: tuple[int, ...]
    """Which of them are numbers that describe a clip."""
    key: int | None
    """Which of them names the clip; None where none does."""
    skip: int
    """Lines before the first row."""
    delimiter: str = ","
    quote: str = "'"

    @property
    def named(self) -> bool:
        """Whether the file names its columns; where it does not, they are called by their numbers."""
        return self.skip > 0

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.names[i] for i in self.features)

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of every row."""
        with _reading(self.file) as stream:
            for _ in range(self.skip):
                stream.readline()
            reader = csv.reader(
                stream, delimiter=self.delimiter, quotechar=self.quote, skipinitialspace=True, strict=True
            )
            for cells in reader:
                line = self.skip + reader.line_num
                if not cells or (len(cells) == 1 and not cells[0].strip()) or cells[0].startswith("%"):
                    continue
                if len(cells) != len(self.names):
                    raise UserError(f"{self.file}: line {line} has {len(cells)} values for {len(self.names)} columns.")
                yield line, cells

    def numbers(self) -> Iterator[np.ndarray]:
        """The features [D] of every row."""
        for line, cells in self.cells():
            wanted = [cells[i] for i in self.features]
            try:
                yield np.array(wanted, np.float64)
            except ValueError:
                column, value = next((c, v) for c, v in zip(self.columns, wanted, strict=True) if not is_number(v))
                raise UserError(f"{self.file}: line {line}, column {column}: {value[:60]!r} is not a number.") from None


def open_arff(file: Path) -> Rows:
    """An ARFF file by its header: numeric attributes are features, string attributes are not."""
    names: list[str] = []
    features: list[int] = []
    with _reading(file) as stream:
        for line, text in enumerate(iter(stream.readline, ""), start=1):
            text = text.strip()
            word = text.split(maxsplit=1)[0].lower() if text else ""
            if word == "@data":
                return Rows(file, tuple(names), tuple(features), key_of(names), line)
            if word.startswith("@attribute"):
                found = _ATTRIBUTE.fullmatch(text)
                if found is None:
                    raise UserError(f"{file}: line {line}: {text[:60]!r} declares no attribute.")
                name = found[1].strip("'\"")
                if found[2].strip().lower() in _NUMERIC and name.lower() not in NOT_FEATURES:
                    features.append(len(names))
                names.append(name)
            elif text and word[0] != "%" and word != "@relation":
                raise UserError(f"{file}: line {line}: {text[:60]!r} has no place in the head of an ARFF file.")
    raise UserError(f"{file}: no ARFF file (the line @data is missing).")


def open_csv(file: Path) -> Rows:
    """A CSV file of one clip: comma, semicolon (openSMILE) or tab between cells; a header of names may be there."""
    with _reading(file) as stream:
        first = stream.readline()
        delimiter = next((sign for sign in (";", "\t") if sign in first), ",")
        names = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True, strict=True), [])
    if all(is_number(name) for name in names):
        every = tuple(map(str, range(len(names))))
        return Rows(file, every, tuple(range(len(names))), None, 0, delimiter, '"')
    features = tuple(i for i, name in enumerate(names) if name.strip().lower() not in NOT_FEATURES)
    # openSMILE quotes the name of a clip as ARFF does.
    return Rows(file, tuple(names), features, key_of(names), 1, delimiter, "'" if delimiter == ";" else '"')


def open_semicolons(file: Path) -> Rows | None:
    """A table of many clips as openSMILE writes it; None where semicolons part no column that names the clips."""
    with _reading(file) as stream:
        names = [name.strip().strip('"') for name in stream.readline().split(";")]
    return None if len(names) < 2 or key_of(names) is None else open_csv(file)


def key_of(names: Sequence[str]) -> int | None:
    """Position of the column that names the clip."""
    lower = [name.strip().lower() for name in names]
    return next((lower.index(name) for name in ID_COLUMNS if name in lower), None)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def _reading(file: Path) -> Iterator[IO[str]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            yield stream
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read ({error}).") from None
