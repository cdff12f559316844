"""Files that can carry more than numbers (pickles, .npz archives, MATLAB files), read for their numbers alone.

Nothing is ever unpickled freely: a pickle may name numpy's own ways of rebuilding arrays and nothing else, and even
those are only noted down until an array is asked for. What would take absurdly more memory than its file is refused
before it is unpacked.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affect.data.formats import mat5
from affect.errors import UserError

BOMB_BYTES, BOMB_RATIO = 256 << 20, 100
"""Arrays of more bytes than this, and more than this times the bytes of their file, are a bomb."""
OPERATIONS, TUPLES = 500_000, 20_000
"""A pickle of more operations or tuples is refused: some tens of either make an array, and nested deep enough, tuples
crash the interpreter."""


def read_pickle(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays by name from a file that is a pickled dictionary of arrays, as `unpickle` reads it."""
    with _readable(file, "pickle"):
        return unpickle(file.read_bytes(), file, names)


def unpickle(raw: bytes, place: object, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays by name from a pickled dictionary of arrays, written by Python 2 or 3.

    An array of objects is taken where its elements are numbers, or lists or arrays of numbers of one shape. `place`
    names the pickle in the `UserError` that refuses anything else, before any of it is called.
    """
    with _readable(place, "pickle"):
        try:
            _refuse_stalling(raw)
            found = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
            if not isinstance(found, dict):
                raise UserError(f"{place}: the pickle holds a {type(found).__name__}, not a dictionary of arrays.")
            found = {_text(name): value for name, value in found.items() if isinstance(name, str | bytes)}
            _need(names, found, place)
            for name in names:
                if not isinstance(found[name], _Array):
                    raise UserError(f"{place}: {name} is a {type(found[name]).__name__}, not an array.")
            _refuse_bomb(8 * sum(found[name].size() for name in names), len(raw), place)
            return {name: found[name].read() for name in names}
        except _Forbidden as error:
            raise UserError(f"{place}: the pickle asks for {error}; refused.") from None


def read_npz(file: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an .npz archive by name (all of them by default): numbers or plain strings, never Python objects."""
    with _readable(file, ".npz archive"), zipfile.ZipFile(file) as archive:
        members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
        _need(names, members, file)
        wanted = list(members) if names is None else names
        _refuse_bomb(sum(members[name].file_size for name in wanted), file.stat().st_size, file)
        found = {}
        for name in wanted:
            with archive.open(members[name]) as member:
                found[name] = np.lib.format.read_array(member, allow_pickle=False)
        _check_kinds(found, "fiubSU", file)
        return found


def read_mat(file: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Numeric arrays of a MATLAB file by name (by default all that are numeric); version 7.3 needs h5py."""
    with _readable(file, "MATLAB file"), file.open("rb") as stream:
        if stream.read(mat5.HEADER)[124:] == b"\x00\x02IM":  # Version 7.3, which is HDF5.
            return _read_hdf5(file, names)
        known = mat5.variables(stream)
        _need(names, known, file)
        wanted = [name for name in known if known[name].numeric] if names is None else names
        for name in wanted:
            if not known[name].numeric:
                raise UserError(f"{file}: array {name} holds {known[name].kind}, not numbers.")
        _refuse_bomb(sum(known[name].size for name in wanted), file.stat().st_size, file)
        return {name: mat5.numbers(stream, known[name]) for name in wanted}


def _read_hdf5(file: Path, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise UserError(f"{file}: is a MATLAB 7.3 file; `pip install h5py` to read it.") from None
    with h5py.File(file, "r") as opened:
        # A link, or a data set whose bytes lie elsewhere, would read another file than the one that was named.
        own = [name for name in opened if isinstance(opened.get(name, getlink=True), h5py.HardLink)]
        arrays = {name: opened[name] for name in own if isinstance(opened[name], h5py.Dataset)}
        arrays = {name: item for name, item in arrays.items() if item.external is None and not item.is_virtual}
        _need(names, arrays, file)
        wanted = [name for name in arrays if _is_numeric(arrays[name])] if names is None else names
        _refuse_bomb(sum(arrays[name].nbytes for name in wanted), file.stat().st_size, file)
        _check_kinds({name: arrays[name] for name in wanted}, "fiub", file)
        # MATLAB stores columns first, so HDF5 sees every array transposed.
        return {name: arrays[name][()].T for name in wanted}


def _is_numeric(item: Any) -> bool:
    """Whether a data set of a MATLAB file holds numbers; text is stored as numbers and marked."""
    return item.dtype.kind in "fiub" and item.attrs.get("MATLAB_class") != b"char"


@contextlib.contextmanager
def _readable(place: object, kind: str) -> Iterator[None]:
    """Turn whatever a parser stumbles over in a malformed file into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{place}: there is no such file.") from None
    except Exception as error:
        raise UserError(f"{place}: not a readable {kind} ({_line(error)}).") from None


def _need(names: Sequence[str] | None, known: Mapping[str, Any], place: object) -> None:
    for name in names or ():
        if name not in known:
            shown = ", ".join(list(known)[:12]) or "nothing"
            raise UserError(f"{place}: array {name} is missing; there is {shown}.")


def _refuse_bomb(size: int, stored: int, place: object) -> None:
    if size > BOMB_BYTES and size > BOMB_RATIO * stored:
        raise UserError(f"{place}: would unpack {stored:,} bytes to {size:,}; refused.")


def _check_kinds(arrays: Mapping[str, Any], kinds: str, file: Path) -> None:
    for name, array in arrays.items():
        if array.dtype.kind not in kinds:
            raise UserError(f"{file}: array {name} holds {array.dtype}, not numbers.")


class _Forbidden(Exception):
    pass


def _refuse_stalling(raw: bytes) -> None:
    """Refuse a pickle whose mere loading would exhaust memory or the stack."""
    tuples = 0
    for count, (operation, argument, _) in enumerate(pickletools.genops(raw), start=1):
        tuples += "TUPLE" in operation.name
        # The memo is an array as long as the highest index in use.
        highest = argument if "PUT" in operation.name and isinstance(argument, int) else 0
        if max(count, highest) > OPERATIONS or tuples > TUPLES:
            raise _Forbidden("more than any dictionary of arrays needs")


class _Type:
    """A numeric or object dtype as a pickle describes it: real ones take whole new layouts from a pickle."""

    def __init__(self, code: object, *_: object) -> None:
        found = re.fullmatch(r"([<>=|]?)([biufO]\d{0,2})", _text(code))
        if found is None:
            raise _Forbidden(f"the type {_text(code)[:60]!r}")
        self.order, self.code = found.groups()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, *layout = state[1:5]
        if _text(order) not in ("<", ">", "=", "|") or any(part is not None for part in layout):
            raise _Forbidden("a type of its own")
        self.order = _text(order)

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """An array as a pickle describes it; `read` makes it, so that arrays nobody asks for cost nothing."""

    shape: tuple[int, ...]
    type: _Type
    fortran: bool
    content: Any

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.type, self.fortran, self.content = state
        if not isinstance(self.type, _Type) or not all(isinstance(n, int) and n >= 0 for n in self.shape):
            raise _Forbidden("an array without type or shape")

    @property
    def holds_objects(self) -> bool:
        return self.type.code.startswith("O")

    def size(self) -> int:
        """How many numbers `read` would give."""
        if not self.holds_objects:
            return math.prod(self.shape)
        return sum(math.prod(item.shape) if isinstance(item, _Array) else np.size(item) for item in self._items())

    def read(self) -> np.ndarray:
        if self.holds_objects:
            items = [item.read() if isinstance(item, _Array) else np.array(item) for item in self._items()]
            whole = np.stack(items) if items else np.empty(0)
            return whole.reshape(self.shape + whole.shape[1:])  # Objects are listed in C order, whatever the array's.
        flat = np.frombuffer(self.content, self.type.dtype())
        return flat.reshape(self.shape, order="F" if self.fortran else "C")

    def _items(self) -> list[Any]:
        """The elements of an array of objects: numbers, flat lists of numbers, arrays of numbers."""
        if not isinstance(self.content, list) or len(self.content) != math.prod(self.shape):
            raise _Forbidden("an array of a shape that its elements do not fill")
        for item in self.content:
            plain = not item.holds_objects if isinstance(item, _Array) else _are_numbers(item)
            if not plain:
                raise _Forbidden(f"an array of objects ({type(item).__name__})")
        return self.content


def _are_numbers(item: object) -> bool:
    return all(isinstance(number, int | float) for number in (item if isinstance(item, list) else [item]))


def _described(shape: tuple[int, ...], kind: object, fortran: bool, content: object) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, fortran, content))
    return array


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _NDARRAY:
        raise _Forbidden("an array of a type of its own")
    return _described((0,), _Type("b"), False, b"")  # As numpy does: the state that follows gives the contents.


