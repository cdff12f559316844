"""Arrays from .npz archives and MATLAB files, read for their numbers alone.

What would take much more memory than its file is refused before it is unpacked.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from affect.data.formats import mat5
from affect.data.formats.limits import need, readable, refuse_bomb
from affect.errors import UserError

NUMBERS = "fiub"
"""Kinds of dtype that are real numbers."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How numpy packs arrays; what else a zip archive may use is not unpacked piece by piece."""


def read_npz(file: Path, names: Sequence[str] | None = None, most_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Arrays of an .npz archive by name (all of them by default): numbers or plain strings, never Python objects.

    `most_bytes` bounds what they take together; without it they may take what `refuse_bomb` grants a file of this size.
    """
    with readable(file, ".npz archive"), zipfile.ZipFile(file) as archive:
        members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
        need(names, members, file)
        wanted = list(members) if names is None else names
        for name in wanted:
            if members[name].compress_type not in PACKED:
                raise UserError(f"{file}: array {name} is packed in a way that numpy does not use.")
        refuse_bomb(sum(members[name].file_size for name in wanted), file.stat().st_size, file, most_bytes)
        found = {}
        for name in wanted:
            with archive.open(members[name]) as member:
                found[name] = np.lib.format.read_array(member, allow_pickle=False)
        _check_kinds(found, NUMBERS + "SU", file)
        return found


def read_mat(file: Path, names: Sequence[str] | None = None, most_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Numeric arrays of a MATLAB file by name (by default all that are numeric); version 7.3 needs h5py.

    `most_bytes` as for `read_npz`.
    """
    with readable(file, "MATLAB file"), file.open("rb") as stream:
        if _is_hdf5(stream.read(mat5.HEADER)):
            with _opened_hdf5(file, names, most_bytes) as arrays:
                # MATLAB stores columns first, so HDF5 sees every array transposed.
                return {name: item[()].T for name, item in arrays.items()}
        known = mat5.variables(stream)
        need(names, known, file)
        wanted = [name for name in known if known[name].numeric] if names is None else names
        for name in wanted:
            if not known[name].numeric:
                raise UserError(f"{file}: array {name} holds {known[name].kind}, not numbers.")
        refuse_bomb(sum(known[name].memory for name in wanted), file.stat().st_size, file, most_bytes)
        return {name: mat5.numbers(stream, known[name]) for name in wanted}


Head = tuple[tuple[int, ...], str]
"""Shape of an array and the kind of its dtype."""


def heads(file: Path) -> dict[str, Head]:
    """What an .npz archive, or else a MATLAB file, holds, by name; the numbers themselves are not read.

    Of a MATLAB file these are the arrays of numbers alone.
    """
    if file.suffix.lower() == ".npz":
        with readable(file, ".npz archive"), zipfile.ZipFile(file) as archive:
            return {item.filename.removesuffix(".npy"): _head(archive, item) for item in archive.infolist()}
    with readable(file, "MATLAB file"), file.open("rb") as stream:
        if _is_hdf5(stream.read(mat5.HEADER)):
            with _opened_hdf5(file, None, None) as arrays:
                return {name: (item.shape[::-1], item.dtype.kind) for name, item in arrays.items()}
        known = mat5.variables(stream).items()
        return {name: (item.shape, np.dtype(item.kind).kind) for name, item in known if item.numeric}


def _head(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> Head:
    with archive.open(item) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        return shape, dtype.kind


def _is_hdf5(head: bytes) -> bool:
    """Whether a MATLAB file that begins like this is of version 7.3."""
    return head[124:] == b"\x00\x02IM"


@contextmanager
def _opened_hdf5(file: Path, names: Sequence[str] | None, most_bytes: int | None) -> Iterator[dict[str, Any]]:
    """The data sets of a MATLAB 7.3 file that are arrays of numbers, or those in `names`, fit to be read."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{file}: is a MATLAB 7.3 file; `pip install h5py` to read it.") from None
    with h5py.File(file, "r") as opened:
        # A link, or a data set whose bytes lie elsewhere, would read another file than the one that was named.
        own = [name for name in opened if isinstance(opened.get(name, getlink=True), h5py.HardLink)]
        arrays = {name: opened[name] for name in own if isinstance(opened[name], h5py.Dataset)}
        arrays = {name: item for name, item in arrays.items() if item.external is None and not item.is_virtual}
        need(names, arrays, file)
        wanted = [name for name in arrays if _is_numeric(arrays[name])] if names is None else names
        refuse_bomb(sum(_memory(arrays[name]) for name in wanted), file.stat().st_size, file, most_bytes)
        _check_kinds({name: arrays[name] for name in wanted}, NUMBERS, file)
        yield {name: arrays[name] for name in wanted}


def _memory(item: Any) -> int:
    """Bytes that reading a data set takes at once: a piece that is unpacked may be larger than the array."""
    return int(max(item.nbytes, math.prod(item.chunks or ()) * item.dtype.itemsize))


def _is_numeric(item: Any) -> bool:
    """Whether a data set of a MATLAB file holds numbers; text is stored as numbers and marked."""
    return item.dtype.kind in NUMBERS and item.attrs.get("MATLAB_class") != b"char"


def _check_kinds(arrays: Mapping[str, Any], kinds: str, file: Path) -> None:
    for name, array in arrays.items():
        if array.dtype.kind not in kinds:
            raise UserError(f"{file}: array {name} holds {array.dtype}, not numbers.")
