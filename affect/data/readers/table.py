"""`affect prepare table`: a corpus from anyone's sample table (CSV, TSV, Parquet) and arrays."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import compress
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import pandas as pd

from affect.data import checks
from affect.data.corpus import AS_PUBLISHED, LEAK_FREE, UNKNOWN, Corpus, TargetInfo, class_target
from affect.data.features import options
from affect.data.features.sources import spooled
from affect.data.formats.tabular import BLOCK_ROWS, Table, open_table, read_array
from affect.data.writer import ViewSource, array_view, refuse_existing, write_corpus
from affect.errors import UserError

HELP = "your own table (CSV, TSV, Parquet) and arrays (columns of it, or NPY, CSV, TSV, Parquet files)"
EXAMPLE = (
    "affect prepare table --samples clips.csv --id clip --partition split --group speaker "
    "--target arousal=act:1:7 valence=val:1:7 --view hld=columns:f_* --out corpora/mine"
)
DETAIL = (
    "Partitions may be spelt Train, Development, Validation, dev, val, Test, Test1, unlabelled, ...; an empty target "
    "cell is a row without that label. A view is NAME=FILE (.npy in the order of the table; .csv, .tsv or .parquet "
    "matched by the id column where the file has one, by order otherwise) or NAME=columns:PATTERN[,PATTERN...] of the "
    "table itself; or features of recordings are given or extracted by --features or --audio FOLDER, and rows without "
    "any are left out. Rows of train and unlabelled may lack the views that --may-lack names: those whose cells are all "
    "empty, that a file with the id column does not have, or whose cell in COL is 0. Protocol leak_free is offered when a "
    "group column is named, every row of train, development and test has a group and none lies in two of them."
)
COLUMNS = "columns:"
TARGET = "NAME=COL:LOW:HIGH, such as arousal=act:1:7, or NAME=COL:A,B,..., such as mood=label:low,high"
T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=Path, required=True, metavar="FILE", help="the sample table, with a header")
    parser.add_argument("--id", required=True, metavar="COL", help="column of unique ids")
    parser.add_argument("--partition", required=True, metavar="COL", help="column of the released partition")
    parser.add_argument("--partition-leak-free", metavar="COL", help="column of another partition no group straddles")
    parser.add_argument("--subject", metavar="COL", help="column that says whose sample it is")
    parser.add_argument("--group", metavar="COL", help="column of what must stay on one side (speaker, recording, ...)")
    parser.add_argument("--group-kind", default="speaker", metavar="WORD", help="what a group is (%(default)s)")
    parser.add_argument("--recording", metavar="COL", help="column of what rows were cut from, if that is no group")
    parser.add_argument("--text", metavar="COL", help="column of the spoken or written words")
    parser.add_argument(
        "--target",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME=COL:SCALE",
        help="target and its scale LOW:HIGH, or its classes A,B,...",
    )
    parser.add_argument("--view", nargs="+", action="extend", metavar="NAME=SOURCE", help="a file or columns:PATTERN")
    parser.add_argument(
        "--may-lack",
        nargs="+",
        action="extend",
        default=[],
        metavar="VIEW[=COL]",
        help="views that rows may lack; COL says with 1 and 0 which have them",
    )
    options.add_arguments(parser)
    parser.add_argument("--name", help="name of the corpus (that of the folder)")
    parser.add_argument("--title", help="title in reports (the name)")
    parser.add_argument("--source", default="not stated", help="where the data come from")
    parser.add_argument("--licence", default="not stated", help="terms of the data")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write")


def prepare(args: argparse.Namespace) -> Corpus:
    """Write the corpus `args.out`; `UserError` names the file, row or column and value at fault."""
    refuse_existing(args.out, args.overwrite)
    table = open_table(args.samples)
    targets = _once([parse_target(text) for text in args.target], "--target")
    sources = _once([_pair(text, "--view", "NAME=SOURCE") for text in args.view or ()], "--view")
    if bool(sources) == (args.features is not None or args.audio is not None):
        raise UserError(
            "--view NAME=SOURCE, --features PATH or --audio FOLDER: exactly one must say what the views are."
        )
    masks = _masks(args.may_lack, sources)
    stored = {
        "id": args.id,
        "subject": args.subject,
        "group": args.group,
        "partition": args.partition,
        "partition_leak_free": args.partition_leak_free,
        "recording": args.recording,
        "text": args.text,
    }
    called = {name: table.need(column) for name, column in stored.items() if column is not None}
    cells = table.strings(list(called.values()))
    ids = cells[args.id]
    checks.check_ids(ids, str(args.samples), args.id)
    samples = pd.DataFrame({name: cells[column] for name, column in called.items()})
    for target, (column, info) in targets.items():
        if target in stored:
            raise UserError(f"--target {target}: this name is taken by a column of the sample table.")
        called[target] = table.need(column)
        samples[target] = _classes(table, column, info, ids) if info.classes else table.column_floats(column, ids)
    notes: tuple[str, ...] = ()
    called |= {f"mask of view {view}": table.need(column) for view, column in masks.items() if column}
    if sources:
        views = {
            view: _view(view, source, table, ids, called, args.out.parent, view in masks)
            for view, source in sources.items()
        }
        for view, column in masks.items():
            views[view] = replace(views[view], present=_present(view, views[view], column, table, ids))
        if args.feature_set:
            views = {view: replace(given, features=args.feature_set) for view, given in views.items()}
    else:
        attached = options.attach(samples, args, _no_recordings)
        samples, views, notes = attached.samples, attached.views, attached.notes
    groups = args.group_kind if args.group else UNKNOWN
    name = args.name or args.out.name
    title = args.title or name
    return write_corpus(
        args.out,
        name=name,
        title=title,
        banner=": ".join(dict.fromkeys((name, title))) + ("; groups unknown" if groups == UNKNOWN else ""),
        synthetic=False,
        source=args.source,
        licence=args.licence,
        samples=samples,
        targets={target: info for target, (_, info) in targets.items()},
        groups=groups,
        protocols=_protocols(samples, groups, str(args.samples), called),
        views=views,
        samples_file=str(args.samples),
        called=called,
        notes=notes,
        overwrite=args.overwrite,
    )


def parse_target(text: str) -> tuple[str, tuple[str, TargetInfo]]:
    """`NAME=COL:LOW:HIGH` or `NAME=COL:A,B,...` → name, (column, scale or classes)."""
    name, rest = _pair(text, "--target", TARGET)
    column, _, scale = rest.rpartition(":")
    if "," in scale:
        classes = tuple(part.strip() for part in scale.split(","))
        if not column:
            raise UserError(f"--target {text}: expected {TARGET}.")
        if not all(classes) or len(set(classes)) < len(classes):
            raise UserError(f"--target {text}: the classes {scale} are not distinct words.")
        return name, (column, class_target(*classes))
    column, _, low = column.rpartition(":")
    try:
        info = TargetInfo(float(low), float(scale))
    except ValueError:
        raise UserError(f"--target {text}: expected {TARGET}.") from None
    if not (column and np.isfinite([info.low, info.high]).all() and info.low < info.high):
        raise UserError(f"--target {text}: the scale {info.low:g}..{info.high:g} is empty.")
    return name, (column, info)


def _classes(table: Table, column: str, info: TargetInfo, ids: Sequence[str]) -> np.ndarray:
    """[N] positions of the cells among the target's classes, NaN where a cell is empty."""
    number = {name: float(position) for position, name in enumerate(info.classes)} | {"": np.nan}
    # Whole numbers beside empty cells are often written as 1.0.
    number |= {f"{name}.0": position for name, position in number.items() if name.isdecimal()}
    cells = [cell.strip() for cell in table.strings([column])[column]]
    for cell, row in zip(cells, ids, strict=True):
        if cell not in number:
            raise UserError(
                f"{table.file}: column {column}, row {checks.shown(row)}: {checks.quoted(cell)} is none of the classes "
                f"{', '.join(info.classes)}."
            )
    return np.array([number[cell] for cell in cells])


