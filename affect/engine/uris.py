"""From a path or URI, as users give it, to a folder."""

from __future__ import annotations

from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from affect.engine.files import Folder, LocalFolder
from affect.engine.objects import ObjectFolder
from affect.errors import UserError

EXTRAS = {"s3": "affect[s3]", "s3a": "affect[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""What to install for the object stores that people use."""


def open_folder(uri: str) -> Folder:
    """The folder that a path or URI names; it need not exist. Nothing is asked of a server yet."""
    scheme = uri.split("://")[0] if "://" in uri else "file"
    try:
        # Others write to an object store too: what was listed before says nothing.
        options = {} if scheme in ("file", "local") else {"use_listings_cache": False}
        filesystem, path = url_to_fs(uri, **options)
    except ImportError as error:
        what = f"pip install {EXTRAS[scheme]}" if scheme in EXTRAS else str(error).rstrip(".")
        raise UserError(f"{uri}: a package for {scheme}:// is missing ({what}).") from None
    except ValueError as error:
        raise UserError(f"{uri}: is no place for results ({str(error).rstrip('.')}).") from None
    return LocalFolder(Path(path)) if isinstance(filesystem, LocalFileSystem) else ObjectFolder(filesystem, path)
