"""Named random streams: every draw of a trial is keyed by its seed and a purpose, never by a system's name.

Two systems with the same seed therefore see the same labelled subset, batch order, initial weights and noise
wherever the shapes allow it, which is what makes comparisons paired.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_key(seed: int, *names: str | int) -> int:
    """63-bit key of the stream `names` (e.g. ``"noise", "labelled"``) of trial seed `seed`."""
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy generator of a named stream."""
    return np.random.Generator(np.random.Philox(stream_key(seed, *names)))


def torch_stream(seed: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """Torch generator of a named stream on `device`."""
    import torch

    return torch.Generator(device=device).manual_seed(stream_key(seed, *names))
