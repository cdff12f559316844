"""Features for the readers of corpora of recordings: `--features` (precomputed) or `--audio` (extracted now)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data.checks import shown
from affect.data.features.audio import LICENCE, SETS, STEPS
from affect.data.features.extraction import FEATURES, FeatureFolder, extract_folder, open_features, serial
from affect.data.features.precomputed import open_precomputed
from affect.data.features.recordings import find_wavs
from affect.data.features.sources import Source, refuse_other_columns
from affect.data.writer import CHUNK_BYTES, ViewSource
from affect.errors import UserError

DEFAULT_SETS = ("hld",)
"""What the papers' speech models are trained on."""
SHOWN = 5
"""Skipped recordings that a note names."""


@dataclass(frozen=True)
class Attached:
    """The samples that have features, and those features as views of a corpus in the samples' order."""

    samples: pd.DataFrame
    views: dict[str, ViewSource]
    notes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the features of the clips come from; one of --features and --audio must be given."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--features",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folders of `affect prepare wav`, folders with a file per clip (ID.npy, .npz, .csv, .arff, .mat), or "
        "tables of one row per clip (.csv, .tsv, .parquet or .arff with a column id, name or file; .npy, .npz or .mat "
        "with NAME.ids.txt or NAME.ids.csv beside it)",
    )
    source.add_argument(
        "--audio",
        nargs="?",
        type=Path,
        const=True,
        metavar="FOLDER",
        help="extract the features from the corpus' own recordings, or those below FOLDER, into a folder beside OUT",
    )
    parser.add_argument(
        "--feature-set", metavar="NAME", help="what precomputed features are, with version; never mixed with others"
    )
    add_sets(parser)


def add_sets(parser: argparse.ArgumentParser) -> None:
    """`--sets`, and `spread`, which the command line replaces by one that uses all cores."""
    parser.add_argument(
        "--sets",
        nargs="+",
        choices=sorted(SETS),
        help="hld: 6373 functionals of ComParE_2016; lld: its 65 low-level descriptors, 100 frames a second; mfb: 40 "
        f"log mel bands, 100 frames a second; frames are cut or padded to {STEPS} (default: {' '.join(DEFAULT_SETS)}, "
        f"or all that a folder has). hld and lld: {LICENCE}",
    )
    parser.set_defaults(spread=serial)


def chosen_sets(args: argparse.Namespace) -> tuple[str, ...]:
    """The feature sets to be extracted."""
    return tuple(args.sets or DEFAULT_SETS)


def known_ids(args: argparse.Namespace, wavs: Callable[[], Mapping[str, Path]]) -> list[str]:
    """Ids of all clips that have features, or recordings (of which some may turn out unusable), in order."""
    if args.audio is not None:
        return sorted(_recordings(args, wavs))
    views, _ = _given(args)
    return sorted({clip for parts in views.values() for source in parts for clip in source.ids})


