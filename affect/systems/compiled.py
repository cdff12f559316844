"""Loops compiled for float32 on a CPU. Imported late by what uses them: the compiler is slow to load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

FLOATS = {"reassoc", "contract", "arcp", "nsz"}
"""The compiler may reorder and fuse but not assume that values are finite: divergence must show."""


def compiled(function: F) -> F:
    """Compile at the first call and keep the result on disk, if there is a folder to keep it in."""
    options = {"fastmath": FLOATS, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache is writable
        return numba.njit(**options)(function)
