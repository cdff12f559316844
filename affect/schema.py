"""The columns of the result tables: what engine writes and report reads. Version 1."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

VERSION = 1

_HEAD = [
    ("trial", pa.string()),  # full SHA-256
    ("study", pa.string()),
    ("system", pa.string()),
    ("system_version", pa.int32()),
    ("preset", pa.string()),
    ("protocol", pa.string()),
    ("corpus", pa.string()),
    ("corpus_fingerprint", pa.string()),
    ("label_fraction", pa.float64()),
    ("fold", pa.int32()),
    ("seed", pa.int32()),
    ("partition", pa.string()),
    ("target", pa.string()),
    ("metric", pa.string()),  # "nmse": the value is an imputation error over the rows that `target` names
    ("value", pa.float64()),
    ("n", pa.int32()),  # scored rows of the partition
    ("epoch", pa.int32()),  # kept epoch
    ("status", pa.string()),  # complete, diverged, failed, stopped
    ("message", pa.string()),
    ("pack", pa.string()),
    ("pack_size", pa.int32()),
    ("wall_seconds", pa.float64()),  # of the pack
    ("device", pa.string()),
    ("packages", pa.string()),  # "torch 2.13.0, ..."
    ("git_commit", pa.string()),
    ("git_dirty", pa.bool_()),
    ("search", pa.string()),  # name of the search that suggested the settings, if one did
    ("suggestion", pa.int32()),  # and the number of the suggestion in it
    ("source_hash", pa.string()),  # SHA-256; null in files written before it was recorded
    ("findings", pa.string()),  # kinds found in the corpus: "rows_recur (allowed),texts_recur"; null in older files
    ("view", pa.string()),  # "eeg+eye"; this and the next three, of the task, are null in older files
    ("transductive", pa.bool_()),
    ("missing", pa.float64()),  # share of rows from which the last view was hidden
    ("discard", pa.bool_()),
]

CURVES = pa.schema(
    [
        ("trial", pa.string()),
        ("epoch", pa.int32()),
        ("partition", pa.string()),
        ("target", pa.string()),
        ("metric", pa.string()),  # "learned": the value is what a network learned by the name in `target`
        ("value", pa.float64()),
    ],
    metadata={"affect_schema": str(VERSION)},
)

PREDICTIONS = pa.schema(
    [
        ("trial", pa.dictionary(pa.int32(), pa.string())),
        ("partition", pa.dictionary(pa.int32(), pa.string())),
        ("target", pa.dictionary(pa.int32(), pa.string())),
        ("sample", pa.string()),
        ("truth", pa.float32()),
        ("prediction", pa.float32()),
    ],
    metadata={"affect_schema": str(VERSION)},
)

SETTLED = ("complete", "diverged")
"""Statuses that satisfy a plan. A failed trial is run again, and so is one that a search stopped early."""


def trials_schema(hyperparameters: Sequence[tuple[str, float | int | str]]) -> pa.Schema:
    """Schema of `trials`: the fixed columns, then one column `hp_<name>` per (hyperparameter, example value), null
    where a system has none of that name."""
    kinds = {float: pa.float64(), int: pa.int64(), str: pa.string()}
    extra = [(f"hp_{name}", kinds[type(value)]) for name, value in hyperparameters]
    return pa.schema(_HEAD + extra, metadata={"affect_schema": str(VERSION)})
