"""A features folder: features of many recordings, one file per clip, each written whole.

    <folder>/features.json    the feature sets with their versions, the clips and their frames, what was skipped and why,
                              and size and time of the recordings that this comes from
             clips/<id>.npz   one array per feature set, `<set>` [D] or [T, D] with T <= STEPS, `<set>.steps`, and
                              `source` [2], size and time of the recording

Whatever ends an extraction, the same command goes on: a recording is not read again unless its size or time is another.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from affect.data.features.audio import SETS, Unusable, extract, need_soundfile
from affect.data.features.recordings import Stamp, stamp_of
from affect.data.features.sources import Source, at_hand, padded
from affect.data.formats.foreign import read_npz
from affect.errors import UserError
from affect.files import TEMPORARY, write_whole, writing

FEATURES = "features.json"
FORMAT = 1
LISTED = 20
"""Skipped recordings that are printed; all are in `FEATURES`."""
A = TypeVar("A")
B = TypeVar("B")


class Spread(Protocol):
    """Does the same work on many items, on as many cores as it has."""

    def __call__(self, work: Callable[[A], B], items: Sequence[A], what: str) -> Iterator[B]:
        """What `work` returns for each of `items` (called `what`), as it comes. An item at which workers keep dying
        is left out; an error of `work` is raised."""


def serial(work: Callable[[A], B], items: Sequence[A], what: str) -> Iterator[B]:
    """`Spread` in this process."""
    return map(work, items)


@dataclass(frozen=True)
class SetInfo:
    """A feature set as a folder holds it."""

    features: str
    """Its name and version."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FeatureFolder:
    """What `features.json` says."""

    folder: Path
    sets: Mapping[str, SetInfo]
    finished: bool
    clips: Mapping[str, Mapping[str, int]]
    """Id → set → frames, for sets that have frames, before they were cut to STEPS."""
    skipped: Mapping[str, str]
    """Id → why the recording has no features."""
    sources: Mapping[str, Stamp]
    """Id → the recording that this was found out from. Skipped ones that are not here are read again next time."""

    def views(self) -> dict[str, Source]:
        """The views that the folder offers, one per feature set."""
        found = {}
        for name, info in self.sets.items():
            steps = partial(self._steps, name) if len(info.shape) > 1 else None
            found[name] = Source(
                self.folder, info.features, info.shape, self.clips.keys(), at_hand(partial(self._rows, name)), steps
            )
        return found

    def _steps(self, name: str, ids: Sequence[str]) -> list[int]:
        return [self.clips[clip][name] for clip in ids]

    def _rows(self, name: str, ids: Sequence[str]) -> np.ndarray:
        return np.stack([self._row(name, clip) for clip in ids])

    def _row(self, name: str, clip: str) -> np.ndarray:
        file, shape = _clip_file(self.folder, clip), self.sets[name].shape
        values = read_npz(file, [name])[name]
        whole = padded(values, shape[0]) if len(shape) == values.ndim == 2 else values
        if whole.shape != shape:
            raise UserError(f"{file}: array {name} has shape {list(values.shape)} where {list(shape)} is due.")
        return whole

    def describe(self) -> str:
        """Some lines: feature sets, clips, what was skipped and why."""
        lines = [str(self.folder)]
        lines += [f"  set          {name} {list(info.shape)}: {info.features}" for name, info in self.sets.items()]
        lines.append(f"  clips        {len(self.clips):,}")
        lines += [f"  skipped      {clip}: {why}" for clip, why in list(self.skipped.items())[:LISTED]]
        if len(self.skipped) > LISTED:
            lines.append(f"  skipped      {len(self.skipped) - LISTED:,} more, see {self.folder / FEATURES}")
        return "\n".join(lines)


def extract_folder(
    wavs: Mapping[str, Path], folder: Path, sets: Sequence[str], spread: Spread = serial, overwrite: bool = False
) -> FeatureFolder:
    """Extract the feature `sets` of the recordings `wavs` (by id) that `folder` lacks into it.

    Broken, empty and silent recordings are skipped and listed. `UserError` where `folder` is something else, or has
    other feature sets or versions; `overwrite` begins anew.
    """
    need_soundfile()
    infos = {name: SetInfo(known.named(), known.shape) for name, known in SETS.items() if name in sets}
    for licence in {SETS[name].licence for name in infos} - {""}:
        print(licence)
    known, todo = _begun(folder, infos, wavs, overwrite)
    clips, skipped, sources = dict(known.clips), dict(known.skipped), dict(known.sources)
    lost = {clip for clip, _ in todo}
    for made in spread(_Extraction(folder, tuple(infos)), todo, "recordings"):
        lost.discard(made.id)
        if made.skipped:
            skipped[made.id] = made.skipped
        else:
            clips[made.id] = made.steps
        if made.source is not None:
            sources[made.id] = made.source
    skipped.update(dict.fromkeys(lost, "whoever read it died, each time"))
    made_folder = FeatureFolder(
        folder, infos, True, dict(sorted(clips.items())), dict(sorted(skipped.items())), dict(sorted(sources.items()))
    )
    with writing(folder / FEATURES):
        _write(made_folder)
    return made_folder


