"""Recordings on disk: where they are, and whether one is still the one that was read."""

from __future__ import annotations

import os
from pathlib import Path

from affect.data.checks import shown
from affect.errors import UserError

Stamp = tuple[int, int]
"""Bytes of a recording, and when it was last changed (ns): an older one in its place is another recording too."""


def find_wavs(root: Path) -> dict[str, Path]:
    """Id (name without suffix) → recording, of all .wav files below `root`."""
    found: dict[str, Path] = {}
    for file in sorted(root.rglob("*")):
        # Copies by way of a Mac bring a hidden file of its own beside each.
        if file.suffix.lower() != ".wav" or file.name.startswith("."):
            continue
        if not file.name.isprintable():  # Nor can it be stored where it is no UTF-8.
            raise UserError(f"{root}: the name {file.name!a} cannot be printed.")
        if file.stem in found:
            raise UserError(f"{file}: has the id {shown(file.stem)}, as {found[file.stem]} has.")
        found[file.stem] = file
    if not found:
        raise UserError(f"{root}: there is no .wav file.")
    return found


def stamp_of(wav: Path) -> Stamp | None:
    """The stamp of a recording; None for what cannot even be opened, which may be another matter next time."""
    try:
        with wav.open("rb") as stream:
            status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
