"""Writing a corpus: checked, streamed into a hidden sibling folder, renamed when whole.

Nothing under the final name exists before everything is valid and on disk; an error or a crash leaves no half corpus.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from affect.data import checks, leakage
from affect.data.corpus import Corpus, open_corpus
from affect.data.manifest import (
    FORMAT,
    LEAK_FREE,
    MANIFEST,
    OLDEST,
    PROTOCOLS,
    SAMPLES,
    UNKNOWN,
    Count,
    Manifest,
    TargetInfo,
    ViewInfo,
    check_name,
)
from affect.data.staging import publish, restore, staged, sync, sync_folder
from affect.errors import UserError
from affect.files import writing

CHUNK_BYTES = 64 << 20
"""Views in memory are written in pieces of about this size."""


@dataclass(frozen=True)
class ViewSource:
    """A view to be written: its shape and the blocks of rows, in order, that make it up."""

    shape: tuple[int, ...]
    blocks: Callable[[], Iterable[np.ndarray]]
    features: str
    protocol: str = ""
    file: str = ""
    """Where the numbers come from, for errors."""
    columns: tuple[str, ...] = ()
    lengths: str = ""
    """Column of the samples with the valid steps of each row of a view [N, T, ...]; empty where all are valid."""
    present: np.ndarray | None = None
    """[N] whether a row has the view; None where all have it. Rows without it hold nothing but NaN or zeros."""


def array_view(array: np.ndarray, features: str, protocol: str = "", file: str = "", lengths: str = "") -> ViewSource:
    """A view from an array [N, ...] in memory or a memory map, cut into blocks of bounded size."""
    row_bytes = max(1, 4 * math.prod(array.shape[1:]))
    step = max(1, CHUNK_BYTES // row_bytes)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(array), step):
            yield array[start : start + step]

    return ViewSource(tuple(array.shape), blocks, features, protocol, file, lengths=lengths)


def write_corpus(
    folder: str | Path,
    *,
    name: str,
    title: str,
    banner: str,
    synthetic: bool,
    source: str,
    licence: str,
    samples: pd.DataFrame,
    targets: Mapping[str, TargetInfo],
    groups: str,
    protocols: Mapping[str, str],
    views: Mapping[str, ViewSource],
    samples_file: str = SAMPLES,
    called: Mapping[str, str] | None = None,
    fingerprint: str = "",
    counts: Sequence[Count] = (),
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> Corpus:
    """Write a corpus folder and open it.

    `samples` [N] has the columns id, the partition columns of `protocols`, one per target (NaN: no label), the
    `lengths` of views, and optionally subject, group, recording (empty or missing: unknown) and text. `counts` and `notes` are
    kept in the manifest. `samples_file` names the table in errors, and
    `called` its columns where they have other names there; contents without the `fingerprint` that is given, if one
    is, are refused. Findings (`affect.data.leakage`) are looked for in what was written. Memory stays bounded by the
    largest block of a view and, apart from the table, some hundred bytes a row.
    Raises `UserError`, having left nothing behind, when the folder exists (and is not to be overwritten, or is no
    corpus) or when anything in the data is wrong.
    """
    folder = Path(folder)
    refuse_existing(folder, overwrite)
    check_name(name, folder)
    table = check_samples(samples, targets, groups, protocols, samples_file, called or {})
    for given in views.values():
        if given.lengths:
            table[given.lengths] = checks.check_lengths(samples, given.lengths, given.shape, samples_file)
    if not views:
        raise UserError(f"{folder}: a corpus needs at least one view.")
    for view, given in views.items():
        if not view.replace("_", "").replace("-", "").isalnum():
            raise UserError(f"{folder}: {view!r} is no name for a view; use letters, digits, _ and -.")
        if given.present is not None and f"has_{view}" in table:
            raise UserError(f"{folder}: has_{view} says which rows have view {view}; name that target otherwise.")
        where = given.file or str(folder)
        if len(given.shape) < 2 or math.prod(given.shape[1:]) == 0:
            raise UserError(f"{where}: view {view} has shape {list(given.shape)}; it needs rows and columns.")
        if given.shape[0] != len(table):
            raise UserError(f"{where}: view {view} has {given.shape[0]} rows but {samples_file} has {len(table)}.")
    present = {v: given.present for v, given in views.items() if given.present is not None and not given.present.all()}
    partitions = {column: table[column].to_numpy(str) for column in protocols.values()}
    checks.check_presence(present, list(views), partitions, table["id"].tolist(), samples_file, called or {})
    masks = {view: f"has_{view}" for view in present}
    for view, there in present.items():
        table[masks[view]] = there.astype(np.float64)
    with staged(folder) as partial:
        (partial / "views").mkdir()
        ids = table["id"].tolist()
        digests = {view: _write_view(partial, view, given, ids) for view, given in views.items()}
        _write_samples(partial / SAMPLES, table)
        infos = {
            v: ViewInfo(f"views/{v}.npy", g.shape, "float32", g.features, g.protocol, g.lengths, masks.get(v, ""))
            for v, g in views.items()
        }
        columns = {view: given.columns for view, given in views.items()}
        manifest = Manifest(
            format=FORMAT if present else OLDEST,
            name=name,
            title=title,
            banner=banner,
            synthetic=synthetic,
            source=source,
            licence=licence,
            rows=len(table),
            views=infos,
            targets=dict(targets),
            groups=groups,
            protocols=dict(protocols),
            findings=leakage.findings(partial, table, infos, columns, targets, groups, protocols),
            counts=tuple(counts),
            notes=tuple(notes),
            fingerprint=_fingerprint(table, infos, digests, targets, groups, protocols),
        )
        if fingerprint not in ("", manifest.fingerprint):
            raise UserError(
                f"{folder}: what was made here has fingerprint {manifest.fingerprint[:12]} where {fingerprint[:12]} "
                "is due, so it is not kept."
            )
        with (partial / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(manifest.to_json())
            sync(file)
        for inner in (partial / "views", partial):
            sync_folder(inner)
        publish(partial, folder, overwrite)
    return open_corpus(folder)


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that exists (or did when its writer was killed), unless it is a corpus to be overwritten."""
    with writing(folder):  # It may have a name that no file system takes.
        restore(folder)
        exists, is_corpus = folder.exists(), (folder / MANIFEST).is_file()
    if exists and not overwrite:
        raise UserError(f"{folder}: exists already; use --overwrite to replace it.")
    if exists and not is_corpus:
        raise UserError(f"{folder}: exists and is no corpus ({MANIFEST} is missing), so it is not overwritten.")


