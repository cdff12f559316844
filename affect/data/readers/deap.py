"""`affect prepare deap`: DEAP, music videos watched with EEG and peripheral signals, by quadrant of valence and arousal.

Differential entropy (Duan et al. 2013) of one-second windows, as Du et al. (semi-supervised multi-view variational
autoencoders) describe it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data.corpus import AS_PUBLISHED, LEAK_FREE, Corpus, Count, class_target
from affect.data.formats.foreign import read_mat
from affect.data.formats.pickles import read_pickle
from affect.data.writer import ViewSource, refuse_existing, write_corpus
from affect.errors import UserError
from affect.streams import stream

HELP = "DEAP: EEG and peripheral signals of people watching music videos, by quadrant of valence and arousal"
EXAMPLE = "affect prepare deap --root DEAP --out corpora/deap"
DETAIL = (
    "Reads s01.mat ... s32.mat from --root or its folder data_preprocessed_matlab, or else s01.dat ... from "
    "data_preprocessed_python. A row is a one-second window; views are eeg (32 channels) and peripheral (8 channels), "
    "each in four bands. The published protocol deals windows at random, so that windows of one trial lie on both "
    "sides; leak_free deals whole trials."
)
FOLDERS = {".mat": "data_preprocessed_matlab", ".dat": "data_preprocessed_python"}
"""Ending → folder of the release; MATLAB files are preferred, being no pickles."""
SUBJECTS = tuple(range(1, 33))
CHANNELS, EEG_CHANNELS = 40, 32
RATE, SECONDS, BASELINE = 128, 63, 3
"""Samples a second, and the seconds of a trial, of which the first three precede the video."""
MOST_BYTES = 110_000_000
"""Of one subject's arrays: 40 trials of 40 channels take 103 MB as doubles."""
BANDS = {"theta": (4, 8), "alpha": (8, 14), "beta": (14, 31), "gamma": (31, 45)}
"""Hz."""
FILTER_ORDER = 4
LEAST_VARIANCE = 1e-12
"""Below it a signal counts as still: a dead channel has a variance of nought or of rounding errors, and no entropy."""
RATINGS = ("valence", "arousal", "dominance", "liking")
THRESHOLD = 5
CLASSES = ("LVLA", "HVLA", "LVHA", "HVHA")
"""Low or high valence, then low or high arousal."""
DISCARD = {
    "either": "trials with valence or arousal in 4..6",
    "either-open": "trials with valence or arousal above 4 and below 6",
    "both": "trials with valence and arousal in 4..6",
    "both-open": "trials with valence and arousal above 4 and below 6",
}
"""Readings of "we discarded the samples whose ratings of arousal and valence are between 4 and 6"."""
SEED = 0
"""Of both splits."""
PUBLISHED = {"train": 16834, "development": 2104, "test": 2104}


