"""How a process that trains is set up, in every executor alike: results must not depend on where a pack ran."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from threadpoolctl import threadpool_limits

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK = 32 << 20
"""The most that glibc accepts."""


@cache
def settle(device: str) -> None:
    """One thread per CPU worker, denormal numbers as zero, freed memory kept for the next step.

    A worker per core is faster than threads on small products, and results then do not depend on the number of cores.
    The moments of inactive units decay into denormal numbers, which a CPU handles a hundred times slower.
    """
    if device == "cpu":
        torch.set_num_threads(1)
        threadpool_limits(1)  # NumPy's and SciPy's matrix products, which the floors use
        torch.set_flush_denormal(True)
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have glibc reuse the arrays of one step for the next instead of returning them: fetching every page anew takes a
    fifth of a training step. Other C libraries are left as they are."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
