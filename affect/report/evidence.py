"""What a report is made from: the resolved study and the rows that its final trials left."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from affect.resolved import Resolved, SearchRecord

VALUES = ("system", "label_fraction", "target", "partition", "seed", "value", "n", "epoch", "status")
CHOICES = ("system", "label_fraction", "target", "settings", "options")
EXPECTED = ("system", "label_fraction", "target", "seed")
CURVES = ("system", "label_fraction", "target", "partition", "seed", "epoch", "value")
LEARNED = ("system", "label_fraction", "seed", "epoch", "kept", "name", "value")
IMPUTED = ("system", "sample", "feature", "truth", "prediction")
ERRORS = ("system", "label_fraction", "seed", "rows", "value")

HISTORY = ("number", "status", "value", "epochs", "parameters", "settings", "rungs", "steps")


@dataclass(frozen=True, eq=False)
class SearchEvidence:
    """What a search tried. Histories have the columns `HISTORY`: one row per suggestion in the order of asking;
    `value` is the mean development value up to epoch `epochs`, `steps` the optimiser steps it took, `parameters`,
    `settings` and `rungs` (epoch → value) are JSON."""

    record: SearchRecord
    history: pd.DataFrame
    control: pd.DataFrame | None = None
    """History of the search that stopped nothing."""
    path: pd.DataFrame | None = None
    """`VALUES` of the rows of the ablation path."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Rows behind the tables of one study with one corpus. The order of rows does not matter.

    Raises ValueError when a frame lacks a column.
    """

    resolved: Resolved
    values: pd.DataFrame
    """`VALUES`: one row per final trial × partition behind a table cell; `n` scored rows, `epoch` the one kept."""
    choices: pd.DataFrame
    """`CHOICES`: per cell the full settings, as a dict, and of how many candidates they are the chosen one (1: no choice)."""
    expected: pd.DataFrame
    """`EXPECTED`: the trials that the plan wants, so that what is missing is shown as missing."""
    curves: pd.DataFrame | None = None
    """`CURVES`: values per epoch."""
    learned: pd.DataFrame | None = None
    """`LEARNED`: what networks learned by `name`, per epoch, of which one was `kept`."""
    errors: pd.DataFrame | None = None
    """`ERRORS`: relative imputation errors, over the missing rows of a view or all of its rows."""
    imputed: pd.DataFrame | None = None
    """`IMPUTED`: some rows of a view that training rows lacked, feature by feature, and what was filled in, of one seed."""
    search: SearchEvidence | None = None
    """Where the rows are the refits of a search."""

    def __post_init__(self) -> None:
        wanted = {"values": VALUES, "choices": CHOICES, "expected": EXPECTED, "curves": CURVES}
        wanted |= {"learned": LEARNED, "errors": ERRORS, "imputed": IMPUTED}
        for name, columns in wanted.items():
            frame = getattr(self, name)
            lacking = [] if frame is None else [column for column in columns if column not in frame.columns]
            if lacking:
                raise ValueError(f"{name} lacks the columns {', '.join(lacking)}")