@dataclass(frozen=True)
class Subject:
    """The trials of one subject that are kept, and how all of them were rated."""

    number: int
    ratings: np.ndarray
    """[trials, 2] valence and arousal of all trials."""
    trials: np.ndarray
    """[kept] their numbers, from 1."""
    entropy: np.ndarray
    """[kept, windows, bands, channels] float32."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, metavar="FOLDER", help="folder of the release")
    parser.add_argument(
        "--discard", choices=list(DISCARD), default="either", help="reading of the paper's rule (%(default)s)"
    )
    parser.add_argument(
        "--baseline", choices=["keep", "drop"], default="keep", help="the 3 s before each video (%(default)s)"
    )
    parser.add_argument(
        "--subjects", type=int, nargs="+", default=list(SUBJECTS), metavar="N", help="subjects to take (all 32)"
    )
    parser.add_argument("--out", type=Path, default=Path("corpora/deap"), help="folder to write (%(default)s)")


def prepare(args: argparse.Namespace) -> Corpus:
    return prepare_deap(args.root, args.out, args.discard, args.baseline == "keep", args.subjects, args.overwrite)


def prepare_deap(
    root: Path,
    out: Path,
    discard: str = "either",
    baseline: bool = True,
    subjects: Sequence[int] = SUBJECTS,
    overwrite: bool = False,
) -> Corpus:
    """Write the corpus `out` from the release in `root`: views `eeg` [N, 128] and `peripheral` [N, 32].

    A row is a one-second window of a trial that the reading `discard` keeps, with the target `quadrant`; its group is
    the trial. Raises `UserError` for whatever differs from the release's own structure.
    """
    refuse_existing(out, overwrite)
    chosen = sorted(set(subjects))
    first = 0 if baseline else BASELINE
    read = [_read_subject(root, number, discard, first) for number in chosen]
    samples = pd.concat([_samples(subject, first) for subject in read], ignore_index=True)
    samples["partition"] = deal_windows(len(samples))
    samples["partition_leak_free"] = deal_trials(samples["group"], samples["quadrant"])
    kept = {reading: sum(int(keeps(subject.ratings, reading).sum()) for subject in read) for reading in DISCARD}
    return write_corpus(
        out,
        name="deap",
        title="DEAP",
        banner=f"deap: DEAP, EEG and peripheral signals of {len(chosen)} subjects watching music videos; the published "
        "split deals windows of one trial to several partitions",
        synthetic=False,
        source="DEAP, Queen Mary University of London (eecs.qmul.ac.uk/mmv/datasets/deap)",
        licence="by agreement with Queen Mary University of London, for research; not to be passed on",
        samples=samples,
        targets={"quadrant": class_target(*CLASSES)},
        groups="trial",
        protocols={AS_PUBLISHED: "partition", LEAK_FREE: "partition_leak_free"},
        views={
            "eeg": _view(read, slice(0, EEG_CHANNELS), "EEG", root),
            "peripheral": _view(read, slice(EEG_CHANNELS, CHANNELS), "peripheral signals", root),
        },
        samples_file=str(root),
        counts=_counts(samples, kept[discard], chosen, baseline),
        notes=_notes(read, kept, discard, baseline),
        overwrite=overwrite,
    )


def keeps(ratings: np.ndarray, discard: str) -> np.ndarray:
    """[trials] whether a trial with these ratings [trials, 2] (valence, arousal) is kept under that reading."""
    middle = (ratings > 4) & (ratings < 6) if discard.endswith("-open") else (ratings >= 4) & (ratings <= 6)
    return np.asarray(~(middle.all(axis=1) if discard.startswith("both") else middle.any(axis=1)))


def differential_entropy(signals: np.ndarray) -> np.ndarray:
    """[windows, bands, channels] of `signals` [channels, samples]: 1/2 ln(2 pi e variance) of each second and band.

    That is the differential entropy of a Gaussian with the variance of the band-passed second, in nats. The filter (a
    Butterworth, forwards and backwards, so without delay) runs over the whole trial. No variance counts as less than
    `LEAST_VARIANCE`.
    """
    from scipy.signal import butter, sosfiltfilt

    variance = []
    for band in BANDS.values():
        sections = butter(FILTER_ORDER, band, "bandpass", fs=RATE, output="sos")
        filtered = sosfiltfilt(sections, signals, axis=-1)
        variance.append(filtered.reshape(len(signals), -1, RATE).var(axis=-1))
    return _entropy(np.stack(variance)).transpose(2, 0, 1)


def deal_windows(windows: int) -> np.ndarray:
    """[windows] partitions: a random tenth for each of test and development, as published."""
    tenth = round(windows / 10)
    partitions = np.full(windows, "train", dtype=object)
    order = stream(SEED, "split", "windows").permutation(windows)
    partitions[order[:tenth]] = "test"
    partitions[order[tenth : 2 * tenth]] = "development"
    return partitions


def deal_trials(groups: pd.Series, classes: pd.Series) -> np.ndarray:
    """[windows] partitions that no trial straddles: of every ten trials in the order of classes, one for test and one
    for development, so that each class is dealt alike and three trials suffice to fill all."""
    trials = pd.DataFrame({"group": groups, "class": classes}).drop_duplicates("group")
    mixed = trials.iloc[stream(SEED, "split", "trials").permutation(len(trials))]
    ordered = mixed.sort_values("class", kind="stable")["group"]
    places = np.arange(len(ordered)) % 10
    names = np.array(["test", "development", "train"], dtype=object)[np.minimum(places, 2)]
    return groups.map(dict(zip(ordered, names, strict=True))).to_numpy(object)


def _read_subject(root: Path, number: int, discard: str, first: int) -> Subject:
    """Read one file, which is forgotten with this call: 100 MB, of which windows from second `first` leave 1 MB."""
    file = _find(root, number)
    stored = (read_mat if file.suffix == ".mat" else read_pickle)(file, ["data", "labels"], MOST_BYTES)
    data, labels = stored["data"], stored["labels"]
    if data.ndim != 3 or not len(data) or data.shape[1:] != (CHANNELS, SECONDS * RATE):
        raise UserError(f"{file}: array data has shape {list(data.shape)}, not [trials, {CHANNELS}, {SECONDS * RATE}].")
    if labels.shape != (len(data), len(RATINGS)):
        raise UserError(f"{file}: array labels has shape {list(labels.shape)}, not [{len(data)}, {len(RATINGS)}].")
    wrong = np.argwhere(~((labels >= 1) & (labels <= 9)))
    if len(wrong):
        trial, column = wrong[0]
        raise UserError(
            f"{file}: array labels, row {trial + 1}, column {RATINGS[column]}: {labels[trial, column]:g} lies outside 1..9."
        )
    ratings = labels[:, :2].astype(np.float64)
    trials = np.flatnonzero(keeps(ratings, discard))
    entropy = np.empty((len(trials), SECONDS - first, len(BANDS), CHANNELS), np.float32)
    for place, trial in enumerate(trials):
        signals = data[trial].astype(np.float64)
        names = [f"{trial + 1}, channel {channel}" for channel in range(1, CHANNELS + 1)]
        wrong = np.argwhere(~np.isfinite(signals))
        if len(wrong):
            channel, sample = wrong[0]
            raise UserError(
                f"{file}: array data, trial {names[channel]}, sample {sample + 1}: {signals[channel, sample]} is not finite."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            found = differential_entropy(signals)
        beyond = np.argwhere(~np.isfinite(found).all(axis=(0, 1)))
        if len(beyond):
            raise UserError(f"{file}: array data, trial {names[beyond[0][0]]}: its variance overflows.")
        entropy[place] = found[first:]
    return Subject(number, ratings, trials + 1, entropy)


def _find(root: Path, number: int) -> Path:
    names = [f"s{number:02d}{suffix}" for suffix in FOLDERS]
    for name, folder in zip(names, FOLDERS.values(), strict=True):
        for file in (root / folder / name, root / name):
            if file.is_file():
                return file
    raise UserError(f"{root}: subject {number} is missing; neither {' nor '.join(names)} is there.")


def _entropy(variance: np.ndarray) -> np.ndarray:
    return 0.5 * np.log(2 * np.pi * np.e * np.maximum(variance, LEAST_VARIANCE))


def _samples(subject: Subject, first: int) -> pd.DataFrame:
    windows = subject.entropy.shape[1]
    high = subject.ratings[subject.trials - 1] > THRESHOLD
    groups = [f"{subject.number:02d}-{trial:02d}" for trial in subject.trials]
    return pd.DataFrame(
        {
            "id": [f"{group}-{second:02d}" for group in groups for second in range(first + 1, SECONDS + 1)],
            "subject": f"{subject.number:02d}",
            "group": np.repeat(np.array(groups, object), windows),
            "quadrant": np.repeat(high[:, 0] + 2.0 * high[:, 1], windows),
        }
    )


def _view(read: Sequence[Subject], channels: slice, signals: str, root: Path) -> ViewSource:
    blocks = [
        subject.entropy[..., channels].reshape(-1, len(BANDS) * (channels.stop - channels.start)) for subject in read
    ]
    features = (
        f"differential entropy of {signals} in 1-s windows, column {channels.stop - channels.start} * band + channel, "
        f"bands {', '.join(f'{name} {low}-{high} Hz' for name, (low, high) in BANDS.items())} (Butterworth band-pass of "
        f"order {FILTER_ORDER} forwards and backwards over the trial)"
    )
    return ViewSource((sum(map(len, blocks)), blocks[0].shape[1]), lambda: iter(blocks), features, file=str(root))


def _counts(samples: pd.DataFrame, trials: int, subjects: Sequence[int], baseline: bool) -> list[Count]:
    """Table 1 of the paper, and the trials that its numbers imply."""
    why = f"{len(subjects)} of {len(SUBJECTS)} subjects. " if len(subjects) != len(SUBJECTS) else ""
    why += "The paper does not say how it read its rule; see the notes for the other readings."
    if not baseline:
        why += f" The {BASELINE} s before each video are left out."
    here = samples["partition"].value_counts()
    return [
        Count("subjects", len(SUBJECTS), len(subjects)),
        Count("trials kept", 334, trials, why),
        Count("windows of a trial", SECONDS, SECONDS if baseline else SECONDS - BASELINE),
        *(Count(f"{partition} windows", due, int(here.get(partition, 0)), why) for partition, due in PUBLISHED.items()),
        Count("EEG features", 128, len(BANDS) * EEG_CHANNELS),
        Count("peripheral features", 32, len(BANDS) * (CHANNELS - EEG_CHANNELS)),
        Count("classes", len(CLASSES), samples["quadrant"].nunique()),
    ]


def _notes(read: Sequence[Subject], kept: Mapping[str, int], discard: str, baseline: bool) -> list[str]:
    rated = sum(len(subject.ratings) for subject in read)
    still = sum(int((subject.entropy <= np.float32(_entropy(np.zeros(())))).sum()) for subject in read)
    survivors = "; ".join(f"{number:,} after discarding {DISCARD[name]} ({name})" for name, number in kept.items())
    return [
        f"Of {rated:,} rated trials these are left: {survivors}. The paper kept 334 of 1,280; here --discard {discard}.",
        f"Quadrants are cut at {THRESHOLD}: a rating above it is high, {THRESHOLD} itself is low.",
        f"The {BASELINE} s before each video are {'windows like any other, as in the paper' if baseline else 'left out'}.",
        "Both protocols split windows or trials, not subjects: every subject may lie in train, development and test.",
        f"{still:,} features of signals that stand still are those of the variance {LEAST_VARIANCE:g}.",
    ]
