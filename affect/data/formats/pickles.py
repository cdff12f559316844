"""Pickles, read for their arrays alone.

Nothing is ever unpickled freely: a pickle may name numpy's own ways of rebuilding arrays and nothing else, and even
those are only noted down until an array is asked for.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affect.data.formats.limits import need, readable, refuse_bomb
from affect.errors import UserError

OPERATIONS, TUPLES = 500_000, 20_000
"""A pickle of more operations or tuples is refused: some tens of either make an array, and nested deep enough, tuples
crash the interpreter."""


_OPCODES = {known.code: known for known in pickletools.opcodes}


def read_pickle(file: Path, names: Sequence[str], most_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Arrays by name from a file that is a pickled dictionary of arrays, as `unpickle` reads it."""
    with readable(file, "pickle"):
        return unpickle(file.read_bytes(), file, names, most_bytes)


def unpickle(raw: bytes, place: object, names: Sequence[str], most_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Arrays by name from a pickled dictionary of arrays, written by Python 2 or 3 in any protocol.

    An array of objects is taken where its elements are numbers, or lists or arrays of numbers of one shape. `place`
    names the pickle in the `UserError` that refuses anything else, before any of it is called. `most_bytes` bounds what
    the arrays take as doubles; without it they may take what `refuse_bomb` grants a file of this size.
    """
    with readable(place, "pickle"):
        try:
            _refuse_stalling(raw)
            found = _Unpickler(raw).load()
            if not isinstance(found, dict):
                raise UserError(f"{place}: the pickle holds a {type(found).__name__}, not a dictionary of arrays.")
            found = {_text(name): value for name, value in found.items() if isinstance(name, str | bytes)}
            need(names, found, place)
            for name in names:
                if not isinstance(found[name], _Array):
                    raise UserError(f"{place}: {name} is a {type(found[name]).__name__}, not an array.")
            refuse_bomb(8 * sum(found[name].size() for name in names), len(raw), place, most_bytes)
            return {name: found[name].read() for name in names}
        except _Forbidden as error:
            raise UserError(f"{place}: the pickle asks for {error}; refused.") from None


class _Forbidden(Exception):
    pass


def _refuse_stalling(raw: bytes) -> None:
    """Refuse a pickle whose mere loading would exhaust memory or the stack."""
    tuples = 0
    for count, (operation, argument) in enumerate(_operations(raw), start=1):
        tuples += "TUPLE" in operation
        # The memo is an array as long as the highest index in use.
        highest = argument if "PUT" in operation and isinstance(argument, int) else 0
        if max(count, highest) > OPERATIONS or tuples > TUPLES:
            raise _Forbidden("more than any dictionary of arrays needs")


def _operations(raw: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of every operation, as `pickletools.genops` has them, but for strings of protocol 0.

    Those hold the numbers of an array where Python 2 wrote it, which `genops` would take for text.
    """
    stream = io.BytesIO(raw)
    name = ""
    while name != "STOP":
        known = _OPCODES.get(stream.read(1).decode("latin1"))
        if known is None:
            raise ValueError(f"no operation at byte {max(0, stream.tell() - 1)}")
        name, argument = known.name, None
        if name == "STRING":
            stream.seek(raw.index(b"\n", stream.tell()) + 1)
        elif known.arg is not None:
            argument = known.arg.reader(stream)
        yield name, argument


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
        return sum(math.prod(item.shape) if isinstance(item, _Array) else _count(item) for item in self._items())

    def read(self) -> np.ndarray:
        if self.holds_objects:
            items = [item.read() if isinstance(item, _Array) else np.array(item) for item in self._items()]
            whole = np.stack(items) if items else np.empty(0)
            if whole.dtype.kind not in "fiub":
                raise _Forbidden("an array of whole numbers that no type of numbers holds")
            return whole.reshape(self.shape + whole.shape[1:])  # Objects are listed in C order, whatever the array's.
        flat = np.frombuffer(self.content, self.type.dtype())
        return flat.reshape(self.shape, order="F" if self.fortran else "C")

    def _items(self) -> list[Any]:
        """The elements of an array of objects: numbers, flat lists of numbers, arrays of numbers."""
        if not isinstance(self.content, list) or len(self.content) != math.prod(self.shape):
            raise _Forbidden("an array of a shape that its elements do not fill")
        # Each is looked at once, however often it is referred to.
        for item in {id(item): item for item in self.content}.values():
            plain = not item.holds_objects if isinstance(item, _Array) else _are_numbers(item)
            if not plain:
                raise _Forbidden(f"an array of objects ({type(item).__name__})")
        return self.content


def _count(item: object) -> int:
    return len(item) if isinstance(item, list) else 1


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
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, raw: bytes) -> None:
        super().__init__(io.BytesIO(raw), encoding="bytes")
        self._encoded: dict[str, bytes] = {}

    def _encode(self, text: str, encoding: object) -> bytes:
        """How Python 3 writes bytes for Python 2; a text that is encoded many times takes memory once."""
        if encoding not in ("latin1", "latin-1"):
            raise _Forbidden(f"the encoding {encoding!r}")
        if text not in self._encoded:
            self._encoded[text] = text.encode("latin1")
        return self._encoded[text]

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) == ("_codecs", "encode"):
            return _Call(self._encode)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}, which is neither array nor container") from None

    def persistent_load(self, pid: object) -> Any:
        raise _Forbidden("an object kept elsewhere")


def _text(value: object) -> str:
    """A string of either Python: those of Python 2 arrive as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
