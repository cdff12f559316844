"""Files that can carry more than numbers (pickles, .npz archives, MATLAB files), read for their numbers alone.

Nothing is ever unpickled freely: a pickle may name numpy's own ways of rebuilding arrays and nothing else. What would
take absurdly more memory than its file is refused before it is unpacked.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affect.errors import UserError

BOMB_BYTES, BOMB_RATIO = 256 << 20, 100
"""An array of more bytes than this, and more than this times the bytes that hold it, is a bomb."""


def read_pickle(raw: bytes, file: object) -> Any:
    """The arrays and plain containers (dict, list, tuple, str, bytes, numbers) in a pickle of Python 2 or 3.

    `file` names the place in the `UserError` that refuses anything else in it, before any of it is called.
    """
    try:
        return _Unpickler(io.BytesIO(raw), encoding="latin1").load()
    except _Forbidden as error:
        raise UserError(
            f"{file}: the pickle asks for {error}, which is neither array nor container; refused."
        ) from None
    except Exception as error:  # Malformed pickles raise whatever their opcodes stumble over.
        raise UserError(f"{file}: not a readable pickle ({_line(error)}).") from None


def read_npz(file: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an .npz archive by name (all of them by default), none of which holds Python objects."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            _need(names, members, file)
            found = {}
            for name in members if names is None else names:
                _refuse_bomb(members[name].file_size, members[name].compress_size, f"{file}: array {name}")
                with archive.open(members[name]) as member:
                    found[name] = np.lib.format.read_array(member, allow_pickle=False)
            return found
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, MemoryError) as error:
        raise UserError(f"{file}: not a readable .npz archive ({_line(error)}).") from None


def read_mat(file: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Numeric arrays of a MATLAB file by name (all by default); version 7.3 needs h5py."""
    from scipy.io import loadmat, matlab, whosmat

    try:
        shapes = {name: (shape, kind) for name, shape, kind in whosmat(file)}
        wanted = list(shapes) if names is None else list(names)
        _need(names, shapes, file)
        for name in wanted:
            _refuse_bomb(8 * math.prod(shapes[name][0]), file.stat().st_size, f"{file}: array {name}")
        loaded = loadmat(file, variable_names=wanted)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file.") from None
    except NotImplementedError:  # What scipy raises for MATLAB 7.3, which is HDF5.
        return _read_hdf5(file, names)
    except UserError:
        raise
    except (matlab.MatReadError, Exception) as error:  # Malformed files raise whatever the parser stumbles over.
        raise UserError(f"{file}: not a readable MATLAB file ({_line(error)}).") from None
    found = {name: loaded[name] for name in wanted}
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise UserError(f"{file}: array {name} holds {getattr(array, 'dtype', type(array).__name__)}, not numbers.")
    return found


def _read_hdf5(file: Path, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise UserError(f"{file}: is a MATLAB 7.3 file; `pip install h5py` to read it.") from None
    try:
        with h5py.File(file, "r") as opened:
            arrays = {name: item for name, item in opened.items() if isinstance(item, h5py.Dataset)}
            _need(names, arrays, file)
            found = {}
            for name in arrays if names is None else names:
                _refuse_bomb(arrays[name].nbytes, file.stat().st_size, f"{file}: array {name}")
                # MATLAB stores columns first, so HDF5 sees every array transposed.
                found[name] = arrays[name][()].T
            return found
    except OSError as error:
        raise UserError(f"{file}: not a readable MATLAB 7.3 file ({_line(error)}).") from None


def _need(names: Sequence[str] | None, known: Any, file: Path) -> None:
    for name in names or ():
        if name not in known:
            shown = ", ".join(list(known)[:12]) or "nothing"
            raise UserError(f"{file}: array {name} is missing; the file has {shown}.")


def _refuse_bomb(size: int, stored: int, place: str) -> None:
    if size > BOMB_BYTES and size > BOMB_RATIO * stored:
        raise UserError(f"{place} would unpack {stored:,} bytes to {size:,}; refused.")


class _Forbidden(Exception):
    pass


class _ArrayType:
    """Stands for `numpy.ndarray` in a pickle, which only ever names it: calling it could claim any amount of memory."""


def _reconstruct(kind: object, shape: object, code: object) -> np.ndarray:
    if kind is not _ArrayType:
        raise _Forbidden("an array of a type of its own")
    return np.empty((0,), "b")  # What numpy pickles before the state that gives shape, type and bytes.


def _from_buffer(buffer: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(bytes(buffer), dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _Forbidden(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _scalar(dtype: np.dtype[Any], raw: bytes = b"") -> Any:
    if dtype.kind not in "fiub":
        raise _Forbidden(f"a scalar of type {dtype}")
    return np.frombuffer(raw, dtype, 1)[0]


_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _reconstruct for module in _ARRAYS},
    **{(module, "scalar"): _scalar for module in _ARRAYS},
    **{(f"{module}.numeric", "_frombuffer"): _from_buffer for module in ("numpy.core", "numpy._core")},
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Any:
        raise _Forbidden("an object kept elsewhere")


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 200 else text[:197] + "...") or type(error).__name__
