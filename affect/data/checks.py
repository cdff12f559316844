"""Checks of a sample table and of views. Each raises a `UserError` of one sentence: file, place and value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from affect.data.manifest import LEAK_FREE, SCORED, TargetInfo
from affect.errors import UserError

SPELLINGS = {
    "train": "train",
    "training": "train",
    "tr": "train",
    "development": "development",
    "develop": "development",
    "dev": "development",
    "devel": "development",
    "validation": "development",
    "valid": "development",
    "val": "development",
    "test": "test",
    "test1": "test",
    "testing": "test",
    "unlabelled": "unlabelled",
    "unlabeled": "unlabelled",
}
"""Common spellings of the partitions, in lower case."""


def canonical_partition(value: object, file: str, column: str, row: object) -> str:
    """`value` as one of `PARTITIONS`; `row` names the sample in the error."""
    name = SPELLINGS.get(str(value).strip().lower())
    if name is None:
        raise UserError(
            f"{file}: column {column}, row {shown(row)}: unknown partition {quoted(value)}; "
            "use train, development, test or unlabelled."
        )
    return name


def canonical_partitions(values: Sequence[Any], file: str, column: str, ids: Sequence[Any]) -> list[str]:
    """Every value as one of `PARTITIONS`."""
    known: dict[Any, str] = {}
    for value, row in zip(values, ids, strict=True):
        if value not in known:
            known[value] = canonical_partition(value, file, column, row)
    return [known[value] for value in values]


def check_ids(ids: Sequence[Any], file: str, column: str) -> None:
    """Ids are there and occur once."""
    first: dict[Any, int] = {}
    for row, value in enumerate(ids, start=1):
        if not isinstance(value, str) or not value:
            raise UserError(f"{file}: column {column}, row {row}: the id is missing.")
        if value in first:
            raise UserError(f"{file}: column {column}: id {shown(value)} occurs in rows {first[value]} and {row}.")
        first[value] = row


def check_target(values: np.ndarray, ids: Sequence[Any], info: TargetInfo, file: str, column: str) -> None:
    """Labels [N] lie on their scale; NaN means no label."""
    if not (np.isfinite([info.low, info.high]).all() and info.low < info.high):
        raise UserError(f"{file}: target {column} has the scale {info.low:g}..{info.high:g}, which is empty.")
    if info.kind == "class" and (wrong := np.flatnonzero(~np.isnan(values) & (values != np.round(values)))).size:
        raise UserError(
            f"{file}: column {column}, row {shown(ids[wrong[0]])}: {values[wrong[0]]:g} is no class; classes are "
            f"0..{info.high:g}."
        )
    wrong = np.flatnonzero(~np.isnan(values) & ~((values >= info.low) & (values <= info.high)))
    if len(wrong):
        raise UserError(
            f"{file}: column {column}, row {shown(ids[wrong[0]])}: label {values[wrong[0]]:g} lies outside "
            f"its scale {info.low:g}..{info.high:g}."
        )


def check_lengths(samples: pd.DataFrame, column: str, shape: Sequence[int], file: str) -> np.ndarray:
    """Column [N] of float64: the valid steps of each row of a view [N, T, ...], whole numbers in 1..T."""
    if column not in samples.columns:
        raise UserError(f"{file}: column {column} is missing.")
    values = samples[column].to_numpy(np.float64)
    wrong = np.flatnonzero(~((values >= 1) & (values <= shape[1]) & (values == np.round(values))))
    if len(wrong):
        raise UserError(
            f"{file}: column {column}, row {shown(samples['id'].iloc[wrong[0]])}: {values[wrong[0]]:g} is no length "
            f"in 1..{shape[1]}."
        )
    return values


def check_presence(
    present: Mapping[str, np.ndarray],
    views: Sequence[str],
    partitions: Mapping[str, np.ndarray],
    ids: Sequence[Any],
    file: str,
    called: Mapping[str, str],
) -> None:
    """`present` maps those of `views` that rows lack to which have them [N]. Every row has some view, rows of development and
    test have all, and some training row has each. `called` names the columns `partitions` in errors."""
    for view, there in present.items():
        for column, names in partitions.items():
            where = f"{file}: column {called.get(column, column)}"
            if not there[names == "train"].any():
                raise UserError(f"{where}: no row of train has view {view}; leave the view out.")
            lacking = np.flatnonzero(~there & np.isin(names, SCORED[1:]))
            if len(lacking):
                row = lacking[0]
                raise UserError(
                    f"{where}: row {shown(ids[row])} of {names[row]} lacks view {view}, but only rows of train and "
                    "unlabelled may lack one; make it unlabelled or leave it out."
                )
    if len(present) == len(views):
        nothing = np.flatnonzero(~np.any(list(present.values()), axis=0))
        if len(nothing):
            raise UserError(f"{file}: row {shown(ids[nothing[0]])} has no view at all; leave it out.")


def check_held(block: np.ndarray, present: np.ndarray, ids: Sequence[Any], file: str, view: str) -> None:
    """A block [n, ...] of a view, rows `ids`, holds numbers in the rows where it is `present` [n], NaN or zeros elsewhere."""
    rows = np.asarray(block).reshape(len(block), -1)
    empty = np.isnan(rows)
    for wrong, sentence in (
        ((~empty & (rows != 0)).any(axis=1) & ~present, "holds features, but is said to lack this view"),
        (empty.all(axis=1) & present, "is empty, but is said to have this view"),
    ):
        if wrong.any():
            raise UserError(f"{file}: view {view}, row {shown(ids[int(np.argmax(wrong))])}: {sentence}.")


def check_filled(partitions: np.ndarray, labels: Mapping[str, np.ndarray], file: str, column: str) -> None:
    """Train, development and test each have a label for every target: `labels` maps its column to values [N]."""
    for name in SCORED:
        inside = partitions == name
        if not inside.any():
            raise UserError(f"{file}: column {column}: partition {name} is empty.")
        for target, values in labels.items():
            if np.isnan(values[inside]).all():
                raise UserError(f"{file}: column {column}: partition {name} has no row with a label in {target}.")


def check_targets(wanted: Sequence[str], known: Iterable[str], place: object) -> None:
    """Every target that is `wanted` is `known` at that place."""
    known = tuple(known)
    for target in wanted:
        if target not in known:
            raise UserError(f"{place}: unknown target {target}; the corpus has {', '.join(known)}.")


def check_views(wanted: Sequence[str], known: Iterable[str], place: object) -> None:
    """Every view that is `wanted` is `known` at that place, and named once."""
    known = tuple(known)
    for view in wanted:
        if view not in known:
            raise UserError(f"{place}: unknown view {view}; the corpus has {', '.join(known)}.")
        if wanted.count(view) > 1:
            raise UserError(f"{place}: view {view} is named twice.")


def check_finite(block: np.ndarray, ids: Sequence[Any], file: str, view: str, columns: Sequence[str] = ()) -> None:
    """A block of a view, rows `ids`, is finite. `columns` names its columns, counted from 0 otherwise."""
    # Two infinities of either sign, or a NaN, keep the sum from being finite; a finite sum needs no second look.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(block.sum(dtype=np.float64)):
            return
    wrong = np.argwhere(~np.isfinite(block))
    if len(wrong):
        row, *place = wrong[0]
        name = columns[place[0]] if len(place) == 1 and columns else ",".join(map(str, place))
        value = block[tuple(wrong[0])]
        raise UserError(
            f"{file}: view {view}, row {shown(ids[row])}, column {name}: the feature is {value}, not finite."
        )


def known_names(values: Sequence[Any]) -> list[str | None]:
    """Names without the blanks around them; None where nothing is left."""
    return [None if pd.isna(value) else str(value).strip() or None for value in values]


def straddling(groups: np.ndarray, partitions: np.ndarray) -> dict[str, tuple[str, ...]]:
    """Groups that lie in two or more scored partitions → those partitions. Rows without a group are left out."""
    frame = pd.DataFrame({"group": groups, "partition": partitions}).dropna()
    frame = frame[frame["partition"].isin(SCORED)].drop_duplicates()
    found: dict[str, tuple[str, ...]] = {}
    for group, rows in frame[frame.duplicated("group", keep=False)].groupby("group", sort=True):
        present = set(rows["partition"])
        found[str(group)] = tuple(name for name in SCORED if name in present)
    return found


def ungrouped(groups: np.ndarray, partitions: np.ndarray) -> np.ndarray:
    """[N] whether a row lies in a scored partition and has no group: it may share one with any other."""
    alone: np.ndarray = pd.isna(groups) & np.isin(partitions.astype(str), SCORED)
    return alone


def check_leak_free(samples: pd.DataFrame, column: str, kind: str, file: str, called: Mapping[str, str]) -> None:
    """Every row of a scored partition has a group, and none lies in two. `called` names columns in errors."""
    groups, partitions = samples["group"].to_numpy(object), samples[column].to_numpy(object)
    for group, names in straddling(groups, partitions).items():
        raise UserError(
            f"{file}: column {called.get(column, column)}: {kind} {quoted(group)} lies in {' and '.join(names)}, "
            f"so protocol {LEAK_FREE} is refused."
        )
    for row in np.flatnonzero(ungrouped(groups, partitions)):
        raise UserError(
            f"{file}: column {called.get('group', 'group')}, row {shown(samples['id'].iloc[row])} of {partitions[row]}: "
            f"the {kind} is missing, so protocol {LEAK_FREE} is refused."
        )


def plain_text(text: object) -> str | None:
    """`text` in lower case with single blanks: what counts as the same text. None when there is none."""
    return " ".join(text.lower().split()) or None if isinstance(text, str) else None


def shown(value: object) -> str:
    """The id of a row as it appears in a sentence: as it is where that is one short printable word, else quoted."""
    text = str(value)
    return text if text and text.isprintable() and " " not in text and len(text) <= 60 else quoted(value)


def quoted(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")