def open_features(folder: Path) -> FeatureFolder:
    """The features folder `folder`, whether or not it is finished."""
    file = folder / FEATURES
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise UserError(f"{file}: format {raw['format']} is not the one that this affect reads ({FORMAT}).")
        sets = {
            str(name): SetInfo(str(info["features"]), tuple(int(n) for n in info["shape"]))
            for name, info in raw["sets"].items()
        }
        clips = {
            str(clip): {name: int(frames[name]) for name, info in sets.items() if len(info.shape) > 1}
            for clip, frames in raw["clips"].items()
        }
        skipped = {str(clip): str(why) for clip, why in raw["skipped"].items()}
        sources = {str(clip): (int(size), int(time)) for clip, (size, time) in raw.get("sources", {}).items()}
        return FeatureFolder(folder, sets, bool(raw["finished"]), clips, skipped, sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(f"{file}: cannot be read ({reason}).") from None


@dataclass(frozen=True)
class _Made:
    """What became of one recording."""

    id: str
    steps: Mapping[str, int]
    source: Stamp | None
    skipped: str = ""


@dataclass(frozen=True)
class _Extraction:
    """The work on one recording; it travels to workers."""

    folder: Path
    sets: tuple[str, ...]

    def __call__(self, recording: tuple[str, Path]) -> _Made:
        clip, wav = recording
        source = stamp_of(wav)  # Before it is read: what changes meanwhile is read again.
        try:
            found = extract(wav, self.sets)
        except Unusable as error:
            return _Made(clip, {}, source, str(error))
        steps = {name: features.steps for name, features in found.items() if len(SETS[name].shape) > 1}
        arrays = {name: features.values for name, features in found.items()}
        counts = {f"{name}.steps": np.int64(count) for name, count in steps.items()}
        content = io.BytesIO()
        np.savez(content, source=np.array(source or (), np.int64), **arrays, **counts)  # type: ignore[arg-type]
        file = _clip_file(self.folder, clip)
        with writing(file):
            write_whole(file, content.getvalue())
        return _Made(clip, steps, source)


def _begun(
    folder: Path, infos: Mapping[str, SetInfo], wavs: Mapping[str, Path], overwrite: bool
) -> tuple[FeatureFolder, list[tuple[str, Path]]]:
    """The features folder that is there, which has the same feature sets, or an empty one; marked as unfinished.

    It knows nothing more of the recordings that are to be read, which come second: id and file.
    """
    with writing(folder):
        known = _known(folder, infos, overwrite)
        clips, skipped, sources = dict(known.clips), dict(known.skipped), dict(known.sources)
        todo = []
        for clip, wav in wavs.items():
            file, source = _clip_file(folder, clip), stamp_of(wav)
            if source is not None and source == sources.get(clip) and (clip in skipped or file.is_file()):
                continue
            left = _left(file, infos) if source is not None and file.is_file() else None
            clips.pop(clip, None)
            skipped.pop(clip, None)
            sources.pop(clip, None)
            if left is not None and left[0] == source:
                sources[clip], clips[clip] = left
            else:
                todo.append((clip, wav))
        known = replace(known, finished=False, clips=clips, skipped=skipped, sources=sources)
        folder.mkdir(parents=True, exist_ok=True)
        _write(known)
        (folder / "clips").mkdir(exist_ok=True)
    return known, todo


def _known(folder: Path, infos: Mapping[str, SetInfo], overwrite: bool) -> FeatureFolder:
    file = folder / FEATURES
    if file.is_file() and overwrite:
        file.unlink()
        shutil.rmtree(folder / "clips", ignore_errors=True)
    elif file.is_file():
        known = open_features(folder)
        if known.sets != infos:
            raise UserError(
                f"{folder}: holds {_named(known.sets)}, which must not be mixed with {_named(infos)}; "
                "remove that folder or use another."
            )
        return known
    elif folder.is_dir() and any(not path.name.startswith(TEMPORARY) for path in folder.iterdir()):
        raise UserError(f"{folder}: exists and is no features folder ({FEATURES} is missing).")
    return FeatureFolder(folder, infos, False, {}, {}, {})


def _named(sets: Mapping[str, SetInfo]) -> str:
    return " and ".join(f"{name} ({info.features})" for name, info in sets.items())


def _clip_file(folder: Path, clip: str) -> Path:
    if not clip or Path(clip).name != clip:
        raise UserError(f"{folder}: {clip!r} is no name for the features of a clip.")
    return folder / "clips" / f"{clip}.npz"


def _left(file: Path, infos: Mapping[str, SetInfo]) -> tuple[Stamp, dict[str, int]] | None:
    """The recording and the frames of a clip that an interrupted extraction has left; None where that is not known."""
    framed = [name for name, info in infos.items() if len(info.shape) > 1]
    try:
        found = read_npz(file, ["source", *(f"{name}.steps" for name in framed)])
        size, time = found["source"].tolist()
        return (size, time), {name: int(found[f"{name}.steps"]) for name in framed}
    except (UserError, ValueError, TypeError):
        return None


def _write(folder: FeatureFolder) -> None:
    raw: dict[str, Any] = asdict(folder)
    del raw["folder"]
    content = json.dumps({"format": FORMAT, **raw}, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder.folder / FEATURES, content.encode())
