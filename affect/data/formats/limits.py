"""What every reader of files from elsewhere does alike: bounds on memory, arrays by name, and one sentence for whatever
a parser stumbles over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affect.errors import UserError

SMALL_BYTES, BOMB_RATIO = 64 << 20, 100
"""Arrays of more bytes than this, and more than this times the bytes of their file, are a bomb."""
OVER_BYTES = 512 << 20
"""No file may take this much more memory than it has bytes, however it is packed."""


@contextlib.contextmanager
def readable(place: object, kind: str) -> Iterator[None]:
    """Turn whatever a parser stumbles over in a malformed file into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{place}: there is no such file.") from None
    except Exception as error:
        raise UserError(f"{place}: not a readable {kind} ({_line(error)}).") from None


def need(names: Sequence[str] | None, known: Mapping[str, Any], place: object) -> None:
    """`UserError` where one of `names` is not known."""
    for name in names or ():
        if name not in known:
            shown = ", ".join(list(known)[:12]) or "nothing"
            raise UserError(f"{place}: array {name} is missing; there is {shown}.")


def refuse_bomb(size: int, stored: int, place: object, most_bytes: int | None = None) -> None:
    """Refuse arrays of `size` bytes that a file of `stored` bytes unpacks to.

    `most_bytes` is what the arrays that are due can take; where their shape is free, it follows from the file's size.
    """
    if most_bytes is not None:
        if size > most_bytes:
            raise UserError(f"{place}: would unpack {stored:,} bytes to {size:,}, {most_bytes:,} at most; refused.")
    elif size > (most := min(max(SMALL_BYTES, BOMB_RATIO * stored), stored + OVER_BYTES)):
        raise UserError(
            f"{place}: would unpack {stored:,} bytes to {size:,}, {most:,} at most; refused unless stored unpacked, as "
            ".npy files are."
        )


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 200 else text[:197] + "...") or type(error).__name__