def check_samples(
    samples: pd.DataFrame,
    targets: Mapping[str, TargetInfo],
    groups: str,
    protocols: Mapping[str, str],
    file: str,
    called: Mapping[str, str],
) -> pd.DataFrame:
    """The sample table in its stored form (columns in order, strings and float64), after all its checks."""
    if not targets:
        raise UserError(f"{file}: a corpus needs at least one target.")
    if not protocols or any(protocol not in PROTOCOLS for protocol in protocols):
        raise UserError(
            f"{file}: the protocols {', '.join(protocols) or 'given'} are not among {', '.join(PROTOCOLS)}."
        )
    partitions = list(dict.fromkeys(protocols.values()))
    for column in ["id", *partitions, *targets, *([] if groups == UNKNOWN else ["group"])]:
        if column not in samples.columns:
            raise UserError(f"{file}: column {called.get(column, column)} is missing.")
    ids = samples["id"].tolist()
    checks.check_ids(ids, file, called.get("id", "id"))
    columns: dict[str, Any] = {"id": ids}
    for column in ("subject", "group"):
        values = samples[column].tolist() if column in samples.columns else [None] * len(ids)
        columns[column] = checks.known_names(values)
    for column in partitions:
        columns[column] = checks.canonical_partitions(samples[column].tolist(), file, called.get(column, column), ids)
    for target, info in targets.items():
        columns[target] = samples[target].to_numpy(np.float64)
        checks.check_target(columns[target], ids, info, file, called.get(target, target))
    labels = {called.get(target, target): columns[target] for target in targets}
    for column in partitions:
        checks.check_filled(np.array(columns[column], object), labels, file, called.get(column, column))
    if LEAK_FREE in protocols:
        if groups == UNKNOWN:
            raise UserError(f"{file}: groups are unknown, so protocol {LEAK_FREE} cannot be offered.")
        checks.check_leak_free(pd.DataFrame(columns), protocols[LEAK_FREE], groups, file, called)
    if "recording" in samples.columns:
        columns["recording"] = checks.known_names(samples["recording"].tolist())
    if "text" in samples.columns:
        columns["text"] = ["" if pd.isna(value) else str(value) for value in samples["text"].tolist()]
    return pd.DataFrame(columns)


