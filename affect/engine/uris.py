"""From a path or URI, as users give it, to a folder."""

from __future__ import annotations

from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from affect.engine.files import Folder, LocalFolder
from affect.engine.objects import ObjectFolder
from affect.errors import UserError

STORES = {"s3": "affect[s3]", "s3a": "affect[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Object stores, which alone have whole puts and one winner of several that create an object; what to install for each."""
HERE = ("file", "local", "memory")


def open_folder(uri: str) -> Folder:
    """The folder that a path or URI names; it need not exist. Nothing is asked of a server yet."""
    scheme = uri.split("://")[0] if "://" in uri else "file"
    if scheme not in (*HERE, *STORES):
        known = ", ".join(f"{store}://" for store in STORES)
        raise UserError(f"{uri}: is no place for results; give a local folder, or an object store as {known}.")
    try:
        # Others write to an object store too: what was listed before says nothing.
        options = {} if scheme in ("file", "local") else {"use_listings_cache": False}
        filesystem, path = url_to_fs(uri, **options)
    except ImportError as error:
        what = f"pip install {STORES[scheme]}" if scheme in STORES else str(error).rstrip(".")
        raise UserError(f"{uri}: a package for {scheme}:// is missing ({what}).") from None
    except ValueError as error:
        raise UserError(f"{uri}: is no place for results ({str(error).rstrip('.')}).") from None
    return LocalFolder(Path(path)) if isinstance(filesystem, LocalFileSystem) else ObjectFolder(filesystem, path)
