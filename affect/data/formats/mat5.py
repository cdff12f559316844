"""Numeric arrays of MATLAB files as `save -v6` and `save -v7` write them, after MathWorks' "MAT-File Format".

SciPy's reader trusts the type codes that it finds, and a damaged file ends the interpreter. Here every size and code is
checked, so that the worst a file can do is to raise an exception.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

HEADER = 128
MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Code of how numbers are stored, which may be smaller than their class."""
NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Code of a class of numbers."""
OTHER = {1: "cells", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix", 16: "a function", 17: "an object"}
"""Code of any other class."""
OPAQUE = 17
"""The class that has no shape."""
COMPLEX = 0x800
START = 4096
"""Bytes of a variable that are sure to hold its name and shape."""


@dataclass(frozen=True)
class Variable:
    """Where a variable lies in its file and what it says of itself."""

    name: str
    shape: tuple[int, ...]
    kind: str
    """dtype of its numbers, or what it holds instead."""
    numeric: bool
    offset: int
    stored: int
    """Bytes in the file."""
    size: int
    """Bytes once unpacked, name and shape included."""
    packed: bool
    order: str
    """`<` or `>`."""

    @property
    def memory(self) -> int:
        """Bytes that its numbers take: they may be stored in fewer than those of their class, but in one at least."""
        width = np.dtype(self.kind).itemsize if self.numeric else 1
        return max(self.size, width * min(math.prod(self.shape), self.size))


def variables(stream: BinaryIO) -> dict[str, Variable]:
    """The variables of a file by name, without their numbers; ValueError, struct.error or zlib.error if it is damaged."""
    stream.seek(0)
    header = stream.read(HEADER)
    order = {b"IM": "<", b"MI": ">"}.get(header[126:])
    if order is None:
        raise ValueError("it does not begin like one")
    end = stream.seek(0, 2)
    found, offset = {}, HEADER
    while offset < end:
        stream.seek(offset)
        code, stored = struct.unpack(order + "II", stream.read(8))
        offset += 8
        if offset + stored > end:
            raise ValueError(f"it is cut off: {end} bytes where {offset + stored} are due")
        if code in (MATRIX, COMPRESSED):
            start = stream.read(min(stored, START))
            if code == COMPRESSED:
                start = zlib.decompressobj().decompress(start, START)
            variable = _describe(start, order, offset, stored, code == COMPRESSED)
            if variable.name:  # MATLAB keeps what its functions need in one without.
                found[variable.name] = variable
        offset += stored
    return found


def numbers(stream: BinaryIO, variable: Variable) -> np.ndarray:
    """The array of a numeric variable; the same exceptions if it is damaged."""
    stream.seek(variable.offset)
    raw = stream.read(variable.stored)
    if variable.packed:
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(raw, variable.size)
        # The end of the stream has the checksum.
        if unpacking.decompress(unpacking.unconsumed_tail, 1) or not unpacking.eof:
            raise ValueError(f"{variable.name} is longer than it says")
    body = memoryview(raw)
    place = 8 if variable.packed else 0
    for _ in range(3):
        _, _, place = _element(body, place, variable.order)
    code, content, _ = _element(body, place, variable.order)
    if code not in STORED:
        raise ValueError(f"the numbers of {variable.name} are stored as the unknown type {code}")
    flat = np.frombuffer(content, variable.order + STORED[code])
    if flat.size != math.prod(variable.shape):
        raise ValueError(f"{variable.name} has {flat.size} numbers where its shape {variable.shape} is due")
    return flat.astype(variable.kind, copy=False).reshape(variable.shape, order="F")


def _describe(start: bytes, order: str, offset: int, stored: int, packed: bool) -> Variable:
    """The variable that begins with these bytes."""
    body, place, size = memoryview(start), 0, stored
    if packed:
        code, size = struct.unpack_from(order + "II", body)
        place, size = 8, size + 8
        if code != MATRIX:
            raise ValueError(f"the element at byte {offset} unpacks to no matrix")
    _, flags, place = _element(body, place, order)
    (word,) = struct.unpack_from(order + "I", flags)
    dimensions: tuple[int, ...] = ()
    if word & 0xFF != OPAQUE:
        _, shape, place = _element(body, place, order)
        dimensions = tuple(int(n) for n in np.frombuffer(shape, order + "i4"))
        if min(dimensions, default=-1) < 0:
            raise ValueError(f"the element at byte {offset} has the shape {dimensions}")
    _, name, _ = _element(body, place, order)
    code = word & 0xFF
    numeric = code in NUMERIC and not word & COMPLEX
    kind = NUMERIC[code] if numeric else "complex numbers" if code in NUMERIC else OTHER.get(code, f"class {code}")
    return Variable(bytes(name).decode("latin1"), dimensions, kind, numeric, offset, stored, size, packed, order)


def _element(body: memoryview, place: int, order: str) -> tuple[int, memoryview, int]:
    """Code and content of the element at `place`, and the place of the next."""
    code, size = struct.unpack_from(order + "II", body, place)
    start = place + 8
    if code >> 16:  # Four bytes at most lie in the tag itself.
        code, size, start = code & 0xFFFF, code >> 16, place + 4
    content = body[start : start + size]
    if len(content) != size or (start == place + 4 and size > 4):
        raise ValueError(f"an element of {size} bytes where {len(content)} are left")
    end = start + size
    return code, content, end + -end % 8
