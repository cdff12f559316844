"""Reading what people have: CSV, TSV, Parquet and NPY, strictly. Whatever is malformed ends in a `UserError`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

from affect.data.checks import shown
from affect.errors import UserError

BLOCK_ROWS = 4096
CSV_BLOCK_BYTES = 16 << 20
"""A line longer than this is refused: 100,000 columns of numbers fit."""


def read_array(file: Path) -> np.ndarray:
    """The numbers of an .npy file as a memory map [N, ...]; never unpickles."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file.") from None
    except Exception as error:  # Malformed headers raise whatever numpy's parser of them stumbles over.
        raise UserError(f"{file}: not a readable .npy file ({_line(error)}).") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{file}: an .npz archive; give an .npy file.")
    if array.dtype.kind not in "fiub":
        raise UserError(f"{file}: holds {array.dtype}, not real numbers.")
    if array.ndim == 0:
        raise UserError(f"{file}: holds a single number, not rows.")
    return array


@dataclass(frozen=True)
class Table:
    """A CSV, TSV or Parquet file whose first line or schema names its columns."""

    file: Path
    columns: tuple[str, ...]

    @property
    def is_parquet(self) -> bool:
        return self.file.suffix.lower() == ".parquet"

    def need(self, column: str) -> str:
        """`column`, refused when the file lacks it."""
        if column not in self.columns:
            shown = ", ".join(self.columns[:12]) + (", ..." if len(self.columns) > 12 else "")
            raise UserError(f"{self.file}: column {column} is missing; it has {shown}.")
        return column

    def strings(self, columns: Sequence[str]) -> dict[str, list[str]]:
        """Whole columns as strings; an empty string where there is nothing."""
        found: dict[str, list[str]] = {column: [] for column in columns}
        for batch in self._batches(columns, pa.string()):
            for column in found:
                values = batch.column(batch.schema.get_field_index(column))
                found[column] += ["" if value is None else _text(value) for value in self._values(values, column)]
        return found

    def _values(self, values: pa.Array, column: str) -> list[Any]:
        try:
            return values.to_pylist()
        except UnicodeDecodeError:  # Parquet files need not hold what their schema calls text.
            raise UserError(f"{self.file}: column {column} holds text that is not UTF-8.") from None

    def column_floats(self, column: str, ids: Sequence[str]) -> np.ndarray:
        """One whole column [N] as float64, NaN where a cell is empty; `ids` name the rows in errors."""
        blocks = [block[:, 0] for block in self.numbers([column], ids)]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def numbers(self, columns: Sequence[str], ids: Sequence[str]) -> Iterator[np.ndarray]:
        """Blocks [n, len(columns)] of float64; NaN where a cell is empty. A cell that is no number is refused."""
        row = 0
        for batch in self._batches(columns, pa.string()):
            block = np.empty((batch.num_rows, len(columns)))
            for i, column in enumerate(columns):
                values = batch.column(batch.schema.get_field_index(column))
                block[:, i] = self._floats(values, column, ids[row : row + batch.num_rows])
            yield block
            row += batch.num_rows

    def _floats(self, values: pa.Array, column: str, ids: Sequence[str]) -> np.ndarray:
        try:
            if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                values = pa.compute.utf8_trim_whitespace(values)
                values = pa.compute.if_else(pa.compute.equal(values, ""), None, values)
            return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowException:
            for sample, value in zip(ids, self._values(values, column), strict=False):
                if value is not None and not _is_number(value):
                    raise UserError(
                        f"{self.file}: column {column}, row {shown(sample)}: {value!r} is not a number."
                    ) from None
            raise UserError(f"{self.file}: column {column} holds {values.type}, not plain numbers.") from None

    def _batches(self, columns: Sequence[str], kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        wanted = list(dict.fromkeys(columns))
        try:
            if self.is_parquet:
                with pq.ParquetFile(self.file) as file:
                    yield from file.iter_batches(batch_size=BLOCK_ROWS, columns=wanted)
            else:
                convert = pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, kind), include_columns=wanted, strings_can_be_null=False
                )
                with _open_csv(self.file, convert) as reader:
                    yield from reader
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(f"{self.file}: cannot be read as a table ({_line(error)}).") from None


def open_table(file: Path) -> Table:
    """The table in `file`; its columns are known, its rows are read later."""
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise UserError(f"{file}: the name must end in .csv, .tsv or .parquet.")
    try:
        if suffix == ".parquet":
            names = pq.read_schema(file).names
        else:
            with _open_csv(file, pyarrow.csv.ConvertOptions()) as reader:
                names = reader.schema.names
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file.") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as a table ({_line(error)}).") from None
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{file}: column {name!r} occurs twice.")
    return Table(file, tuple(names))


def _open_csv(file: Path, convert: pyarrow.csv.ConvertOptions) -> pyarrow.csv.CSVStreamingReader:
    return pyarrow.csv.open_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=CSV_BLOCK_BYTES, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t" if file.suffix.lower() == ".tsv" else ",", newlines_in_values=True
        ),
        convert_options=convert,
    )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _text(value: Any) -> str:
    """A Parquet value as text: whole floats (the usual disguise of integer ids) without their point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 200 else text[:197] + "...") or type(error).__name__
