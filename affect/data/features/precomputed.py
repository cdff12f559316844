"""Precomputed features in the forms that people have them: a file per clip, or a table of one row per clip."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from affect.data import checks
from affect.data.features.audio import STEPS
from affect.data.features.sources import Gather, Source, at_hand, padded, refuse_other_columns, spooled
from affect.data.formats.foreign import NUMBERS, Head, heads, read_mat, read_npz
from affect.data.formats.rows import ID_COLUMNS, NOT_FEATURES, Rows, key_of, open_arff, open_csv, open_semicolons
from affect.data.formats.tabular import open_table, read_array
from affect.errors import UserError

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".arff", ".mat")
"""Of files per clip."""
TEXTS = (".csv", ".tsv", ".arff")
"""Of those, the ones whose columns may have names."""
RECORDINGS = (".wav", ".flac", ".mp3", ".mp4", ".avi")
"""Suffixes that an id in a table may carry."""
VECTORS, FRAMES = "hld", "lld"
"""What a view of one vector per clip is called, and one of frames."""


def open_precomputed(path: Path, feature_set: str | None, beside: Path) -> dict[str, Source]:
    """View → source, of one view: `hld` for vectors, `lld` for frames. `beside` is a folder with room for a copy."""
    if not feature_set:
        raise UserError(
            f"{path}: add --feature-set with the name and version of these features, such as "
            '--feature-set "IS13_ComParE, openSMILE 2.3".'
        )
    source = _open_clips(path, feature_set) if path.is_dir() else _open_table(path, feature_set, beside)
    return {VECTORS if source.steps is None else FRAMES: source}


# A file per clip


def _open_clips(folder: Path, feature_set: str) -> Source:
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        if file.stem in files:
            raise UserError(f"{file}: clip {checks.shown(file.stem)} has {files[file.stem].name} as well.")
        files[file.stem] = file
    if not files:
        raise UserError(f"{folder}: holds no file of features ({', '.join(SUFFIXES)}).")
    example = _example(files.values())
    width = example.values.shape[-1]

    def vectors(ids: Sequence[str]) -> np.ndarray:
        return np.stack([_vector(files[clip], example) for clip in ids])

    def frames(ids: Sequence[str]) -> np.ndarray:
        return np.stack([padded(_frames(files[clip], example), STEPS) for clip in ids])

    if example.values.ndim == 1:
        return Source(folder, feature_set, (width,), files.keys(), at_hand(vectors), columns=example.columns)

    def steps(ids: Sequence[str]) -> list[int]:
        found = [_length(files[clip], example) for clip in ids]
        if width == STEPS and len(set(found)) == 1 and found[0] < STEPS:
            raise UserError(
                f"{folder}: every clip holds an array [{found[0]}, {STEPS}], which looks transposed; [frames, columns] is "
                "due."
            )
        return found

    return Source(folder, feature_set, (STEPS, width), files.keys(), at_hand(frames), steps, example.columns)


@dataclass(frozen=True)
class _Clip:
    """What a file of one clip holds."""

    file: Path
    values: np.ndarray
    """A vector [D] (also where the file holds one row, or one column without a name), or frames [T, D]."""
    columns: tuple[str, ...] = ()
    """Their names [D], where the file has any."""


def _example(files: Collection[Path]) -> _Clip:
    """The clip that all others must be like: the first one whose columns have names, or the first one."""
    texts = (file for file in files if file.suffix.lower() in TEXTS)
    named = next((file for file in texts if _rows(file).named), None)
    return _read_clip(named or next(iter(files)))


def _rows(file: Path) -> Rows:
    return open_arff(file) if file.suffix.lower() == ".arff" else open_csv(file)


def _read_clip(file: Path) -> _Clip:
    suffix = file.suffix.lower()
    columns: tuple[str, ...] = ()
    if suffix == ".npy":
        values = read_array(file)
    elif suffix in (".npz", ".mat"):
        values = _read(file, _only(heads(file), file)[0])
    else:
        rows = _rows(file)
        found = list(rows.numbers())
        values = np.stack(found) if found else np.empty((0, 0))
        columns = rows.columns if rows.named else ()
    if values.ndim not in (1, 2) or not values.size:
        raise UserError(f"{file}: holds an array {list(values.shape)}; [columns] or [frames, columns] is due.")
    if values.ndim == 2 and len(values) == 1:
        return _Clip(file, values[0], columns)
    if values.ndim == 2 and values.shape[1] == 1 and not columns:
        return _Clip(file, values[:, 0])
    return _Clip(file, values, columns)


def _vector(file: Path, example: _Clip) -> np.ndarray:
    values = _alike(file, example)
    if values.ndim != 1:
        raise UserError(f"{file}: holds {len(values)} rows, but {example.file.name} holds one.")
    return values


def _frames(file: Path, example: _Clip) -> np.ndarray:
    return np.atleast_2d(_alike(file, example))


def _length(file: Path, example: _Clip) -> int:
    """Frames of a clip, from the head of its file where that tells."""
    if file.suffix.lower() in (".npz", ".mat"):
        _, shape = _only(heads(file), file)
        if len(shape) == 2 and shape[1] == example.values.shape[-1] > 1:
            return shape[0]
    return len(_frames(file, example))


def _alike(file: Path, example: _Clip) -> np.ndarray:
    """The numbers of a clip, whose columns are those of `example`."""
    clip = _read_clip(file)
    width = example.values.shape[-1]
    if clip.values.shape[-1] != width:
        turned = clip.values.ndim == 2 and clip.values.shape[:-1] == example.values.shape[:-1]
        hint = "; as many rows look as if both were transposed, where [frames, columns] is due" if turned else ""
        raise UserError(f"{file}: has {clip.values.shape[-1]} columns, but {example.file.name} has {width}{hint}.")
    refuse_other_columns(file, clip.columns, example.file, example.columns)
    return clip.values


def _only(arrays: Mapping[str, Head], file: Path) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the one array of numbers."""
    numeric = {name: shape for name, (shape, kind) in arrays.items() if kind in NUMBERS}
    if len(numeric) != 1:
        raise UserError(f"{file}: holds {', '.join(numeric) or 'no array'} of numbers; exactly one is due.")
    return next(iter(numeric.items()))


