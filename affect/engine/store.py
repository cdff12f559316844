"""Results: immutable Parquet files, one per pack, in a folder that one run at a time may write to."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from typing import Any

import pandas as pd
import pyarrow as pa

from affect import schema
from affect.engine import index, parquet, requests
from affect.engine.files import Folder, Guard
from affect.engine.packs import Pack, pack_id
from affect.engine.parquet import SUFFIX
from affect.engine.results import PackResult
from affect.engine.uris import open_folder
from affect.errors import UserError
from affect.resolved import Resolved, SearchRecord
from affect.study import CorpusFacts
from affect.trial import Trial

TABLES = ("predictions", "curves", "trials")
"""In the order of writing: the file of `trials` commits a pack."""

MARKER = "study.json"


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
        parent = open_folder(uri)
        self.study = study
        self.folder = parent / study
        self.warn = warn
        self.quarantined = 0
        """Files that were moved away by this object."""
        self._guard: Guard | None = None
        """While the folder is locked: UserError once it is another run's."""
        self._failed: set[str] = set()
        """Packs with a trial that failed, of all that were read or written."""
        self.folder.check()
        if parent.has(MARKER):
            raise UserError(
                f"{parent}: is the results folder of study {_study_of(parent)}; give the folder that it lies in."
            )
        try:
            self._check_study()
        except PermissionError as error:
            raise UserError(f"{self.folder}: cannot be read ({error.strerror}).") from None

    @classmethod
    def at(cls, uri: str, warn: Callable[[str], None] = _warn) -> Store:
        """The store in an existing results folder (`results/<study>`)."""
        folder = open_folder(uri)
        if not folder.has(MARKER):
            place = folder.parent
            with suppress(PermissionError):
                if any((folder / name).has(MARKER) for name in folder.names("")):
                    place = folder
            raise UserError(
                f"{folder}: no results here ({MARKER} is missing); give the folder of one study, of those that "
                f"`affect results list {place}` names."
            )
        if folder.name != _study_of(folder):
            raise UserError(
                f"{folder}/{MARKER}: names study {_study_of(folder)}, but the folder is called {folder.name}."
            )
        return cls(str(folder.parent), folder.name, warn)

    def _check_study(self) -> None:
        if self.folder.has(MARKER):
            found = _study_of(self.folder)
            if found != self.study:
                raise UserError(f"{self.folder}/{MARKER}: these are results of study {found}, not of {self.study}.")
        elif self.folder.names(""):
            raise UserError(f"{self.folder}: is not a results folder ({MARKER} is missing) and not empty.")

    @contextmanager
    def locked(self) -> Iterator[Store]:
        """Hold the folder for writing, creating it if needed."""
        with self.folder.lock(self.warn) as self._guard:
            try:
                self._check_study()
                self.folder.make((*TABLES, "packs", "requests", "searches"))
                if not self.folder.has(MARKER):
                    marker = json.dumps({"study": self.study, "schema": schema.VERSION}) + "\n"
                    self.folder.write(MARKER, marker.encode())
                self._quarantine_truncated()
                yield self
                self.rows()
            finally:
                self._guard = None

    def _still_ours(self) -> None:
        if self._guard is not None:
            self._guard()

    def in_use(self) -> bool:
        """Whether a run holds the folder now. On an object store it takes some seconds to tell."""
        return self.folder.in_use()

    # Requests

    def save_request(self, resolved: Resolved) -> None:
        """Keep what the report is rebuilt from, and the feature sets of all runs with this corpus."""
        self._still_ours()
        corpus, name, folder = resolved.corpus, resolved.request, self.folder / "requests"
        sets = {**self._told(corpus.name)[1], **self._told(name)[1], corpus.view: corpus.features}
        content = {**json.loads(requests.to_json(resolved)), "feature_sets": sets}
        folder.write(f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
        # Earlier versions kept what was run last under the name of the corpus alone, whatever its protocol.
        with suppress(UserError):
            if name != corpus.name and self.load_request(corpus.name).request == name:
                folder.remove(f"{corpus.name}.json")

    def requests(self) -> list[str]:
        """Names of what the study was run with (`Resolved.request`; older files are named after the corpus alone)."""
        return (self.folder / "requests").names(".json")

    def requested(self) -> dict[str, str]:
        """Request → the corpus that it is about; of one that cannot be read, its own name."""
        return {name: self._told(name)[0].get("name", name) for name in self.requests()}

    def load_request(self, request: str) -> Resolved:
        folder, name = self.folder / "requests", f"{request}.json"
        try:
            return requests.from_json(Resolved, folder.read(name).decode())
        except FileNotFoundError:
            known = ", ".join(self.requests()) or "none yet"
            raise UserError(f"{self.folder}: no results with corpus {request}; there is {known}.") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder}/{name}: cannot be read ({error}); run the study again.") from None

    def refuse_mixture(self, corpus: CorpusFacts) -> None:
        """Refuse a corpus whose view is in another feature set than this study has of a view of that name, in another
        corpus or in an earlier one of the same name, however wide: their numbers would meet in one table. Synthetic
        corpora mean nothing either way."""
        for name in () if corpus.synthetic else self.requests():
            last, sets = self._told(name)
            held = sets.get(corpus.view, "")
            if held in ("", corpus.features) or last["synthetic"]:
                continue
            whose = f"an earlier {corpus.name}" if last["name"] == corpus.name else last["name"]
            raise UserError(
                f"--corpus {corpus.name}: its view {corpus.view} holds {corpus.features}, but that of {whose}, with "
                f"which {self.folder} has results, holds {held}; feature sets must not be mixed in one study, so give "
                "another --results."
            )

    def _told(self, name: str) -> tuple[dict[str, Any], dict[str, str]]:
        """What the request of that name says of its corpus, and view → feature set, of all its runs; nothing where there is
        none, or where it cannot be read, for that must keep no run from replacing it. Of a request of another version only
        this is read. Those that were saved before they told know the set of the last run."""
        if name not in self.requests():
            return {}, {}
        try:
            content = json.loads((self.folder / "requests").read(f"{name}.json"))
            last, sets = content["corpus"], content.get("feature_sets", {})
            return last, {last["view"]: last.get("features", ""), **sets}
        except (AttributeError, KeyError, TypeError, ValueError):
            self._quarantine("requests", f"{name}.json")
            return {}, {}

    # Searches

    @property
    def searches_folder(self) -> Folder:
        """Where Optuna keeps the suggestions of searches, and their histories lie."""
        return self.folder / "searches"

    def save_search(self, record: SearchRecord, history: pd.DataFrame) -> None:
        """Keep what reports of a search are made from."""
        self._still_ours()
        table = pa.Table.from_pandas(history, preserve_index=False)
        parquet.write(
            self.searches_folder, record.name, table.replace_schema_metadata({"record": requests.to_json(record)})
        )

    def searches(self) -> dict[str, tuple[SearchRecord, pd.DataFrame]]:
        """Name → record and history of all searches."""
        found = {}
        for name in self.searches_folder.names(SUFFIX):
            table, damaged = parquet.read(self.searches_folder, [name], None, None)
            if damaged or table is None:
                self.warn(
                    f"{self.searches_folder}/{name}{SUFFIX}: cannot be read and is left out; run the search again."
                )
                continue
            record = requests.from_json(SearchRecord, table.schema.metadata[b"record"].decode())
            found[name] = (record, table.to_pandas())
        return found

    # Packs

    def fix(self, packs: Sequence[Pack]) -> None:
        """Store the membership of `packs` before they run, in one file."""
        if not packs:
            return
        self._still_ours()
        entries = [{"trials": [t.id for t in pack.trials], "split_of": pack.split_of} for pack in packs]
        name = sha256(json.dumps(entries).encode()).hexdigest()[:32]
        content = json.dumps({"planned": time.time_ns(), "packs": entries}, indent=0)
        (self.folder / "packs").write(f"{name}.json", content.encode())

    def memberships(self) -> list[Membership]:
        """All stored packs that were not split, first planned first."""
        folder = self.folder / "packs"
        planned: list[tuple[int, list[Membership]]] = []
        for name in folder.names(".json"):
            try:
                stored = json.loads(folder.read(f"{name}.json"))
                packs = [Membership(tuple(entry["trials"]), entry["split_of"]) for entry in stored["packs"]]
                # Files of earlier versions do not say when.
                planned.append((stored.get("planned", 0), packs))
            except (KeyError, TypeError, ValueError):
                self._quarantine("packs", f"{name}.json")
        found = {pack.id: pack for _, packs in sorted(planned, key=itemgetter(0)) for pack in packs}
        split = {membership.split_of for membership in found.values()}
        return [membership for name, membership in found.items() if name not in split]

    def commit(self, pack: Pack, result: PackResult) -> None:
        """Write the three tables of a pack; it counts once the last is in place."""
        self._still_ours()
        for table in TABLES:
            parquet.write(self.folder / table, pack.id, getattr(result, table))
        self._remove_superseded(pack)
        if "failed" in result.trials["status"].to_pylist():
            self._failed.add(pack.id)

    def _remove_superseded(self, pack: Pack) -> None:
        """A trial that failed earlier has a pack of its own with that row; its new row replaces it."""
        alone = {pack_id([trial.id]) for trial in pack.trials}
        # What has failed is remembered: to ask an object store for every trial would take longer than to train some.
        for name in self._failed.intersection(alone) - {pack.id}:
            for table in reversed(TABLES):
                (self.folder / table).remove(f"{name}{SUFFIX}")

    # Tables

    def rows(self) -> pd.DataFrame:
        """The columns of the `trials` table that plans and reports need (`affect.engine.index.COLUMNS`)."""
        rows, fresh = self._indexed_rows()
        self._failed = set(rows.loc[rows["status"] == "failed", "pack"])
        if self._guard is not None and fresh >= index.WORTH:
            self._guard()
            index.write(self.folder, rows[rows["file"].notna()])
        return _without_superseded(rows[list(index.COLUMNS)])

    def _indexed_rows(self) -> tuple[pd.DataFrame, int]:
        """All rows with the stamps of their files, and how many files the index lacked."""
        known, lacking = self._known()
        fresh = self._read("trials", lacking["file"].tolist(), index.COLUMNS)
        # A pack's file is named after it; one that was renamed by hand is read every time.
        fresh = fresh.astype({"pack": "str"}).merge(lacking, how="left", left_on="pack", right_on="file")
        if known.empty:
            return fresh, len(lacking)
        return (pd.concat([known, fresh], ignore_index=True) if len(fresh) else known), len(lacking)

    def _known(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Indexed rows with the stamps of their files, and the stamps of the files that the index lacks."""
        current = index.stamps(self.folder / "trials")
        known = index.read(self.folder, current)
        return known, current[~current["file"].isin(known["file"].unique())]

    def finished(self) -> pd.Series:
        """Pack → Unix time at which its results were written; NaN where that is not known."""
        return pd.Series((self.folder / "trials").written(SUFFIX), dtype="float64")

    def trials(self) -> pd.DataFrame:
        """The whole `trials` table of all packs, every hyperparameter column of any of them included."""
        frame = self._read("trials", (self.folder / "trials").names(SUFFIX), None)
        fixed = schema.trials_schema([]).names  # Some of which files of an older version lack.
        return _without_superseded(frame.reindex(columns=[*fixed, *(c for c in frame.columns if c not in fixed)]))

    def curves(self, packs: Iterable[str]) -> pd.DataFrame:
        """The `curves` table of the packs with these ids."""
        present = set((self.folder / "curves").names(SUFFIX))
        return self._read("curves", sorted(present.intersection(packs)), schema.CURVES.names)

    def predictions(self, packs: Iterable[str]) -> pd.DataFrame:
        """The `predictions` table of the packs with these ids."""
        present = set((self.folder / "predictions").names(SUFFIX))
        return self._read("predictions", sorted(present.intersection(packs)), schema.PREDICTIONS.names)

    def _read(self, table: str, names: Sequence[str], columns: Sequence[str] | None) -> pd.DataFrame:
        """Columns that every file has by schema, or all columns of all files."""
        fixed = {"curves": schema.CURVES, "predictions": schema.PREDICTIONS}.get(table) or schema.trials_schema([])
        read, damaged = parquet.read(self.folder / table, names, None if columns is None else fixed, columns)
        for name in damaged:
            self._quarantine(table, f"{name}{SUFFIX}")
        if read is None:
            return fixed.empty_table().select(list(columns or fixed.names)).to_pandas()
        return read.to_pandas(strings_to_categorical=True, self_destruct=True)

    # Damage

    def _quarantine_truncated(self) -> None:
        """Set aside packs of which any file was cut short: cheap enough to be done at every start."""
        packs = self._known()[1]["file"] if self.folder.lasting else (self.folder / "trials").names(SUFFIX)
        for table in TABLES:
            folder = self.folder / table
            for name in parquet.cut_short(folder, sorted(set(folder.names(SUFFIX)).intersection(packs))):
                self._quarantine(table, f"{name}{SUFFIX}")

    def _quarantine(self, table: str, name: str) -> None:
        """Move an unreadable file away, after its pack's commitment: a crash in between costs trials, not side files."""
        if self._guard is None:
            self.warn(
                f"{self.folder / table}/{name}: cannot be read and is left out; run the study again to replace it."
            )
            return
        self._guard()
        quarantine = self.folder / "quarantine"
        for part in dict.fromkeys(("trials" if table in TABLES else table, table)):
            if (self.folder / part).has(name):
                (self.folder / part).move(name, quarantine / part)
                self.quarantined += 1
        again = ", and its trials run again" if table in TABLES else ""
        self.warn(f"{self.folder / table}/{name}: cannot be read; moved to {quarantine}{again}.")


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


def _study_of(folder: Folder) -> str:
    marker = f"{folder}/{MARKER}"
    try:
        found = json.loads(folder.read(MARKER))
        name, version = str(found["study"]), int(found["schema"])
    except (OSError, KeyError, TypeError, ValueError):
        raise UserError(f"{marker}: is not readable as the marker of a results folder.") from None
    if version > schema.VERSION:
        raise UserError(f"{marker}: schema version {version} is newer than {schema.VERSION}, which this affect knows.")
    return name


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
