"""Precomputed features in every form that readers take, and what is attached from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.io import savemat

from affect.data.features import options
from affect.data.features.options import Attached, attach

NAMES = ("a", "b", "c.1", "d")
VECTORS = np.array([[1.5, -2.0, 3e-7], [0.1, 2.5e12, -0.0], [7.0, 8.0, 9.0], [0.25, 0.5, 0.75]])
FRAMES = {name: np.random.default_rng(i).standard_normal((2 + i, 3)) for i, name in enumerate(NAMES)}
SET = ("--feature-set", "my set 1")


def parsed(out: Path, *words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    parser.add_argument("--out", type=Path)
    return parser.parse_args([*map(str, words), "--out", str(out / "corpus")])


def no_wavs() -> dict[str, Path]:
    raise AssertionError("recordings were asked for")


def attached(tmp_path: Path, *words: object, ids: tuple[str, ...] = NAMES) -> Attached:
    return attach(pd.DataFrame({"id": ids}), parsed(tmp_path, *words), no_wavs)


def values(made: Attached, view: str) -> np.ndarray:
    source = made.views[view]
    whole = np.concatenate(list(source.blocks()))
    assert whole.shape == source.shape
    return whole


def arff(rows: dict[str, list[np.ndarray]]) -> str:
    """As openSMILE writes it: a quoted name, a time, features, a class of unknown value."""
    head = "@relation openSMILE_features\n\n@attribute name string\n@attribute frameTime numeric\n"
    head += "".join(f"@attribute pcm_f{i}[0] numeric\n" for i in range(3))
    head += "@attribute class {unknown}\n@attribute emotion numeric\n".replace("emotion", "Class")
    lines = [
        f"'{name}.wav',0.010000,{','.join(repr(float(x)) for x in row)},?,?" for name in rows for row in rows[name]
    ]
    return f"{head}\n@data\n\n" + "\n".join(lines) + "\n"


def comma(cells: np.ndarray) -> str:
    return ",".join(repr(float(x)) for x in cells)


CLIPS: dict[str, Callable[[Path, str, np.ndarray], object]] = {
    "npy": lambda file, _, x: np.save(file, x),
    "npz": lambda file, _, x: np.savez(file, anything=x, fs=np.array("16 kHz")),
    "mat": lambda file, _, x: savemat(file, {"Audio_data": x, "note": "16 kHz"}),
    "csv": lambda file, _, x: file.write_text("\n".join(map(comma, np.atleast_2d(x))) + "\n"),
    "tsv": lambda file, _, x: file.write_text("\n".join(map(comma, np.atleast_2d(x))).replace(",", "\t")),
    "arff": lambda file, name, x: file.write_text(arff({name: list(np.atleast_2d(x))})),
}


def smile_csv(file: Path, name: str, x: np.ndarray) -> None:
    lines = [f"'{name}';0.01;{comma(row).replace(',', ';')}" for row in np.atleast_2d(x)]
    file.write_text("name;frameTime;f0;f1;f2\n" + "\n".join(lines))


def frame_of(vectors: np.ndarray, key: str = "id") -> pd.DataFrame:
    return pd.DataFrame({key: NAMES, **{f"f{i}": vectors[:, i] for i in range(3)}})


def beside_npy(folder: Path) -> Path:
    np.save(folder / "x.npy", VECTORS)
    (folder / "x.ids.txt").write_text("\n".join(NAMES) + "\n")
    return folder / "x.npy"


def beside_mat(folder: Path) -> Path:
    savemat(folder / "x.mat", {"X": VECTORS})
    (folder / "x.ids.csv").write_text("row,file\n" + "".join(f"{i},some/{n}.WAV\n" for i, n in enumerate(NAMES)))
    return folder / "x.mat"


def inside_npz(folder: Path) -> Path:
    np.savez(folder / "x.npz", features=VECTORS, clips=np.array(NAMES))
    return folder / "x.npz"


def table(folder: Path, suffix: str, key: str = "id") -> Path:
    file, frame = folder / f"x.{suffix}", frame_of(VECTORS, key)
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pandas(frame), file)
    elif suffix == "smile.csv":
        lines = [f"'{name}.wav';0.0;{comma(row).replace(',', ';')}" for name, row in zip(NAMES, VECTORS, strict=True)]
        file.write_text("name;frameTime;f0;f1;f2\n" + "\n".join(lines) + "\n")
    elif suffix == "arff":
        file.write_text(arff(dict(zip(NAMES, VECTORS[:, None], strict=True))))
    else:
        frame.assign(start="0 days").to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    return file


TABLES: dict[str, Callable[[Path], Path]] = {
    "npy": beside_npy,
    "mat": beside_mat,
    "npz": inside_npz,
    "csv": lambda folder: table(folder, "csv"),
    "tsv": lambda folder: table(folder, "tsv", "FileName"),
    "parquet": lambda folder: table(folder, "parquet", "name"),
    "arff": lambda folder: table(folder, "arff"),
    "smile": lambda folder: table(folder, "smile.csv"),
}