def attach(
    samples: pd.DataFrame, args: argparse.Namespace, wavs: Callable[[], Mapping[str, Path]], shared: str = ""
) -> Attached:
    """The rows of `samples` (column id: clip name without suffix) that have features, in their order, and views of them.

    `wavs()` gives the corpus' recordings by id; it is called for `--audio` without a folder only. What is
    extracted lies beside `args.out`, in its own folder or in `<shared>-features` for all folds of a corpus. A view of frames
    adds a column `<view>_steps` with its valid steps to the samples. Nothing is held in memory but one block of rows.
    `UserError` where a file is malformed, a clip occurs twice, feature sets are mixed, or no sample has features.
    """
    if args.audio is not None:
        folder = args.out.with_name(f"{shared or args.out.name}-features")
        if folder == args.out:
            raise UserError(f"--out {args.out}: is where --audio puts the features; give the corpus another name.")
        views, notes = _extracted(samples["id"].tolist(), folder, args, wavs)
    else:
        views, notes = _given(args)
    # Every path brings the same views, so all views have the same clips.
    owner = _owners(next(iter(views.values())))
    has = samples["id"].isin(list(owner))
    _refuse_strangers(", ".join(map(str, args.features or ["--audio"])), samples["id"], owner, has.any())
    kept = samples[has].reset_index(drop=True)
    ids = kept["id"].tolist()
    said = [*notes, *_left_out(samples["id"], has, owner)]
    found = {}
    for view, parts in views.items():
        steps = _steps(parts, owner, ids)
        if steps is not None:
            kept[f"{view}_steps"] = np.minimum(steps, STEPS).astype(np.float64)
            if cut := int((steps > STEPS).sum()):
                said.append(f"View {view}: {cut:,} of {len(ids):,} clips are longer than {STEPS} frames, and cut.")
        found[view] = ViewSource(
            (len(ids), *parts[0].shape),
            partial(_blocks, parts, owner, ids),
            parts[0].features,
            file=", ".join(str(source.path) for source in parts),
            # Columns of frames are numbered: names stand for single columns of a row.
            columns=parts[0].columns if steps is None else (),
            lengths="" if steps is None else f"{view}_steps",
        )
    return Attached(kept, found, tuple(said))


Views = dict[str, tuple[Source, ...]]
"""View → its parts, which share no clip."""


def _given(args: argparse.Namespace) -> tuple[Views, tuple[str, ...]]:
    """What `--features` names, joined: every path brings the same views, of the same sets, for other clips."""
    if not args.features:
        raise UserError("--features PATH or --audio: one of them must say where the features come from.")
    views: dict[str, list[Source]] = {}
    notes: list[str] = []
    for path in args.features:
        if _is_folder(path):
            opened, said = _opened(path, args)
            notes += said
        else:
            if args.sets:
                raise UserError(f"{path}: --sets goes with --audio and folders of `affect prepare wav`.")
            opened = open_precomputed(path, args.feature_set, args.out.parent)
        for view, source in opened.items():
            notes += source.notes
            views.setdefault(view, []).append(source)
    for view, parts in views.items():
        named = next((source for source in parts if source.columns), parts[0])
        for source in parts[1:]:
            _refuse_mixture(view, parts[0], source)
            refuse_other_columns(source.path, source.columns, named.path, named.columns)
        if len(parts) < len(args.features):
            lacking = next(path for path in args.features if path not in {source.path for source in parts})
            raise UserError(f"{lacking}: has no features for view {view}, as {parts[0].path} has.")
    return {view: tuple(parts) for view, parts in views.items()}, tuple(notes)


def _is_folder(path: Path) -> bool:
    """Whether `path` is a features folder; refused where it is nothing that could be read."""
    try:
        path.stat()
        return (path / FEATURES).is_file()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file or folder.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None


def _refuse_mixture(view: str, one: Source, other: Source) -> None:
    if one.features != other.features:
        raise UserError(
            f"{other.path}: view {view} holds {other.features}, {one.path} {one.features}; feature sets must not be "
            "mixed."
        )
    if one.shape != other.shape:
        raise UserError(f"{other.path}: view {view} is {list(other.shape)} a clip, in {one.path} {list(one.shape)}.")


def _opened(path: Path, args: argparse.Namespace) -> tuple[dict[str, Source], tuple[str, ...]]:
    """The sources of a features folder that were asked for, and what is to be said of it."""
    folder = open_features(path)
    if not folder.finished:
        raise UserError(f"{path}: its extraction was interrupted; run the same `affect prepare wav` again.")
    if args.feature_set:
        raise UserError(f"--feature-set {args.feature_set}: {path} knows what it holds; leave --feature-set out.")
    sources = folder.views()
    for name in args.sets or ():
        if name not in sources:
            raise UserError(f"--sets {name}: {path} has {', '.join(sources)} alone.")
    return {name: sources[name] for name in sources if name in (args.sets or sources)}, _notes(folder)


