"""Results on disk: immutable Parquet files, one per pack, in a folder that one run at a time may write to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from filelock import BaseFileLock, FileLock, Timeout

from affect import schema
from affect.engine import files, index, requests
from affect.engine.packs import Pack, pack_id
from affect.engine.work import PackResult
from affect.errors import UserError
from affect.study import Resolved, SearchRecord, Trial

TABLES = ("predictions", "curves", "trials")
"""In the order of writing: the file of `trials` commits a pack."""

MARKER = "study.json"
MAGIC = b"PAR1"


@dataclass(frozen=True)
class Membership:
    """A pack as it was stored when first planned."""

    trials: tuple[str, ...]
    split_of: str | None

    @property
    def id(self) -> str:
        return pack_id(self.trials)


def _warn(sentence: str) -> None:
    print(f"affect: {sentence}", file=sys.stderr)


class Store:
    """The results of one study, `<uri>/<study>/`. Reading needs no lock; writing happens inside `locked()`."""

    def __init__(self, uri: str, study: str, warn: Callable[[str], None] = _warn) -> None:
        parent = files.local_folder(uri)
        self.study = study
        self.folder = parent / study
        self.warn = warn
        self.quarantined = 0
        """Files that were moved away by this object."""
        self._writing = False
        if (parent / MARKER).exists():
            raise UserError(
                f"{parent}: is the results folder of study {_study_of(parent)}; give the folder that it lies in."
            )
        files.check_folder(self.folder)
        try:
            self._check_study()
        except PermissionError as error:
            raise UserError(f"{self.folder}: cannot be read ({error.strerror}).") from None

    @classmethod
    def at(cls, folder: str, warn: Callable[[str], None] = _warn) -> Store:
        """The store in an existing results folder (`results/<study>`)."""
        path = files.local_folder(folder)
        if not (path / MARKER).exists():
            raise UserError(f"{path}: no results here ({MARKER} is missing).")
        if path.name != _study_of(path):
            raise UserError(f"{path / MARKER}: names study {_study_of(path)}, but the folder is called {path.name}.")
        return cls(str(path.parent), path.name, warn)

    def _check_study(self) -> None:
        if (self.folder / MARKER).exists():
            found = _study_of(self.folder)
            if found != self.study:
                raise UserError(f"{self.folder / MARKER}: these are results of study {found}, not of {self.study}.")
        elif self.folder.exists() and any(not entry.name.startswith(".") for entry in self.folder.iterdir()):
            raise UserError(f"{self.folder}: is not a results folder ({MARKER} is missing) and not empty.")

    @contextmanager
    def locked(self) -> Iterator[Store]:
        """Hold the folder for writing, creating it if needed. The system releases the lock however the holder ends."""
        lock = self._acquired()
        try:
            self._writing = True
            self._check_study()
            files.remove_temporaries(self.folder)
            for name in (*TABLES, "packs", "requests"):
                (self.folder / name).mkdir(exist_ok=True)
            marker = {"study": self.study, "schema": schema.VERSION}
            if not (self.folder / MARKER).exists():
                files.write_text(self.folder / MARKER, json.dumps(marker) + "\n")
            self._quarantine_truncated()
            yield self
            self.rows()
        finally:
            self._writing = False
            lock.release()

    def _acquired(self) -> BaseFileLock:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.folder}: is in use by another run; wait for it or use another --results.") from None
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written to ({error.strerror or error}).") from None
        return lock

    # Requests

    def save_request(self, resolved: Resolved) -> None:
        """Keep what the report is rebuilt from."""
        files.write_text(self.folder / "requests" / f"{resolved.corpus.name}.json", requests.to_json(resolved))

    def requests(self) -> list[str]:
        """Names of the corpora that the study was run with."""
        return files.names(self.folder / "requests", ".json")

    def load_request(self, corpus: str) -> Resolved:
        path = self.folder / "requests" / f"{corpus}.json"
        try:
            return requests.from_json(Resolved, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = ", ".join(self.requests()) or "none yet"
            raise UserError(f"{self.folder}: no results with corpus {corpus}; there is {known}.") from None
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); run the study again.") from None

    # Searches

    def journal(self, search: str) -> Path:
        """Where Optuna keeps the suggestions of a search."""
        return self.folder / "searches" / f"{search}.journal"

    def save_search(self, record: SearchRecord, history: pd.DataFrame) -> None:
        """Keep what reports of a search are made from."""
        table = pa.Table.from_pandas(history, preserve_index=False)
        table = table.replace_schema_metadata({"record": requests.to_json(record)})
        (self.folder / "searches").mkdir(exist_ok=True)
        files.write_whole(self.folder / "searches" / f"{record.name}.parquet", partial(_write, table))

    def searches(self) -> dict[str, tuple[SearchRecord, pd.DataFrame]]:
        """Name → record and history of all searches."""
        found = {}
        for name in files.names(self.folder / "searches", ".parquet"):
            table = pq.read_table(self.folder / "searches" / f"{name}.parquet", page_checksum_verification=True)
            record = requests.from_json(SearchRecord, table.schema.metadata[b"record"].decode())
            found[name] = (record, table.to_pandas())
        return found

    # Packs

    def fix(self, packs: Sequence[Pack]) -> None:
        """Store the membership of `packs` before they run, in one file."""
        if not packs:
            return
        entries = [{"trials": [t.id for t in pack.trials], "split_of": pack.split_of} for pack in packs]
        text = json.dumps({"packs": entries}, indent=0)
        files.write_text(self.folder / "packs" / f"{sha256(text.encode()).hexdigest()[:32]}.json", text)

    def memberships(self) -> list[Membership]:
        """All stored packs that were not split, oldest file first."""
        found: dict[str, Membership] = {}
        paths = [self.folder / "packs" / f"{name}.json" for name in files.names(self.folder / "packs", ".json")]
        for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)):
            try:
                entries = json.loads(path.read_text(encoding="utf-8"))["packs"]
                stored = [Membership(tuple(entry["trials"]), entry["split_of"]) for entry in entries]
            except (KeyError, TypeError, ValueError):
                self._quarantine(path, "packs")
                continue
            found.update((membership.id, membership) for membership in stored)
        split = {membership.split_of for membership in found.values()}
        return [membership for name, membership in found.items() if name not in split]

    def commit(self, pack: Pack, result: PackResult) -> None:
        """Write the three tables of a pack; it counts once the last is in place."""
        for name in TABLES:
            table = getattr(result, name)
            files.write_whole(self._file(name, pack.id), partial(_write, table))
        self._remove_superseded(pack)

    def _remove_superseded(self, pack: Pack) -> None:
        """A trial that failed earlier has a pack of its own with that row; its new row replaces it."""
        for trial in pack.trials:
            alone = pack_id([trial.id])
            if alone != pack.id and self._file("trials", alone).exists():
                for name in reversed(TABLES):
                    self._file(name, alone).unlink(missing_ok=True)

    # Tables

    def rows(self) -> pd.DataFrame:
        """The columns of the `trials` table that plans and reports need (`affect.engine.index.COLUMNS`)."""
        rows, fresh = self._indexed_rows()
        if self._writing and fresh >= index.WORTH:
            index.write(self.folder, rows[rows["file"].notna()])
        return _without_superseded(rows[list(index.COLUMNS)])

    def _indexed_rows(self) -> tuple[pd.DataFrame, int]:
        """All rows with the stamps of their files, and how many files the index lacked."""
        current = index.stamps(self.folder / "trials", files.names(self.folder / "trials", ".parquet"))
        known = index.read(self.folder, current)
        lacking = current[~current["file"].isin(known["file"].unique())]
        fresh = self._read("trials", lacking["file"].tolist(), index.COLUMNS)
        # A pack's file is named after it; one that was renamed by hand is read every time.
        fresh = fresh.astype({"pack": "str"}).merge(lacking, how="left", left_on="pack", right_on="file")
        if known.empty:
            return fresh, len(lacking)
        return (pd.concat([known, fresh], ignore_index=True) if len(fresh) else known), len(lacking)

    def trials(self) -> pd.DataFrame:
        """The whole `trials` table of all packs, every hyperparameter column of any of them included."""
        return _without_superseded(self._read("trials", files.names(self.folder / "trials", ".parquet"), None))

    def curves(self, packs: Iterable[str]) -> pd.DataFrame:
        """The `curves` table of the packs with these ids."""
        present = set(files.names(self.folder / "curves", ".parquet"))
        return self._read("curves", sorted(present.intersection(packs)), schema.CURVES.names)

    def _read(self, table: str, names: Sequence[str], columns: Sequence[str] | None) -> pd.DataFrame:
        """Columns that every file has by schema, or all columns of all files."""
        fixed = schema.CURVES if table == "curves" else schema.trials_schema([])
        paths = [self._file(table, name) for name in names]
        while paths:
            try:
                read = _read_all(paths, None if columns is None else fixed, columns)
                return read.to_pandas(strings_to_categorical=True, self_destruct=True)
            except (OSError, pa.ArrowException):
                bad = [path for path in paths if not _readable(path)]
                if not bad:
                    raise
                for path in bad:
                    self._quarantine(path, table)
                paths = [path for path in paths if path not in bad]
        return fixed.empty_table().select(list(columns or fixed.names)).to_pandas()

    def _file(self, table: str, pack: str) -> Path:
        return self.folder / table / f"{pack}.parquet"

    # Damage

    def _quarantine_truncated(self) -> None:
        """Set aside packs of which any file was cut short: cheap enough to be done at every start."""
        for name in files.names(self.folder / "trials", ".parquet"):
            for table in TABLES:
                path = self._file(table, name)
                if path.exists() and not _framed(path):
                    self._quarantine(path, table)

    def _quarantine(self, path: Path, table: str) -> None:
        """Move an unreadable file away, and with it its pack's commitment, so that its trials run again."""
        if not self._writing:
            self.warn(f"{path}: cannot be read and is left out; run the study again to replace it.")
            return
        for part in {path, *([self._file("trials", path.stem)] if table in TABLES else [])}:
            if part.exists():
                goal = self.folder / "quarantine" / part.parent.name
                goal.mkdir(parents=True, exist_ok=True)
                os.replace(part, goal / part.name)
                self.quarantined += 1
        self.warn(f"{path}: cannot be read; moved to {self.folder / 'quarantine'}, and its trials run again.")


