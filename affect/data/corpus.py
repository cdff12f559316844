"""A corpus on disk: opened by its manifest alone; samples on first use; views as memory maps, shared by all workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from affect.data.checks import check_leak_free, check_presence, check_target, check_targets, check_views
from affect.data.manifest import (
    AS_PUBLISHED,
    FORMAT,
    LEAK_FREE,
    MANIFEST,
    PARTITIONS,
    PROTOCOLS,
    SAMPLES,
    UNKNOWN,
    Count,
    Finding,
    Manifest,
    TargetInfo,
    ViewInfo,
    class_target,
)
from affect.errors import UserError
from affect.study import ALL_VIEWS, CorpusFacts

__all__ = [
    "AS_PUBLISHED",
    "FORMAT",
    "LEAK_FREE",
    "PARTITIONS",
    "PROTOCOLS",
    "UNKNOWN",
    "Corpus",
    "Count",
    "Finding",
    "Manifest",
    "TargetInfo",
    "ViewInfo",
    "class_target",
    "open_corpus",
]


@dataclass(frozen=True)
class Corpus:
    """Named arrays (`views`), a sample table and a manifest, in one folder."""

    folder: Path
    manifest: Manifest

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker reads what it needs itself: the sample table never travels.
        return Corpus, (self.folder, self.manifest)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The sample table, [N] rows: id, subject, group, partition columns, targets, recording and text where
        they are known, and which rows have a view that others lack."""
        file = self.folder / SAMPLES
        try:
            samples = pd.read_parquet(file)
        except FileNotFoundError:
            raise UserError(f"{file}: the sample table is missing.") from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(f"{file}: not a readable Parquet file ({str(error).splitlines()[0]}).") from None
        if len(samples) != self.manifest.rows:
            raise UserError(f"{file}: has {len(samples)} rows but the manifest says {self.manifest.rows}.")
        needed = ["id", "subject", "group", *self.manifest.protocols.values(), *self.manifest.targets]
        needed += [column for view in self.manifest.views.values() for column in (view.lengths, view.present) if column]
        for column in needed:
            if column not in samples.columns:
                raise UserError(f"{file}: column {column} is missing.")
        return samples

    def info(self, name: str) -> ViewInfo:
        """What the manifest says of view `name`."""
        check_views([name], self.manifest.views, self.folder)
        return self.manifest.views[name]

    def view(self, name: str, protocol: str = "") -> np.memmap:
        """View `name` as a read-only memory map [N, ...], after its file is compared with the manifest.

        With `protocol`, a view that was fitted on another protocol's training rows is refused.
        """
        info = self.info(name)
        if protocol and info.protocol not in ("", protocol):
            raise UserError(
                f"{self.folder}: view {name} was fitted on the training rows of protocol {info.protocol}, "
                f"so protocol {protocol} must not use it."
            )
        file = self.folder / info.file
        shape, dtype, offset = _header(file)
        if shape != info.shape or dtype != np.dtype(info.dtype):
            raise UserError(
                f"{file}: view {name} holds {dtype} {list(shape)} but the manifest says "
                f"{info.dtype} {list(info.shape)}."
            )
        expected = offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        size = file.stat().st_size
        if size != expected:
            kind = "truncated" if size < expected else "too long"
            raise UserError(f"{file}: view {name} is {kind}: {size} bytes where {expected} are due.")
        return np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape)

    def present(self, views: Sequence[str]) -> np.ndarray | None:
        """[N, len(views)] whether a row has a view; None where all have all."""
        check_views(views, self.manifest.views, self.folder)
        if not self._known.keys() & set(views):
            return None
        return np.column_stack([self._known.get(view, np.ones(self.manifest.rows, bool)) for view in views])

    @cached_property
    def _known(self) -> dict[str, np.ndarray]:
        """View that rows lack → which have it [N]."""
        file, found = str(self.folder / SAMPLES), {}
        for view, info in self.manifest.views.items():
            if info.present:
                values = self.samples[info.present].to_numpy()
                if not np.isin(values, (0.0, 1.0)).all():
                    raise UserError(f"{file}: column {info.present} holds other values than 0 and 1.")
                found[view] = values == 1
        if found:
            partitions = {name: self.samples[name].to_numpy(str) for name in self.manifest.protocols.values()}
            check_presence(found, list(self.manifest.views), partitions, self.samples["id"].tolist(), file, {})
        return found

    def partition(self, protocol: str) -> np.ndarray:
        """[N] partition names under `protocol`; `leak_free` is refused where it cannot be had."""
        column = self.manifest.protocols.get(protocol)
        if protocol == LEAK_FREE:
            self._refuse_leaks(column)
        if column is None:
            raise UserError(
                f"{self.folder}: protocol {protocol} is not offered; there is {', '.join(self.manifest.protocols)}."
            )
        names = self.samples[column].to_numpy(dtype=str)
        unknown = np.flatnonzero(~np.isin(names, PARTITIONS))
        if len(unknown):
            raise UserError(
                f"{self.folder / SAMPLES}: column {column}, row {self.samples['id'].iloc[unknown[0]]}: "
                f"unknown partition {str(names[unknown[0]])!r}."
            )
        return names

    def _refuse_leaks(self, column: str | None) -> None:
        if self.manifest.groups == UNKNOWN:
            raise UserError(
                f"{self.folder}: groups are unknown, so protocol {LEAK_FREE} cannot be had; use {AS_PUBLISHED}."
            )
        # Where no leak-free partition is offered, the published one tells the reason.
        column = column or self.manifest.protocols.get(AS_PUBLISHED)
        if column is not None:
            check_leak_free(self.samples, column, self.manifest.groups, str(self.folder / SAMPLES), {})

    def usable_views(self, protocol: str) -> list[str]:
        """The views that `protocol` may use, at least one."""
        names = [name for name, info in self.manifest.views.items() if info.protocol in ("", protocol)]
        if not names:
            raise UserError(f"{self.folder}: no view belongs to protocol {protocol}.")
        return names

    def labels(self, targets: Sequence[str]) -> np.ndarray:
        """Labels [N, len(targets)] in the targets' own units, NaN where there is none."""
        check_targets(targets, self.manifest.targets, self.folder)
        file, ids = str(self.folder / SAMPLES), self.samples["id"]
        for target in targets:
            if self.samples[target].dtype != np.float64:
                raise UserError(f"{file}: column {target} holds {self.samples[target].dtype} where numbers are due.")
            check_target(self.samples[target].to_numpy(), ids, self.manifest.targets[target], file, target)
        return self.samples[list(targets)].to_numpy()

    def _lacking(self, views: Sequence[str], partition: np.ndarray) -> tuple[int, ...]:
        """How many of the rows to fit on lack each of the views; empty where none does. Refused where some have none of
        them, or none of train has all."""
        present = self.present(views)
        fitted = np.isin(partition, ("train", "unlabelled"))
        if present is None or present[fitted].all():
            return ()
        nothing = int((~present[fitted].any(axis=1)).sum())
        if nothing or not present[partition == "train"].all(axis=1).any():
            what = f"{nothing:,} of {fitted.sum():,} rows to fit on have none" if nothing else "no row of train has all"
            complete = [view for view in self.manifest.views if self.present([view]) is None]
            which = f" (every row has {' and '.join(complete)})" if complete else ""
            raise UserError(f"{self.folder}: {what} of {'+'.join(views)}; name other views with --view{which}.")
        return tuple((~present[fitted]).sum(axis=0).tolist())

    def facts(self, protocol: str, targets: Sequence[str] = (), view: str | None = None) -> CorpusFacts:
        """What planning and reports need, under `protocol` and for `targets` (default: all). Reads no view.

        `view`: the name of one, several joined by `+`, or `ALL_VIEWS`; by default the first that the protocol may use."""
        targets = tuple(targets or self.manifest.targets)
        partition = self.partition(protocol)
        labelled = np.isfinite(self.labels(targets)).all(axis=1)
        inside = {name: partition == name for name in PARTITIONS}
        rows = {name: int((row if name == "unlabelled" else row & labelled).sum()) for name, row in inside.items()}
        usable = self.usable_views(protocol)
        view = "+".join(usable) if view == ALL_VIEWS else view or usable[0]
        check_views(view.split("+"), self.manifest.views, self.folder)
        widths = tuple(int(np.prod(self.info(name).shape[1:], dtype=np.int64)) for name in view.split("+"))
        lacking = self._lacking(view.split("+"), partition)
        kinds = [self.manifest.targets[target] for target in targets]
        found = [finding for finding in self.manifest.findings if finding.protocol == protocol]
        return CorpusFacts(
            name=self.manifest.name,
            title=self.manifest.title,
            banner=self.manifest.banner,
            fingerprint=self.manifest.fingerprint,
            synthetic=self.manifest.synthetic,
            groups=self.manifest.groups,
            view=view,
            width=sum(widths),
            has_text="text" in self.samples.columns,
            rows=rows,
            findings=(*(finding.sentence for finding in found), *_said(lacking, view), *self.manifest.notes),
            kinds=tuple(finding.kind for finding in found),
            pool=int((inside["train"] | inside["unlabelled"]).sum()),
            widths=widths,
            lacking=lacking,
            classes=len(kinds[0].classes) if len(kinds) == 1 else 0,
            features=" + ".join(self.info(name).features for name in view.split("+")),
            targets=targets,
        )


def _said(lacking: Sequence[int], view: str) -> list[str]:
    """A sentence for every view that rows lack."""
    counts = zip(lacking, view.split("+"), strict=False)
    return [
        f"View {name} is missing in {count:,} of the rows to fit on; shares of rows whose view is hidden are of the others."
        for count, name in counts
        if count
    ]


def open_corpus(path: str | Path) -> Corpus:
    """The corpus in the folder `path`. Reads the manifest only, whatever the size of the arrays."""
    folder = Path(path)
    file = folder / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: no corpus here ({MANIFEST} is missing).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}).") from None
    return Corpus(folder, Manifest.from_json(text, file))


def _header(file: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and offset of the data of an .npy file in C order."""
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            offset = stream.tell()
    except FileNotFoundError:
        raise UserError(f"{file}: the view's file is missing.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not a readable .npy file ({str(error).splitlines()[0]}).") from None
    if fortran or dtype.hasobject:
        raise UserError(f"{file}: holds {dtype} in {'Fortran' if fortran else 'C'} order, which no view does.")
    return shape, dtype, offset
