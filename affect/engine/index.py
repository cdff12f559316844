"""A cache of the columns that every start reads: a study of 100,000 trials has as many small files as packs, and each
costs half a millisecond to open. Derived from them, checked against their stamps, and safe to delete."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from affect.engine import parquet
from affect.engine.files import Folder

NAME = ".index"
WORTH = 256
"""Files that it takes before an index is written."""

COLUMNS = (
    *("trial", "pack", "corpus", "protocol", "preset", "system", "system_version", "label_fraction", "seed"),
    *("partition", "target", "metric", "value", "n", "epoch", "status", "search", "suggestion"),
)
STAMP = ["file", "size", "version"]
_STAMP_TYPES = {"file": "str", "size": "int64", "version": "int64"}


def stamps(folder: Folder) -> pd.DataFrame:
    """Name, size and version of the files in `folder`."""
    return pd.DataFrame(folder.stamps(parquet.SUFFIX), columns=STAMP).astype(_STAMP_TYPES)


def read(folder: Folder, current: pd.DataFrame) -> pd.DataFrame:
    """Indexed rows of files that are as they were when indexed; no rows where there is no index."""
    none = pd.DataFrame({name: [] for name in (*COLUMNS, *STAMP)}).astype(_STAMP_TYPES)
    table, _ = parquet.read(folder, [NAME], None, None)
    # An index of another version of this module may lack some columns.
    if table is None or not {*COLUMNS, *STAMP}.issubset(table.column_names):
        return none
    rows = table.select([*COLUMNS, *STAMP]).to_pandas(strings_to_categorical=True, self_destruct=True)
    known = rows[STAMP].drop_duplicates()
    same = known.astype(_STAMP_TYPES).merge(current, on=STAMP)["file"]
    return rows if len(same) == len(known) else rows[rows["file"].isin(same)]


def write(folder: Folder, rows: pd.DataFrame) -> None:
    """Replace the index by `rows`."""
    table = pa.Table.from_pandas(rows[[*COLUMNS, *STAMP]].astype(_STAMP_TYPES), preserve_index=False)
    parquet.write(folder, NAME, table)
