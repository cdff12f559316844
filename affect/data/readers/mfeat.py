"""`affect prepare mfeat`: UCI Multiple Features, six views of 2,000 handwritten digits. No emotion: open data with several
views, on which multi-view systems can be tried.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data.corpus import AS_PUBLISHED, LEAK_FREE, Corpus, class_target
from affect.data.writer import array_view, refuse_existing, write_corpus
from affect.errors import UserError
from affect.streams import stream

HELP = "UCI Multiple Features: six views of 2,000 handwritten digits"
EXAMPLE = "affect prepare mfeat --root ../shared/data/mfeat --out corpora/mfeat"
DETAIL = (
    "Reads mfeat-fac.csv, mfeat-fou.csv, ... (a header, then features and the digit last) from --root. The release has no "
    "partition: 60 % of each digit are train, 20 % development and 20 % test, drawn by --seed. Both protocols are this one "
    "split, which keeps digits that were scanned twice together."
)
VIEWS = {
    "fac": "profile correlations",
    "fou": "Fourier coefficients of the shape",
    "kar": "Karhunen-Loève coefficients",
    "mor": "morphological features",
    "pix": "averages of 2 x 3 pixels",
    "zer": "Zernike moments",
}
CLASSES = tuple(map(str, range(10)))
SHARES = {"test": 0.2, "development": 0.2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder with mfeat-fac.csv, mfeat-fou.csv, ...")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("corpora/mfeat"), help="folder to write (%(default)s)")


def prepare(args: argparse.Namespace) -> Corpus:
    return prepare_mfeat(args.root, args.out, args.seed, args.overwrite)


def prepare_mfeat(root: Path, out: Path, seed: int = 0, overwrite: bool = False) -> Corpus:
    """Write the corpus `out` from the files in `root`: six views [2000, 6 to 240] and the target `digit`.

    Rows that are alike in every view are one group. Raises `UserError` for files that are not each other's.
    """
    refuse_existing(out, overwrite)
    if seed < 0:
        raise UserError(f"--seed {seed}: must not be negative.")
    arrays: dict[str, np.ndarray] = {}
    digits = np.empty(0)
    for view in VIEWS:
        file = root / f"mfeat-{view}.csv"
        table = _numbers(file)
        arrays[view], found = table[:, :-1], table[:, -1]
        if len(digits) == 0:
            digits = found
        if not np.array_equal(found, digits):
            raise UserError(f"{file}: its last column differs from that of mfeat-{next(iter(VIEWS))}.csv.")
    wrong = np.flatnonzero(~np.isin(digits, np.arange(len(CLASSES))))
    if len(wrong):
        raise UserError(f"{file}: line {wrong[0] + 2} ends with {digits[wrong[0]]:g}, which is no digit.")
    groups = np.unique(np.concatenate(list(arrays.values()), 1), axis=0, return_inverse=True)[1]
    return write_corpus(
        out,
        name="mfeat" if seed == 0 else f"mfeat-seed-{seed}",
        title="UCI Multiple Features",
        banner="mfeat: six views of handwritten digits, real data without any emotion; split by affect",
        synthetic=False,
        source=f"UCI Machine Learning Repository, Multiple Features; split drawn by affect, seed {seed}",
        licence="CC BY 4.0",
        samples=pd.DataFrame(
            {
                "id": [f"digit-{row:04d}" for row in range(1, len(digits) + 1)],
                "group": [f"scan-{group:04d}" for group in groups],
                "partition": stratified(digits, groups, seed),
                "digit": digits,
            }
        ),
        targets={"digit": class_target(*CLASSES)},
        groups="scan",
        protocols={AS_PUBLISHED: "partition", LEAK_FREE: "partition"},
        views={
            view: array_view(array, VIEWS[view], file=str(root / f"mfeat-{view}.csv")) for view, array in arrays.items()
        },
        samples_file=str(root),
        overwrite=overwrite,
    )


def stratified(classes: np.ndarray, groups: np.ndarray, seed: int) -> list[str]:
    """Partitions [N] that no group straddles, with the `SHARES` of each class: groups are dealt in an order drawn from a
    named stream, to test and development as long as they have room, and the rest to train."""
    partition = np.full(len(classes), "train", dtype=object)
    for each in np.unique(classes):
        rows = np.flatnonzero(classes == each)
        room = {name: round(share * len(rows)) for name, share in SHARES.items()}
        found = np.unique(groups[rows])
        for group in stream(seed, "split", "classes", int(each)).permutation(found):
            members = rows[groups[rows] == group]
            for name in room:
                if len(members) <= room[name]:
                    room[name] -= len(members)
                    partition[members] = name
                    break
    return partition.tolist()


def _numbers(file: Path) -> np.ndarray:
    """A file without its header [N, D + 1], float64. The header names two columns alike, so it is passed over."""
    try:
        table = np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as numbers ({str(error).splitlines()[0].rstrip('.')}).") from None
    if len(table) == 0 or table.shape[1] < 2:
        raise UserError(f"{file}: holds {list(table.shape)} numbers, not rows of features and a digit.")
    return table