def _masks(options: Sequence[str], views: Mapping[str, str]) -> dict[str, str]:
    """View → the column that says which rows have it, empty where their cells do."""
    pairs = []
    for text in options:
        view, equals, column = text.partition("=")
        if equals and not column:
            raise UserError(f"--may-lack {text}: expected VIEW or VIEW=COL.")
        if view not in views:
            raise UserError(f"--may-lack {text}: unknown view {view}; --view names {', '.join(views) or 'none'}.")
        pairs.append((view, column))
    return _once(pairs, "--may-lack")


def _present(view: str, given: ViewSource, column: str, table: Table, ids: Sequence[str]) -> np.ndarray:
    """[N] whether a row has the view: by the table's `column` or, without one, where not all of its numbers are missing."""
    if column:
        said = table.column_floats(column, ids)
        wrong = np.flatnonzero(~np.isin(said, (0, 1)))
        if len(wrong):
            row = checks.shown(ids[wrong[0]])
            raise UserError(f"{table.file}: column {column}, row {row}: {said[wrong[0]]:g} is neither 1 nor 0.")
        return said == 1
    there = np.concatenate([~np.isnan(block).reshape(len(block), -1).all(axis=1) for block in given.blocks()])
    if there.all():
        raise UserError(
            f"--may-lack {view}: no row of {given.file} is without numbers; leave it out, or name the column that tells."
        )
    return there


