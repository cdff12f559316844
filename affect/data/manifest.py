"""The manifest of a corpus: what a folder holds, without its arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from affect.errors import UserError

FORMAT = 3
"""Version of the corpus format. 2 brought classes, counts, notes, lengths and the leakage gate; 3 views that rows lack, and
only corpora with such have it."""
OLDEST = 2
"""The first version that is still read."""
MANIFEST = "manifest.json"
SAMPLES = "samples.parquet"
PARTITIONS = ("train", "development", "test", "unlabelled")
SCORED = PARTITIONS[:3]
"""Partitions that carry labels, between which a group may not be shared."""
AS_PUBLISHED = "as_published"
LEAK_FREE = "leak_free"
PROTOCOLS = (AS_PUBLISHED, LEAK_FREE)
UNKNOWN = "unknown"
"""`groups` of a corpus that does not say what its rows share."""


@dataclass(frozen=True)
class ViewInfo:
    """One array of the corpus: `file` (relative to the folder) holds `shape` of `dtype`, row i is sample i."""

    file: str
    shape: tuple[int, ...]
    dtype: str
    features: str
    """Name of the feature set: numbers of two sets must never meet in one table or one fit."""
    protocol: str = ""
    """Protocol on whose training rows the view was fitted; empty for views that were fitted on nothing."""
    lengths: str = ""
    """Column of the sample table with the number of valid steps of a view [N, T, ...] padded with zeros."""
    present: str = ""
    """Column of the sample table that says with 1 and 0 which rows have the view; empty where all have it."""


@dataclass(frozen=True)
class TargetInfo:
    """A target and its scale, ends included."""

    low: float
    high: float
    kind: str = "continuous"
    classes: tuple[str, ...] = ()
    """Of the kind `class`: names of the classes, whose labels are their positions 0..C-1."""


def class_target(*names: str) -> TargetInfo:
    """A target of the kind `class`."""
    return TargetInfo(0.0, len(names) - 1.0, "class", names)


STOPPING = ("recordings_straddle", "rows_recur", "rows_nearly_recur", "label_encoded")
"""Kinds of findings that stop a study under `leak_free`: what is scored was seen or heard in training, or a feature
tells the label.

The others do not. Unknown groups, and groups in two partitions, rule `leak_free` out altogether. Two people can say the
same words, and where the views agree as well the rows recur. An unlabelled copy of a test row shows a fit no target. A
column that occurs twice tells a fit nothing that it may not know."""


@dataclass(frozen=True)
class Finding:
    """A caveat that was found in the data when the corpus was written, for one protocol."""

    protocol: str
    kind: str
    sentence: str

    @property
    def stops(self) -> bool:
        """Whether a study under its protocol needs leave to run (`--allow`)."""
        return self.protocol == LEAK_FREE and self.kind in STOPPING


@dataclass(frozen=True)
class Count:
    """One line of the comparison of this copy of a corpus with the one that a paper describes."""

    what: str
    published: int
    here: int
    why: str = ""
    """Why they differ, where that is known."""


@dataclass(frozen=True)
class Manifest:
    """Everything about a corpus but its samples and arrays. `views` are in order of preference."""

    format: int
    name: str
    title: str
    banner: str
    synthetic: bool
    source: str
    licence: str
    rows: int
    views: Mapping[str, ViewInfo]
    targets: Mapping[str, TargetInfo]
    groups: str
    """What the group column is (`speaker`, `document`, ...) or `unknown`."""
    protocols: Mapping[str, str]
    """Protocol → column of the sample table that holds its partition."""
    findings: tuple[Finding, ...]
    counts: tuple[Count, ...]
    notes: tuple[str, ...]
    """What the reader decided or left out, one sentence each."""
    fingerprint: str
    """SHA-256 of the contents, 64 hexadecimal digits."""

    def to_json(self) -> str:
        raw = asdict(self)
        for view in raw["views"].values():
            if not view["present"]:  # as in format 2
                del view["present"]
        return json.dumps(raw, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, file: Path) -> Manifest:
        """Parse `text`, naming `file` in the `UserError` that refuses what is malformed or newer."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise UserError(f"{file}: not JSON ({error}).") from None
        if not isinstance(raw, dict):
            raise UserError(f"{file}: expected an object, found {type(raw).__name__}.")
        version = raw.get("format")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise UserError(f"{file}: key format holds {version!r}, not a version number.")
        if version > FORMAT:
            raise UserError(f"{file}: format {version} is newer than this affect reads ({FORMAT}); update affect.")
        if version < OLDEST:
            raise UserError(
                f"{file}: format {version} is older than this affect reads ({OLDEST}); run the same affect prepare again "
                "with --overwrite: unchanged contents keep their fingerprint, and so their results."
            )
        _keys(raw, cls, file, "")
        for key in ("name", "title", "banner", "source", "licence", "groups", "fingerprint"):
            _check(raw, key, str, file)
        check_name(raw["name"], file)
        _check(raw, "synthetic", bool, file)
        _check(raw, "rows", int, file)
        views = {name: _view(item, file, f"views.{name}") for name, item in _object(raw, "views", file).items()}
        targets = {name: _target(item, file, f"targets.{name}") for name, item in _object(raw, "targets", file).items()}
        protocols = _object(raw, "protocols", file)
        for name in protocols:
            if name not in PROTOCOLS:
                raise UserError(f"{file}: unknown protocol {name}; there are {', '.join(PROTOCOLS)}.")
            _check(protocols, name, str, file, "protocols.")
        for empty in ("views", "targets", "protocols"):
            if not raw[empty]:
                raise UserError(f"{file}: key {empty} is empty.")
        for name, view in views.items():
            if not view.shape or view.shape[0] != raw["rows"]:
                raise UserError(
                    f"{file}: view {name} has shape {list(view.shape)} but the corpus has {raw['rows']} rows."
                )
        findings = tuple(_finding(item, file, f"findings.{i}") for i, item in enumerate(_list(raw, "findings", file)))
        counts = tuple(_count(item, file, f"counts.{i}") for i, item in enumerate(_list(raw, "counts", file)))
        return cls(
            **{
                **raw,
                "views": views,
                "targets": targets,
                "protocols": protocols,
                "findings": findings,
                "counts": counts,
                "notes": _strings(raw, "notes", file),
            }
        )


