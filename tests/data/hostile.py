"""Pickles as they may come: of Python 2, of an attacker, damaged."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from affect.errors import UserError

MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class _Python2Pickler(pickle._Pickler):  # type: ignore[misc]
    """Writes strings of either kind as Python 2 wrote its own."""

    def save_string(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        if self.proto:
            self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)
        else:
            self.write(pickle.STRING + repr(raw)[1:].encode() + b"\n")
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, str: save_string, bytes: save_string}  # type: ignore[attr-defined]  # noqa: RUF012


def python2_pickle(value: object, protocol: int = 2) -> bytes:
    """`value` as Python 2 and its numpy pickled it; its own default was protocol 0."""
    out = io.BytesIO()
    _Python2Pickler(out, protocol=protocol).dump(value)
    return out.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


class Command:
    """Once unpickled freely, runs a command that makes the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """`raw` with some bytes changed, cut out or put in, or its end cut off."""
    found = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        # The ends of a file say what it is, so that is where damage is most telling.
        place = draw(st.one_of(st.integers(0, 300), st.integers(-300, -1), st.integers(0, max(0, len(raw) - 1))))
        place = min(place, len(found)) if place >= 0 else max(0, len(found) + place)
        action = draw(st.sampled_from(["change", "change", "cut", "put", "end"]))
        if action == "change" and place < len(found):
            found[place] = draw(st.integers(0, 255))
        elif action == "cut":
            del found[place : place + draw(st.integers(1, 8))]
        elif action == "put":
            found[place:place] = draw(st.binary(min_size=1, max_size=4))
        else:
            del found[place:]
    return bytes(found)


def sentence_or_result(read: Callable[[], Any]) -> Any:
    """What `read` returns, or the one-sentence `UserError` that it raises; any other exception is a failure."""
    try:
        return read()
    except UserError as error:
        text = str(error)
        assert text == " ".join(text.split())
        assert text.endswith(".")
        return error


def peak(read: Callable[[], Any]) -> tuple[int, Any]:
    """Most bytes that were taken at once while `read` ran, and what it returned or the `UserError` it raised."""
    tracemalloc.start()
    try:
        found = sentence_or_result(read)
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()