def _no_recordings() -> NoReturn:
    raise UserError("--audio: name the folder of recordings, for a table does not tell where they are.")


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, sign, rest = text.partition("=")
    if not (name and sign and rest):
        raise UserError(f"{option} {text}: expected {form}.")
    return name, rest


def _once(pairs: Sequence[tuple[str, T]], option: str) -> dict[str, T]:
    """Name → value; a name that is given twice is refused."""
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise UserError(f"{option} {name}=...: {name} is given twice.")
        found[name] = value
    return found


def _protocols(samples: pd.DataFrame, groups: str, file: str, called: dict[str, str]) -> dict[str, str]:
    """`as_published`, and `leak_free` where a column keeps its promise or was named for it."""
    if "partition_leak_free" in samples:
        return {AS_PUBLISHED: "partition", LEAK_FREE: "partition_leak_free"}
    if groups == UNKNOWN:
        return {AS_PUBLISHED: "partition"}
    names = checks.canonical_partitions(
        samples["partition"].tolist(), file, called["partition"], samples["id"].tolist()
    )
    known, parts = np.array(checks.known_names(samples["group"].tolist()), object), np.array(names, object)
    if checks.straddling(known, parts) or checks.ungrouped(known, parts).any():
        return {AS_PUBLISHED: "partition"}
    return {AS_PUBLISHED: "partition", LEAK_FREE: "partition"}


def _view(
    view: str,
    source: str,
    table: Table,
    ids: Sequence[str],
    called: dict[str, str],
    beside: Path,
    may_lack: bool,
) -> ViewSource:
    if source.startswith(COLUMNS):
        columns = _matching(view, source.removeprefix(COLUMNS), table, called)
        return _table_view(table, columns, ids, ids, beside)
    file = Path(source)
    if file.suffix.lower() == ".npy":
        return array_view(read_array(file), features=f"columns of {file.name}", file=source)
    other = open_table(file)
    key = called["id"]
    columns = tuple(column for column in other.columns if column != key)
    if not columns:
        raise UserError(f"{file}: view {view} has no column of features.")
    if key in other.columns:
        return _table_view(other, columns, other.strings([key])[key], ids, beside, key, may_lack)
    first = other.strings(columns[:1])[columns[0]]
    if len(first) != len(ids):
        raise UserError(f"{file}: view {view} has {len(first)} rows but {table.file} has {len(ids)}.")
    return _table_view(other, columns, ids, ids, beside)


def _matching(view: str, patterns: str, table: Table, called: dict[str, str]) -> tuple[str, ...]:
    """Columns of the table that match, in its order; those with another role are refused."""
    roles = {column: name for name, column in called.items()}
    wanted = patterns.split(",")
    columns = tuple(column for column in table.columns if any(fnmatchcase(column, pattern) for pattern in wanted))
    if not columns:
        raise UserError(f"{table.file}: view {view}: no column matches {patterns}.")
    for column in columns:
        if column in roles:
            raise UserError(f"{table.file}: view {view}: column {column} is the {roles[column]}, not a feature.")
    return columns


def _table_view(
    table: Table,
    columns: tuple[str, ...],
    found: Sequence[str],
    ids: Sequence[str],
    beside: Path,
    key: str = "id",
    may_lack: bool = False,
) -> ViewSource:
    """Columns of a table whose rows are `found`, brought into the order `ids`, by way of a copy in `beside`; NaN for those of
    `ids` that the table does not have, where it `may_lack` some."""
    ordered = list(found) == list(ids)
    there = set(found)
    if not ordered:
        checks.check_ids(found, str(table.file), key)
        for sample in ids:
            if sample not in there and not may_lack:
                raise UserError(
                    f"{table.file}: row {checks.shown(sample)} of the sample table is missing; see --may-lack."
                )
        known = set(ids)
        for sample in found:
            if sample not in known:
                raise UserError(f"{table.file}: row {checks.shown(sample)} is not in the sample table.")

    def blocks() -> Iterator[np.ndarray]:
        if ordered:
            yield from table.numbers(columns, ids)
            return
        if not there:
            raise UserError(f"{table.file}: has a header and no rows.")
        with spooled(partial(table.numbers, columns, found), found, len(columns), beside) as rows:
            for start in range(0, len(ids), BLOCK_ROWS):
                wanted = ids[start : start + BLOCK_ROWS]
                block = np.full((len(wanted), len(columns)), np.nan, np.float32)
                kept = [sample in there for sample in wanted]
                block[kept] = rows(list(compress(wanted, kept)))
                yield block

    return ViewSource(
        (len(ids), len(columns)), blocks, f"columns of {table.file.name}", file=str(table.file), columns=columns
    )