def check_name(name: str, place: object) -> None:
    """`name` can be that of a file: results are stored under the names of corpora."""
    if not re.fullmatch(r"[\w-][\w.-]{0,99}", name):
        raise UserError(
            f"{place}: {name!r} is no name for a corpus; use at most 100 letters, digits, '.', '_' and '-', "
            "and no '.' in front."
        )


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _keys(raw: Any, cls: type, file: Path, place: str) -> None:
    where = f"{place} " if place else ""
    if not isinstance(raw, dict):
        raise UserError(f"{file}: {where}is not an object but {raw!r}.")
    known = [field.name for field in fields(cls)]
    for key in raw:
        if key not in known:
            raise UserError(f"{file}: {where}has the unknown key {key!r}.")
    for key in known:
        if key not in raw:
            raise UserError(f"{file}: {where}lacks the key {key}.")


def _check(raw: Mapping[str, Any], key: str, kind: type, file: Path, place: str = "") -> None:
    if not _is(raw[key], kind):
        raise UserError(f"{file}: key {place}{key} holds {raw[key]!r}, which is no {kind.__name__}.")


def _object(raw: Mapping[str, Any], key: str, file: Path) -> dict[str, Any]:
    _check(raw, key, dict, file)
    return dict(raw[key])


def _list(raw: Mapping[str, Any], key: str, file: Path, place: str = "") -> list[Any]:
    _check(raw, key, list, file, place)
    return list(raw[key])


def _strings(raw: Mapping[str, Any], key: str, file: Path, place: str = "") -> tuple[str, ...]:
    found = _list(raw, key, file, place)
    for value in found:
        if not isinstance(value, str):
            raise UserError(f"{file}: key {place}{key} holds {value!r} among its words.")
    return tuple(found)


def _view(item: Any, file: Path, place: str) -> ViewInfo:
    item = {"present": "", **item} if isinstance(item, dict) else item
    _keys(item, ViewInfo, file, place)
    for key in ("file", "dtype", "features", "protocol", "lengths", "present"):
        _check(item, key, str, file, f"{place}.")
    path = PurePosixPath(item["file"])
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{file}: key {place}.file points outside the corpus: {item['file']}.")
    shape = item["shape"]
    if not isinstance(shape, list) or not all(_is(n, int) and n >= 0 for n in shape):
        raise UserError(f"{file}: key {place}.shape holds {shape!r}, which is no shape.")
    return ViewInfo(**{**item, "shape": tuple(shape)})


def _target(item: Any, file: Path, place: str) -> TargetInfo:
    _keys(item, TargetInfo, file, place)
    for key in ("low", "high"):
        if not _is(item[key], int) and not _is(item[key], float):
            raise UserError(f"{file}: key {place}.{key} holds {item[key]!r}, which is no number.")
    _check(item, "kind", str, file, f"{place}.")
    classes = _strings(item, "classes", file, f"{place}.")
    return TargetInfo(float(item["low"]), float(item["high"]), item["kind"], classes)


def _finding(item: Any, file: Path, place: str) -> Finding:
    _keys(item, Finding, file, place)
    for key in ("protocol", "kind", "sentence"):
        _check(item, key, str, file, f"{place}.")
    return Finding(**item)


def _count(item: Any, file: Path, place: str) -> Count:
    _keys(item, Count, file, place)
    for key, kind in (("what", str), ("published", int), ("here", int), ("why", str)):
        _check(item, key, kind, file, f"{place}.")
    return Count(**item)