def _recordings(args: argparse.Namespace, wavs: Callable[[], Mapping[str, Path]]) -> Mapping[str, Path]:
    if args.feature_set:
        raise UserError(f"--feature-set {args.feature_set}: goes with --features; what --audio extracts has a name.")
    return wavs() if args.audio is True else find_wavs(args.audio)


def _extracted(
    ids: Sequence[str], out: Path, args: argparse.Namespace, wavs: Callable[[], Mapping[str, Path]]
) -> tuple[Views, tuple[str, ...]]:
    """The features of the recordings of the clips `ids`, extracted into the folder `out`."""
    recordings = _recordings(args, wavs)
    wanted = {clip: recordings[clip] for clip in ids if clip in recordings}
    _refuse_strangers("--audio", ids, recordings, bool(wanted))
    folder = extract_folder(wanted, out, chosen_sets(args), args.spread)
    print(folder.describe())
    return {name: (source,) for name, source in folder.views().items()}, _notes(folder)


def _notes(folder: FeatureFolder) -> tuple[str, ...]:
    """Sentences for the manifest: terms, and recordings that were skipped."""
    notes = [f"View {name}: {SETS[name].licence}" for name in folder.sets if name in SETS and SETS[name].licence]
    if folder.skipped:
        first = "; ".join(f"{clip}: {why}" for clip, why in list(folder.skipped.items())[:SHOWN])
        more = "; ..." if len(folder.skipped) > SHOWN else ""
        notes.append(f"{len(folder.skipped):,} recordings have no features ({first}{more}).")
    return tuple(notes)


def _owners(parts: Sequence[Source]) -> dict[str, int]:
    """Id → which part has it."""
    found: dict[str, int] = {}
    for index, source in enumerate(parts):
        for clip in source.ids:
            if found.setdefault(clip, index) != index:
                raise UserError(f"{source.path}: clip {shown(clip)} is in {parts[found[clip]].path} as well.")
    return found


def _refuse_strangers(place: str, wanted: Iterable[str], there: Iterable[str], met: bool) -> None:
    """Refuse features of other clips alone: the ids are written in another way, or the path is wrong."""
    if not met:
        asked, found = (next((f"{shown(clip)}, ..." for clip in ids), "none") for ids in (wanted, there))
        raise UserError(f"{place}: has no clip of the corpus; the corpus has {asked} and there is {found}.")


def _left_out(ids: pd.Series, has: pd.Series, owner: Mapping[str, int]) -> Iterator[str]:
    """Sentences about clips that are on one side only."""
    if not has.all():
        first, count = shown(ids[~has].iloc[0]), int((~has).sum())
        yield f"{count:,} of {len(ids):,} clips have no features and were left out, such as {first}."
    if strange := owner.keys() - set(ids):
        yield f"{len(strange):,} clips with features are not in the corpus, such as {shown(min(strange))}."


def _steps(parts: Sequence[Source], owner: Mapping[str, int], ids: Sequence[str]) -> np.ndarray | None:
    """[N] frames of the clips before they were cut; None for a view of vectors."""
    found = np.empty(len(ids), np.int64)
    for index, source in enumerate(parts):
        if source.steps is None:
            return None
        mine = [row for row, clip in enumerate(ids) if owner[clip] == index]
        found[mine] = source.steps([ids[row] for row in mine])
    return found


def _blocks(parts: Sequence[Source], owner: Mapping[str, int], ids: Sequence[str]) -> Iterator[np.ndarray]:
    shape = parts[0].shape
    step = max(1, CHUNK_BYTES // (4 * int(np.prod(shape))))
    with ExitStack() as stack:
        gather = [stack.enter_context(source.opened()) for source in parts]
        for start in range(0, len(ids), step):
            wanted = ids[start : start + step]
            block = np.empty((len(wanted), *shape), np.float32)
            for index, rows in enumerate(gather):
                mine = [row for row, clip in enumerate(wanted) if owner[clip] == index]
                if mine:
                    with np.errstate(over="ignore"):  # The writer names what has become infinite.
                        block[mine] = rows([wanted[row] for row in mine])
            yield block