def _write_view(partial: Path, view: str, given: ViewSource, ids: Sequence[str]) -> str:
    """Append the blocks to an .npy file as little-endian float32; return their SHA-256."""
    digest = hashlib.sha256()
    file = given.file or view
    done = 0
    with (partial / "views" / f"{view}.npy").open("wb") as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": given.shape}
        np.lib.format.write_array_header_1_0(out, header)
        for block in given.blocks():
            if done + len(block) > given.shape[0] or block.shape[1:] != given.shape[1:]:
                raise UserError(
                    f"{file}: view {view} brings a block {list(block.shape)} at row {done} of {list(given.shape)}."
                )
            if given.present is not None:
                there = given.present[done : done + len(block)]
                checks.check_held(block, there, ids[done : done + len(block)], file, view)
                block = np.where(there.reshape(-1, *(1,) * (block.ndim - 1)), block, 0)
            checks.check_finite(block, ids[done : done + len(block)], file, view, given.columns)
            with np.errstate(over="ignore"):
                stored = np.ascontiguousarray(block, dtype="<f4")
            if stored.dtype != block.dtype:
                # A number beyond float32 becomes infinite only now.
                checks.check_finite(stored, ids[done : done + len(block)], file, view, given.columns)
            raw = stored.reshape(-1).view(np.uint8).data
            digest.update(raw)
            out.write(raw)
            done += len(block)
        if done != given.shape[0]:
            raise UserError(f"{file}: view {view} ends after {done} of {given.shape[0]} rows.")
        sync(out)
    return digest.hexdigest()


def _write_samples(path: Path, table: pd.DataFrame) -> None:
    types = {c: pa.float64() if table[c].dtype == np.float64 else pa.string() for c in table.columns}
    arrow = pa.table({c: pa.array(table[c].to_numpy(), t, from_pandas=True) for c, t in types.items()})
    with path.open("wb") as out:
        pq.write_table(arrow, out)
        sync(out)


def _fingerprint(
    table: pd.DataFrame,
    views: Mapping[str, ViewInfo],
    digests: Mapping[str, str],
    targets: Mapping[str, TargetInfo],
    groups: str,
    protocols: Mapping[str, str],
) -> str:
    """SHA-256 of all that a result can depend on; names, banners and provenance are left out."""
    columns = {}
    for column in table.columns:
        values = table[column].to_numpy()
        if values.dtype == np.float64:
            values = np.where(np.isnan(values), np.nan, values).astype("<f8")
            columns[column] = hashlib.sha256(values.tobytes()).hexdigest()
        else:
            text = json.dumps([v if isinstance(v, str) else None for v in values], separators=(",", ":"))
            columns[column] = hashlib.sha256(text.encode()).hexdigest()
    contents = {
        "samples": columns,
        "views": {name: [list(info.shape), info.dtype, info.protocol, digests[name]] for name, info in views.items()},
        "targets": {name: _target(info) for name, info in targets.items()},
        "groups": groups,
        "protocols": dict(protocols),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _target(info: TargetInfo) -> dict[str, Any]:
    """What a fingerprint says of a target. Fingerprints of continuous targets are older than classes."""
    return {key: value for key, value in asdict(info).items() if key != "classes" or value}
