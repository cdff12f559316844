"""`affect prepare seed`: SEED, fifteen film clips watched with EEG and, in the multimodal release, eye tracking.

Two releases are read. The multimodal one holds what Du et al. (semi-supervised multi-view variational autoencoders)
describe: features of 4-second windows of EEG and eye movements. The extracted features hold EEG alone.
"""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data import checks
from affect.data.corpus import AS_PUBLISHED, LEAK_FREE, Corpus, Count, class_target
from affect.data.formats.foreign import read_mat, read_npz
from affect.data.formats.pickles import read_pickle, unpickle
from affect.data.writer import ViewSource, refuse_existing, write_corpus
from affect.errors import UserError

HELP = "SEED: EEG and eye movements of people watching film clips, negative, neutral or positive"
EXAMPLE = "affect prepare seed --root SEED_Multimodal/Chinese --out corpora/seed"
DETAIL = (
    "Reads the multimodal release (--root holds 02-EEG-DE-feature and 04-Eye-tracking-feature: views eeg and eye) or "
    "one of extracted features (--root holds label.mat and files such as 1_20131027.mat: view eeg). Clips 1-9 are "
    "train, 10-12 development, 13-15 test."
)
NINE = (1, 2, 3, 4, 5, 8, 9, 10, 11)
"""The paper used nine of the multimodal release's twelve subjects and does not say which: the first nine make a corpus
of the paper's size, so that a percentage of labels means as many labels as it did there."""
SESSIONS = (1, 2, 3)
CLASSES = ("negative", "neutral", "positive")
CLIP_LABELS = (1, 0, -1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 0, 1, -1)
"""Of clips 1-15, as the release has them: -1 negative, 0 neutral, 1 positive."""
CLIP_SECONDS = (235, 233, 206, 238, 185, 195, 237, 216, 265, 237, 235, 233, 235, 238, 206)
WINDOW = 4
"""Seconds of a window in the multimodal release; what is left at the end of a clip is no window."""
CLIP_WINDOWS = tuple(seconds // WINDOW for seconds in CLIP_SECONDS)
LAST_CLIP = {"train": 9, "development": 12, "test": 15}
"""Partition → its last clip."""
BANDS = ("delta", "theta", "alpha", "beta", "gamma")
CHANNELS = 62
COLUMNS = tuple(f"{band} {channel}" for band in BANDS for channel in range(1, CHANNELS + 1))
ORDER = f"column {CHANNELS} * band + channel, bands {', '.join(BANDS)}"
EEG = "02-EEG-DE-feature/eeg_used_4s"
EYE = "04-Eye-tracking-feature/eye_tracking_feature"
MOST_BYTES = 32 << 20
"""Of what is read of one file: all clips of a recording in windows of a second take 8 MB as doubles."""
PUBLISHED = {"train": 13473, "development": 4725, "test": 4536}


@dataclass(frozen=True)
class Recording:
    """One subject in one session: the clip 1-15 of each window [n], and the views [n, D] float32 by name."""

    subject: int
    session: int
    clips: np.ndarray
    views: dict[str, np.ndarray]
    window: int
    """Seconds of a window."""

    @property
    def groups(self) -> list[str]:
        return [f"{self.subject:02d}-{self.session}-{clip:02d}" for clip in self.clips]

    @property
    def ids(self) -> list[str]:
        numbers = pd.Series(self.clips).groupby(self.clips).cumcount() + 1
        return [f"{group}-{number:03d}" for group, number in zip(self.groups, numbers, strict=True)]

    def checked(self, view: str, file: Path, columns: Sequence[str] = ()) -> Recording:
        """This recording, whose view came from that file, once it is known to be finite."""
        checks.check_finite(self.views[view], self.ids, str(file), view, columns)
        return self


@dataclass(frozen=True)
class Release:
    """How one release of SEED is read and what it is."""

    marker: str
    """Path that its folder has and no other's."""
    read: Callable[[Path, Sequence[int]], Iterator[Recording]]
    features: dict[str, str]
    """View → name of its feature set; {window} stands for the seconds of a window."""
    note: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, metavar="FOLDER", help="folder of one release")
    parser.add_argument(
        "--subjects", type=int, nargs="+", default=list(NINE), metavar="N", help="subjects to take (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("corpora/seed"), help="folder to write (%(default)s)")


def prepare(args: argparse.Namespace) -> Corpus:
    return prepare_seed(args.root, args.out, args.subjects, args.overwrite)


def prepare_seed(root: Path, out: Path, subjects: Sequence[int] = NINE, overwrite: bool = False) -> Corpus:
    """Write the corpus `out` from the release in `root`: view `eeg` [N, 310] and, where there is one, `eye` [N, D].

    A row is a window of a clip, with the target `emotion`; its group is the recording of one clip by one subject in
    one session. Raises `UserError` for whatever differs from the release's own structure.
    """
    refuse_existing(out, overwrite)
    folder, release = find_release(root)
    chosen = sorted(set(subjects))
    recordings = list(release.read(folder, chosen))
    samples = pd.concat([_samples(recording) for recording in recordings], ignore_index=True)
    window = recordings[0].window
    return write_corpus(
        out,
        name="seed",
        title="SEED",
        banner=f"seed: SEED, {' and '.join(release.features)} of {len(chosen)} subjects watching 15 film clips; every "
        "subject lies in every partition",
        synthetic=False,
        source="SEED, Shanghai Jiao Tong University (bcmi.sjtu.edu.cn/~seed)",
        licence="by agreement with Shanghai Jiao Tong University, for research; not to be passed on",
        samples=samples,
        targets={"emotion": class_target(*CLASSES)},
        groups="recording",
        protocols={AS_PUBLISHED: "partition", LEAK_FREE: "partition"},
        views={
            view: _view(view, recordings, features.format(window=window), folder)
            for view, features in release.features.items()
        },
        samples_file=str(folder),
        counts=_counts(samples, recordings, len(chosen), window),
        notes=(
            f"Subjects {', '.join(map(str, chosen))} are taken; the paper used 9 and does not say which.",
            "Clips are split, not subjects: every subject and session lies in train, development and test.",
            release.note.format(window=window),
            "The paper gives windows by partition; by class, they are what the clips' lengths make of its 27 files.",
        ),
        overwrite=overwrite,
    )


def find_release(root: Path) -> tuple[Path, Release]:
    """The folder of the one release that `root` is or holds."""
    inside = (
        "",
        "Chinese",
        "SEED_Multimodal/Chinese",
        "ExtractedFeatures",
        "ExtractedFeatures_1s",
        "ExtractedFeatures_4s",
    )
    found = [
        (root / name, release)
        for name in inside
        for release in (MULTIMODAL, EXTRACTED)
        if (root / name / release.marker).exists()
    ]
    if not found:
        raise UserError(f"{root}: no release of SEED here; it has neither {MULTIMODAL.marker} nor {EXTRACTED.marker}.")
    if len(found) > 1:
        names = ", ".join(str(folder) for folder, _ in found)
        raise UserError(f"{root}: holds several releases of SEED; name one as --root: {names}.")
    return found[0]


def _read_multimodal(folder: Path, subjects: Sequence[int]) -> Iterator[Recording]:
    """Each half of a recording is a pickled dictionary of bands within an .npz archive; labels lie there alone."""
    for subject in subjects:
        for session in SESSIONS:
            eeg_file, eye_file = folder / EEG / f"{subject}_{session}.npz", folder / EYE / f"{subject}_{session}"
            stored = read_npz(eeg_file, ["train_data", "train_label", "test_data", "test_label"], MOST_BYTES)
            eyes = read_pickle(eye_file, ["train_data_eye", "test_data_eye"], MOST_BYTES)
            halves = []
            for half, first, last in (("train", 1, 9), ("test", 10, 15)):
                windows = np.repeat(np.arange(first, last + 1), CLIP_WINDOWS[first - 1 : last])
                _check_labels(stored[f"{half}_label"], windows, f"{eeg_file}: array {half}_label")
                place = f"{eeg_file}: array {half}_data"
                bands = unpickle(_bytes(stored[f"{half}_data"], place), place, BANDS, MOST_BYTES)
                eeg = [_rows(bands[band], len(windows), f"{place}, band {band}", CHANNELS) for band in BANDS]
                eye = _rows(eyes[f"{half}_data_eye"], len(windows), f"{eye_file}: array {half}_data_eye")
                halves.append((windows, np.concatenate(eeg, axis=1), eye))
            widths = [eye.shape[1] for _, _, eye in halves]
            if widths[0] != widths[1]:
                raise UserError(f"{eye_file}: array train_data_eye has {widths[0]} columns, test_data_eye {widths[1]}.")
            clips, *views = (np.concatenate(parts) for parts in zip(*halves, strict=True))
            recording = Recording(subject, session, clips, dict(zip(("eeg", "eye"), views, strict=True)), WINDOW)
            yield recording.checked("eeg", eeg_file, COLUMNS).checked("eye", eye_file)


def _read_extracted(folder: Path, subjects: Sequence[int]) -> Iterator[Recording]:
    """Each recording is a MATLAB file with an array [62, windows, 5] for each clip; label.mat holds all labels."""
    names = [f"de_LDS{clip}" for clip in range(1, len(CLIP_LABELS) + 1)]
    labels = read_mat(folder / "label.mat", ["label"], MOST_BYTES)["label"]
    _check_labels(labels, np.arange(1, len(CLIP_LABELS) + 1), f"{folder / 'label.mat'}: array label")
    due = None
    for subject in subjects:
        # Named by the day of the recording, so in the order of the sessions.
        files = sorted(file for file in folder.glob(f"{subject}_*.mat") if re.fullmatch(r"\d+_\d{8}", file.stem))
        if len(files) != len(SESSIONS):
            raise UserError(
                f"{folder}: subject {subject} has {len(files)} files {subject}_<yyyymmdd>.mat where {len(SESSIONS)} "
                "are due."
            )
        for session, file in zip(SESSIONS, files, strict=True):
            arrays = read_mat(file, names, MOST_BYTES)
            for name, array in arrays.items():
                if array.ndim != 3 or (array.shape[0], array.shape[2]) != (CHANNELS, len(BANDS)) or not array.size:
                    raise UserError(f"{file}: array {name} has shape {list(array.shape)}, not [62, windows, 5].")
            counts = [arrays[name].shape[1] for name in names]
            window = _window(dict(zip(names, counts, strict=True)), file)
            if window != (due := due or window):
                raise UserError(f"{file}: array {names[0]} has windows of {window} s, earlier files of {due} s.")
            windows = np.repeat(np.arange(1, len(names) + 1), counts)
            eeg = np.concatenate([arrays[name].transpose(1, 2, 0).reshape(-1, len(COLUMNS)) for name in names])
            yield Recording(subject, session, windows, {"eeg": _float32(eeg)}, window).checked("eeg", file, COLUMNS)


def _window(counts: Mapping[str, int], file: Path) -> int:
    """Seconds of a window, which follow from the windows of every clip: its array → how many there are."""
    found = tuple(counts.values())
    released = {1: CLIP_SECONDS, WINDOW: CLIP_WINDOWS}
    for seconds, due in released.items():
        if found == due:
            return seconds
    closest = max(released.values(), key=lambda due: sum(map(operator.eq, found, due)))
    wrong = next(clip for clip, count in enumerate(found) if count != closest[clip])
    raise UserError(
        f"{file}: array {list(counts)[wrong]} has {found[wrong]} windows where clip {wrong + 1} has "
        f"{CLIP_SECONDS[wrong]} of 1 s or {CLIP_WINDOWS[wrong]} of {WINDOW} s."
    )


MULTIMODAL = Release(
    EEG,
    _read_multimodal,
    {
        "eeg": f"differential entropy of {{window}}-s windows as released (smoothing not recorded), {ORDER}",
        "eye": "eye movements (blink, saccade, fixation and so on) of {window}-s windows as released",
    },
    "Clip boundaries follow from the clips' lengths ({window}-s windows); the labels of every file agree with them.",
)
EXTRACTED = Release(
    "label.mat",
    _read_extracted,
    {"eeg": f"differential entropy of {{window}}-s windows, smoothed by a linear dynamic system (de_LDS), {ORDER}"},
    "Windows of {window} s are kept as released: the entropy of a longer window is not the mean of its parts'. This "
    "release has no eye features.",
)


def _check_labels(labels: np.ndarray, clips: np.ndarray, place: str) -> None:
    """Labels are those of the clips [n], as -1..1 or 0..2."""
    given = labels.ravel()
    if given.dtype.kind not in "iuf":
        raise UserError(f"{place} holds {given.dtype}, not numbers.")
    if given.size != len(clips):
        raise UserError(f"{place} has {given.size} labels where clips {clips[0]}-{clips[-1]} have {len(clips)}.")
    due = np.array(CLIP_LABELS)[clips - 1]
    for shift in (0, 1):
        if np.array_equal(given, due + shift):
            return
    start = min((0, 1), key=lambda shift: np.count_nonzero(given != due + shift))
    wrong = int(np.flatnonzero(given != due + start)[0])
    raise UserError(
        f"{place}, row {wrong + 1}: label {given[wrong]} where clip {clips[wrong]} is {CLASSES[due[wrong] + 1]} "
        f"({due[wrong] + start})."
    )


def _bytes(array: np.ndarray, place: str) -> bytes:
    if array.dtype.kind != "S" or array.size != 1:
        raise UserError(f"{place} holds {array.dtype} {list(array.shape)}, not the bytes of one pickle.")
    return bytes(array.item())


def _rows(array: np.ndarray, rows: int, place: str, columns: int | None = None) -> np.ndarray:
    """`array` as float32 [rows, D] without inner axes of length 1; `columns` is the D that is due, if one is."""
    inner = tuple(axis for axis in range(1, array.ndim) if array.shape[axis] == 1)
    matrix = np.squeeze(array, inner) if array.ndim > 2 else array
    if matrix.ndim != 2 or len(matrix) != rows or matrix.shape[1] != (columns or matrix.shape[1]) or not matrix.size:
        raise UserError(f"{place} has shape {list(array.shape)}, not [{rows}, {columns or 'features'}].")
    return _float32(matrix)


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _samples(recording: Recording) -> pd.DataFrame:
    clips = recording.clips
    partitions = np.array(list(LAST_CLIP))[np.searchsorted(list(LAST_CLIP.values()), clips)]
    return pd.DataFrame(
        {
            "id": recording.ids,
            "subject": f"{recording.subject:02d}",
            "group": recording.groups,
            "partition": partitions,
            "emotion": np.array(CLIP_LABELS)[clips - 1] + 1.0,
        }
    )


def _view(view: str, recordings: Sequence[Recording], features: str, folder: Path) -> ViewSource:
    width = recordings[0].views[view].shape[1]
    for recording in recordings:
        if recording.views[view].shape[1] != width:
            raise UserError(
                f"{folder}: view {view} of subject {recording.subject}, session {recording.session} has "
                f"{recording.views[view].shape[1]} columns where others have {width}."
            )
    rows = sum(len(recording.clips) for recording in recordings)
    return ViewSource(
        (rows, width), lambda: (recording.views[view] for recording in recordings), features, file=str(folder)
    )


def _counts(samples: pd.DataFrame, recordings: Sequence[Recording], subjects: int, window: int) -> list[Count]:
    """Table 1 of the paper, and its windows by class as the clips' lengths give them."""
    why = f"{subjects} subjects where the paper has {len(NINE)}. " if subjects != len(NINE) else ""
    why = (why + (f"Windows of {window} s where the paper's have {WINDOW} s." if window != WINDOW else "")).strip()
    labels = np.array(CLIP_LABELS)
    counts = [Count("data files", len(NINE) * len(SESSIONS), len(recordings), why)]
    first = 0
    for partition, last in LAST_CLIP.items():
        inside = samples[samples["partition"] == partition]
        counts.append(Count(f"{partition} windows", PUBLISHED[partition], len(inside), why))
        for position, name in enumerate(CLASSES):
            due = sum(CLIP_WINDOWS[clip] for clip in range(first, last) if labels[clip] == position - 1)
            here = int((inside["emotion"] == position).sum())
            counts.append(Count(f"{partition} windows, {name}", due * len(NINE) * len(SESSIONS), here, why))
        first = last
    views = recordings[0].views
    absent = "" if "eye" in views else "This release has no eye features."
    counts.append(Count("EEG features", 310, views["eeg"].shape[1]))
    counts.append(Count("eye features", 33, views["eye"].shape[1] if "eye" in views else 0, absent))
    return counts
