"""Features of clips: one `.npy` file per clip in a folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data.tabular import read_array
from affect.data.writer import ViewSource, array_view
from affect.errors import UserError

Wavs = Callable[[], Mapping[str, Path]]
"""Gives id → wav file of every clip; called only where audio is wanted."""


@dataclass(frozen=True)
class Attached:
    """The samples that have features, the views made of them, and sentences about what was left out."""

    samples: pd.DataFrame
    views: dict[str, ViewSource]
    notes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--features", type=Path, required=True, metavar="FOLDER", help="folder with <clip>.npy files")


def known_ids(args: argparse.Namespace, wavs: Wavs) -> list[str]:
    """Ids of all clips that have features, in order."""
    if not args.features.is_dir():
        raise UserError(f"{args.features}: there is no such folder.")
    return sorted(file.stem for file in args.features.glob("[!.]*.npy"))


def attach(samples: pd.DataFrame, args: argparse.Namespace, wavs: Wavs) -> Attached:
    """The rows of `samples` (column id) that have features, with the view `hld` [N, D]."""
    inside = samples["id"].isin(known_ids(args, wavs))
    kept = samples[inside].reset_index(drop=True)
    if kept.empty:
        raise UserError(f"{args.features}: holds features of none of the {len(samples)} clips.")
    arrays = [read_array(args.features / f"{clip}.npy") for clip in kept["id"]]
    for clip, array in zip(kept["id"], arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise UserError(f"{args.features / clip}.npy: has shape {list(array.shape)}, not {list(arrays[0].shape)}.")
    notes = () if inside.all() else (f"{(~inside).sum()} of {len(samples)} clips have no features and are left out.",)
    return Attached(kept, {"hld": array_view(np.stack(arrays), args.features.name, file=str(args.features))}, notes)
