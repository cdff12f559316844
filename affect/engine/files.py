"""The few file operations of the result store, in one place: whole files only, each visible entirely or not at all.

Local folders for now. Everything goes through fsspec's naming (`file://` is accepted), so that object stores, where a
put is whole by nature, can be added here alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from affect.errors import UserError
from affect.files import TEMPORARY, replacing


def local_folder(uri: str) -> Path:
    """The folder that a path or `file://` URI names."""
    scheme = uri.split("://")[0] if "://" in uri else "file"
    if scheme not in ("file", "local"):
        raise UserError(f"{uri}: results can be kept in local folders (a path or file://) and not yet in {scheme}://.")
    filesystem, path = url_to_fs(uri)
    assert isinstance(filesystem, LocalFileSystem)
    return Path(path)


def check_folder(folder: Path) -> None:
    """Refuse a folder whose place, or that of one above it, is taken by a file."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file where a folder is needed.")


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Create or replace `path` with what `write` puts into a file: after any crash it is whole or absent."""
    with replacing(path) as temporary:
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """`write_whole` for text."""
    write_whole(path, lambda temporary: _put(temporary, text))


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def names(folder: Path, suffix: str) -> list[str]:
    """Names in `folder` without `suffix`, sorted; temporary files are not seen."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name.removesuffix(suffix)
        for entry in os.scandir(folder)
        if entry.name.endswith(suffix) and not entry.name.startswith(".")
    )


def remove_temporaries(folder: Path) -> None:
    """Remove what an interrupted writer left. Only while the folder's lock is held."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)
