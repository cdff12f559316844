"""`affect prepare qcc`: the Quechua Collao corpus, real speech with valence, arousal and dominance."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data import checks
from affect.data.corpus import AS_PUBLISHED, UNKNOWN, Corpus, TargetInfo
from affect.data.formats.tabular import read_array
from affect.data.writer import array_view, refuse_existing, write_corpus
from affect.errors import UserError

HELP = "Quechua Collao corpus: real speech, 46 features, valence, arousal and dominance on 1..5"
EXAMPLE = "affect prepare qcc --root ../shared/data/qcc_speech_vad --out corpora/qcc"
DETAIL = (
    "Reads x_train.npy, x_val.npy, x_test.npy (46 features a row) and y_*.npy (columns valence, arousal, dominance) "
    "from --root. The release names no speakers, so only the protocol as_published is offered."
)
FILES = {"train": "train", "development": "val", "test": "test"}
"""Partition → suffix of its files."""
COLUMNS = ("valence", "arousal", "dominance")
"""The order of the columns in y_*.npy."""
TARGETS = ("arousal", "valence", "dominance")
SCALE = TargetInfo(1.0, 5.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder with x_train.npy, y_train.npy, ...")
    parser.add_argument("--out", type=Path, default=Path("corpora/qcc"), help="folder to write (%(default)s)")


def prepare(args: argparse.Namespace) -> Corpus:
    return prepare_qcc(args.root, args.out, args.overwrite)


def prepare_qcc(root: Path, out: Path, overwrite: bool = False) -> Corpus:
    """Write the corpus `out` from the release in `root`: view `hld` [12420, 46], ids such as train-00001."""
    refuse_existing(out, overwrite)
    features: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    ids: list[str] = []
    partitions: list[str] = []
    for partition, suffix in FILES.items():
        x_file, y_file = root / f"x_{suffix}.npy", root / f"y_{suffix}.npy"
        x, y = read_array(x_file), read_array(y_file)
        here = [f"{partition}-{row:05d}" for row in range(1, len(x) + 1)]
        if x.ndim != 2 or 0 in x.shape:
            raise UserError(f"{x_file}: has shape {list(x.shape)}; expected [rows, features].")
        if features and x.shape[1] != features[0].shape[1]:
            raise UserError(f"{x_file}: has {x.shape[1]} columns, x_train.npy {features[0].shape[1]}.")
        if y.ndim != 2 or y.shape[1] != len(COLUMNS):
            raise UserError(f"{y_file}: has shape {list(y.shape)}; expected [rows, {len(COLUMNS)}].")
        if len(x) != len(y):
            raise UserError(f"{x_file}: has {len(x)} rows but {y_file.name} has {len(y)}.")
        with np.errstate(over="ignore"):  # What is too large for float32 is named as infinite.
            features.append(x.astype(np.float32))
        labels.append(y.astype(np.float64))
        # Here, for in one piece they no longer tell which file they came from.
        checks.check_finite(features[-1], here, str(x_file), "hld")
        for name, values in zip(COLUMNS, labels[-1].T, strict=True):
            checks.check_target(values, here, SCALE, str(y_file), name)
            if np.isnan(values).all():
                raise UserError(f"{y_file}: column {name} has no label.")
        ids += here
        partitions += [partition] * len(x)
    values = dict(zip(COLUMNS, np.concatenate(labels).T, strict=True))
    return write_corpus(
        out,
        name="qcc",
        title="Quechua Collao corpus",
        banner="qcc: Quechua Collao corpus, real speech; groups unknown, so speakers may recur between partitions",
        synthetic=False,
        source="github.com/qccData/qccCorpus, sets/",
        licence="corpus CC BY 4.0, repository GPL-3.0",
        samples=pd.DataFrame({"id": ids, "partition": partitions, **{name: values[name] for name in TARGETS}}),
        targets=dict.fromkeys(TARGETS, SCALE),
        groups=UNKNOWN,
        protocols={AS_PUBLISHED: "partition"},
        views={
            "hld": array_view(
                np.concatenate(features),
                features="mean and standard deviation of the 23 eGeMAPSv01b low-level descriptors",
                file=str(root),
            )
        },
        samples_file=str(root),
        overwrite=overwrite,
    )