def _read(file: Path, name: str) -> np.ndarray:
    return (read_npz if file.suffix.lower() == ".npz" else read_mat)(file, [name])[name]


# A table


def _open_table(file: Path, feature_set: str, beside: Path) -> Source:
    suffix = file.suffix.lower()
    if suffix in (".npy", ".npz", ".mat"):
        return _open_array(file, feature_set)
    if suffix == ".arff":
        return _open_text(open_arff(file), feature_set, beside)
    if suffix == ".csv" and (rows := open_semicolons(file)) is not None:
        return _open_text(rows, feature_set, beside)
    table = open_table(file)
    key = key_of(table.columns)
    if key is None:
        raise _no_ids(file)
    column = table.columns[key]
    named = table.strings([column])[column]
    features = tuple(name for name in table.columns if name.lower() not in NOT_FEATURES)
    return _streamed(
        file, feature_set, named, column, table.columns, features, beside, partial(table.numbers, features, named)
    )


def _open_text(rows: Rows, feature_set: str, beside: Path) -> Source:
    key = rows.key
    if key is None:
        raise _no_ids(rows.file)
    named = [cells[key] for _, cells in rows.cells()]
    return _streamed(rows.file, feature_set, named, rows.names[key], rows.names, rows.columns, beside, rows.numbers)


def _streamed(
    file: Path,
    feature_set: str,
    named: Sequence[str],
    key: str,
    columns: Sequence[str],
    features: tuple[str, ...],
    beside: Path,
    blocks: Callable[[], Iterable[np.ndarray]],
) -> Source:
    """A table of which `blocks` brings the rows one after another: a row [D], or some [n, D], at a time."""
    ids = _ids(named, file, key)
    if not features:
        raise UserError(f"{file}: has no column of features.")
    other = [name for name in columns if name not in features and name != key]
    notes = (f"Columns of {file.name} that are no features were left out: {', '.join(other)}.",) if other else ()
    opened = partial(spooled, blocks, ids, len(features), beside)
    return Source(file, feature_set, (len(features),), ids, opened, columns=features, notes=notes)


def _open_array(file: Path, feature_set: str) -> Source:
    """An array [N, D], the ids in the archive (.npz) or in a file beside it."""
    ids = None
    if file.suffix.lower() == ".npy":
        mapped = read_array(file)
        shape, values = mapped.shape, lambda: mapped
    else:
        arrays = heads(file)
        name, shape = _only(arrays, file)
        values = partial(_read, file, name)
        texts = [name for name, (shape, kind) in arrays.items() if kind == "U" and len(shape) == 1]
        if len(texts) == 1:
            ids = _ids(_read(file, texts[0]).tolist(), file, texts[0])
    if len(shape) != 2 or 0 in shape:
        raise UserError(f"{file}: holds an array {list(shape)}; [clips, columns] is due.")
    ids = ids or _ids_beside(file)
    if len(ids) != shape[0]:
        raise UserError(f"{file}: has {shape[0]} rows but {len(ids)} ids.")
    return Source(file, feature_set, shape[1:], ids, partial(_loaded, values, ids))


@contextmanager
def _loaded(values: Callable[[], np.ndarray], ids: Sequence[str]) -> Iterator[Gather]:
    """An array [N, D] that is in memory for as long as its rows are wanted, in any order."""
    place = {clip: row for row, clip in enumerate(ids)}
    array = values()
    yield lambda wanted: array[[place[clip] for clip in wanted]]


def _ids_beside(file: Path) -> list[str]:
    """Ids from `<name>.ids.txt`, one a line, or `<name>.ids.csv`, in a column called id, name or file."""
    lines, listed = (file.with_name(f"{file.stem}.ids{suffix}") for suffix in (".txt", ".csv"))
    if lines.is_file():
        try:
            return _ids(lines.read_text(encoding="utf-8").splitlines(), lines, "1")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{lines}: cannot be read ({error}).") from None
    if not listed.is_file():
        raise UserError(f"{file}: the ids of its rows are missing; write them to {lines.name}, one a line.")
    table = open_table(listed)
    key = key_of(table.columns)
    if key is None:
        raise _no_ids(listed)
    column = table.columns[key]
    return _ids(table.strings([column])[column], listed, column)


def _ids(named: Sequence[str], file: Path, column: str) -> list[str]:
    """Clip names without folder and suffix, each of which is there once."""
    ids = []
    for name in named:
        path = PurePosixPath(name.strip().replace("\\", "/"))
        ids.append(path.stem if path.suffix.lower() in RECORDINGS else path.name)
    checks.check_ids(ids, str(file), column)
    if not ids:
        raise UserError(f"{file}: has no rows.")
    return ids


def _no_ids(file: Path) -> UserError:
    return UserError(f"{file}: no column names the clips; call it {' or '.join(ID_COLUMNS[:3])}.")
