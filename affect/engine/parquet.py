"""Many small Parquet files of a folder as one table, with every checksum verified."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from affect.engine.files import Folder

SUFFIX = ".parquet"
MAGIC = b"PAR1"

AT_ONCE = 1024
"""Files read together: what comes from an object store is in memory meanwhile."""

_OPTIONS = ds.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=False)
_FORMAT = ds.ParquetFileFormat(default_fragment_scan_options=_OPTIONS)


def write(folder: Folder, name: str, table: pa.Table) -> None:
    """Create or replace a file, whole."""
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    folder.write(f"{name}{SUFFIX}", content.getvalue())


def read(
    folder: Folder, names: Sequence[str], schema: pa.Schema | None, columns: Sequence[str] | None
) -> tuple[pa.Table | None, list[str]]:
    """Columns (None: all) of the files that can be read, and the names of those that cannot.

    Without a schema every file is asked for its own, and columns that it lacks are null. None where there is no file.
    """
    tables, damaged = [], []
    for batch in (names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)):
        sources = dict(zip(batch, folder.sources([f"{name}{SUFFIX}" for name in batch]), strict=True))
        try:
            tables.append(_read(list(sources.values()), schema, columns))
        except (OSError, pa.ArrowException):
            bad = [name for name, source in sources.items() if not _readable(source)]
            if not bad:
                raise
            damaged += bad
            whole = [source for name, source in sources.items() if name not in bad]
            tables += [_read(whole, schema, columns)] if whole else []
    return (pa.concat_tables(tables, promote_options="permissive") if tables else None), damaged


def cut_short(folder: Folder, names: Sequence[str]) -> list[str]:
    """Those of the files that lack their first or last bytes: cheap enough to be asked at every start."""
    ends = folder.ends([f"{name}{SUFFIX}" for name in names], len(MAGIC))
    return [name for name, found in zip(names, ends, strict=True) if found != (MAGIC, MAGIC)]


def _read(sources: Sequence[str | pa.Buffer], schema: pa.Schema | None, columns: Sequence[str] | None) -> pa.Table:
    fragments = [_fragment(source) for source in sources]
    if schema is None:
        schema = pa.unify_schemas([fragment.physical_schema for fragment in fragments], promote_options="permissive")
    dataset = ds.FileSystemDataset(fragments, schema, _FORMAT)
    return dataset.to_table(columns=None if columns is None else list(columns))


def _fragment(source: str | pa.Buffer) -> ds.Fragment:
    return _FORMAT.make_fragment(source, pyarrow.fs.LocalFileSystem() if isinstance(source, str) else None)


def _readable(source: str | pa.Buffer) -> bool:
    try:
        _fragment(source).to_table()
    except (OSError, pa.ArrowException):
        return False
    return True
