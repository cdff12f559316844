"""A cache of the columns that every start reads: a study of 100,000 trials has as many small files as packs, and each
costs half a millisecond to open. Derived from them, checked against their size and time, and safe to delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from affect.engine import files

NAME = ".index.parquet"
WORTH = 256
"""Files that it takes before an index is written."""

COLUMNS = (
    *("trial", "pack", "corpus", "system", "system_version", "label_fraction", "seed"),
    *("partition", "target", "value", "n", "epoch", "status", "search", "suggestion"),
)
STAMP = ["file", "size", "time"]
_STAMP_TYPES = {"file": "str", "size": "int64", "time": "int64"}


def stamps(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """File, size and time of the `names` in `folder`."""
    found = [(folder / f"{name}.parquet").stat() for name in names]
    columns = {"file": list(names), "size": [s.st_size for s in found], "time": [s.st_mtime_ns for s in found]}
    return pd.DataFrame(columns).astype(_STAMP_TYPES)


def read(folder: Path, current: pd.DataFrame) -> pd.DataFrame:
    """Indexed rows of files that are as they were when indexed; no rows where there is no index."""
    try:
        rows = pq.read_table(folder / NAME, page_checksum_verification=True).to_pandas(strings_to_categorical=True)
        rows = rows[[*COLUMNS, *STAMP]]  # An index of another version of this module may lack some.
        known = rows[STAMP].drop_duplicates()
    except (OSError, KeyError, pa.ArrowException):
        return pd.DataFrame({name: [] for name in (*COLUMNS, *STAMP)}).astype(_STAMP_TYPES)
    same = known.astype(_STAMP_TYPES).merge(current, on=STAMP)["file"]
    return rows if len(same) == len(known) else rows[rows["file"].isin(same)]


def write(folder: Path, rows: pd.DataFrame) -> None:
    """Replace the index by `rows`."""
    table = pa.Table.from_pandas(rows[[*COLUMNS, *STAMP]].astype(_STAMP_TYPES), preserve_index=False)
    files.write_whole(
        folder / NAME, lambda path: pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    )