def _from_buffer(buffer: bytes, kind: object, shape: tuple[int, ...], order: str) -> _Array:
    return _described(shape, kind, order == "F", buffer)


def _scalar(kind: object, content: object = b"") -> _Array:
    return _described((), kind, False, content)


def _encode(text: str, encoding: object) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _Forbidden(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _call_of_array(*_: object) -> None:
    raise _Forbidden("a call of numpy.ndarray")


class _Call:
    """A function that a pickle may call but not change: plain functions and classes take new attributes from it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *given: object) -> Any:
        return self._function(*given)

    def __setstate__(self, state: object) -> None:
        raise _Forbidden("a change of numpy")


_NDARRAY = _Call(_call_of_array)
_MODULES = ("numpy.core", "numpy._core")
"""As numpy 1 and numpy 2 call it."""
_ALLOWED: dict[tuple[str, str], _Call] = {
    **{(f"{module}.multiarray", "_reconstruct"): _Call(_reconstruct) for module in _MODULES},
    **{(f"{module}.multiarray", "scalar"): _Call(_scalar) for module in _MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _Call(_from_buffer) for module in _MODULES},
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Call(_Type),
    ("_codecs", "encode"): _Call(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}, which is neither array nor container") from None

    def persistent_load(self, pid: object) -> Any:
        raise _Forbidden("an object kept elsewhere")


def _text(value: object) -> str:
    """A string of either Python: those of Python 2 arrive as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 200 else text[:197] + "...") or type(error).__name__