def open_packs(
    memberships: Iterable[Membership], pending: Sequence[Trial]
) -> list[tuple[tuple[Trial, ...], str | None]]:
    """Stored packs of which every trial is pending, as (trials, split_of): an interrupted pack reruns whole."""
    by_id = {trial.id: trial for trial in pending}
    packs = []
    for membership in memberships:
        if all(name in by_id for name in membership.trials):
            packs.append((tuple(by_id.pop(name) for name in membership.trials), membership.split_of))
    return packs


def _study_of(folder: Path) -> str:
    marker = folder / MARKER
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        name, version = str(found["study"]), int(found["schema"])
    except (OSError, KeyError, TypeError, ValueError):
        raise UserError(f"{marker}: is not readable as the marker of a results folder.") from None
    if version > schema.VERSION:
        raise UserError(f"{marker}: schema version {version} is newer than {schema.VERSION}, which this affect knows.")
    return name


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _read_all(paths: Sequence[Path], fixed: pa.Schema | None, columns: Sequence[str] | None) -> pa.Table:
    """All files as one table. Without a schema every file is asked for its own, and columns that it lacks are null."""
    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=False)
    parquet = ds.ParquetFileFormat(default_fragment_scan_options=options)
    factory = ds.FileSystemDatasetFactory(pa.fs.LocalFileSystem(), [str(path) for path in paths], parquet)
    dataset = factory.finish(factory.inspect(promote_options="permissive") if fixed is None else fixed)
    return dataset.to_table(columns=None if columns is None else list(columns))


def _without_superseded(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out what a later run of the same trial has replaced: failed rows that a crash kept from being removed, rows
    of a search that stopped what was run to its end elsewhere, and what a search ran again."""
    stale = ~rows["status"].isin(schema.SETTLED)
    if stale.any():
        settled = rows.loc[~stale, "trial"].unique()
        rows = rows[~(stale & rows["trial"].isin(settled))].reset_index(drop=True)
    if rows["search"].notna().any():
        order = rows["search"].isna().argsort(kind="stable")
        rows = rows.iloc[order].drop_duplicates(["trial", "partition", "target"]).sort_index().reset_index(drop=True)
    return rows


def _framed(path: Path) -> bool:
    """Whether a Parquet file has its first and last bytes."""
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(max(0, path.stat().st_size - 4))
        return head == MAGIC and stream.read(4) == MAGIC


def _readable(path: Path) -> bool:
    try:
        pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException):
        return False
    return True
