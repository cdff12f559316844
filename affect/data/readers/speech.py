"""What the readers of speech corpora share: label lines, votes, folds by session, speakers kept apart, audio files."""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from affect.data.checks import shown
from affect.data.manifest import SCORED
from affect.data.writer import refuse_existing
from affect.errors import UserError

ATTRIBUTES = {"arousal": "A", "valence": "V", "dominance": "D"}
"""Target → its letter in the label files of the MSP corpora."""
ROUNDING = 0.051
"""Consensus and mean of the votes agree to within this: some releases print one decimal."""
ALL_FOLDS = "all"
_VOTE = re.compile("".join(rf";\s*{letter}:\s*(\d+(?:\.\d*)?)\s*" for letter in "AVD") + ";", re.ASCII)


@dataclass(frozen=True)
class Vote:
    """What one rater said of one clip: arousal, valence, dominance; NaN where nothing."""

    rater: str
    values: tuple[float, float, float]


@dataclass(frozen=True)
class Evaluation:
    """The consensus on a clip. `name` is how the clip's name matched the pattern of its corpus."""

    name: re.Match[str]
    letter: str
    values: tuple[float, float, float]
    """Arousal, valence, dominance; NaN where there is no consensus."""
    votes: list[Vote] = field(default_factory=list)


def read_lines(file: Path, free: Callable[[str], bool] = lambda line: False) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines, without what surrounds them; blank lines are left out.

    UTF-8 only, but for the lines that are `free`: what raters typed is in the encodings of their day, and the bytes that
    are none become U+FFFD.
    """
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file.") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}).") from None
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            text = line.decode(errors="replace").strip()
            if not free(text):
                raise UserError(f"{file}: line {number}: byte {line[error.start]:#04x} is no UTF-8 text.") from None
        if text:
            yield number, text


def parse_rating(text: str, place: str) -> float:
    """A plain decimal number or NaN; `place` begins the sentence that refuses anything else."""
    if text.lower() == "nan":
        return math.nan
    if not re.fullmatch(r"[+-]?\d+(\.\d*)?", text, re.ASCII):
        raise UserError(f"{place}: {shown(text)} is not a number.")
    return float(text)


def check_scale(value: float, low: float, high: float, place: str) -> float:
    """`value`, which lies on its scale or is NaN."""
    if value < low or value > high:
        raise UserError(f"{place}: {value:g} lies outside the scale {low:g}..{high:g}.")
    return value


def read_evaluations(file: Path, pattern: re.Pattern[str], prefixes: tuple[str, ...], high: float) -> list[Evaluation]:
    """Consensus lines such as `CLIP.wav; N; A:3.4; V:4.2; D:4.0;` with the rater lines below each.

    A line that begins with one of `prefixes`, or names a file, is a consensus line; its name must match `pattern`,
    whose group `id` occurs once in the file. The scale is 1..`high`. Rater lines, whose free text may hold anything,
    count as votes where they show three ratings.
    """

    def is_clip(line: str) -> bool:
        name = line.partition(";")[0].strip().lower()
        return line.startswith(prefixes) or name.endswith((".wav", ".avi")) or bool(pattern.search(line))

    found: list[Evaluation] = []
    first: dict[str, int] = {}
    for number, line in read_lines(file, free=lambda line: not is_clip(line)):
        place = f"{file}: line {number}"
        name, *fields = (part.strip() for part in line.split(";"))
        if is_clip(line):
            evaluation = _evaluation(name, fields, pattern, high, place)
            clip = evaluation.name["id"]
            if clip in first:
                raise UserError(f"{place}: {shown(name)} was rated in line {first[clip]} already.")
            first[clip] = number
            found.append(evaluation)
        elif not fields:
            raise UserError(f"{place}: {shown(line)} is neither a clip's line nor a rater's.")
        elif found and (vote := parse_vote(line)):
            found[-1].votes.append(vote)
    if not found:
        raise UserError(f"{file}: has no line that begins with {' or '.join(prefixes)}.")
    return found


def _evaluation(name: str, fields: Sequence[str], pattern: re.Pattern[str], high: float, place: str) -> Evaluation:
    match = pattern.fullmatch(name)
    if match is None:
        raise UserError(f"{place}: {shown(name)} is no name of a clip's file.")
    # A line that was cut short may still show a number, but no longer the semicolon after it.
    if len(fields) < 2 or fields[-1] or not re.fullmatch("[A-Z]", fields[0]):
        raise UserError(f"{place}: the line of {shown(name)} is not of the form NAME; LETTER; A:...; V:...; D:...;")
    ratings: dict[str, str] = {}
    for part in fields[1:-1]:
        letter, colon, text = part.partition(":")
        if not colon or letter not in ("A", "V", "D", "N") or letter in ratings:
            raise UserError(f"{place}: {shown(part)} is none of A:..., V:..., D:... or N:..., once each.")
        ratings[letter] = text.strip()
    for letter in ATTRIBUTES.values():
        if letter not in ratings:
            raise UserError(f"{place}: the line of {shown(name)} lacks {letter}:...")
    a, v, d = (check_scale(parse_rating(ratings[c], f"{place}, {c}"), 1, high, f"{place}, {c}") for c in "AVD")
    return Evaluation(match, fields[0], (a, v, d))


def parse_vote(text: str) -> Vote | None:
    """A rater's line `RATER; ...; A:4.0; V:3.0; D:4.0;`, or None where it does not show all three."""
    found = _VOTE.search(text)
    if found is None:
        return None
    a, v, d = map(float, found.groups())
    return Vote(text.partition(";")[0].strip(), (a, v, d))


def votes_note(consensus: Mapping[str, Sequence[float]], votes: Mapping[str, Sequence[Vote]]) -> tuple[str, ...]:
    """One sentence on whether the consensus is the mean of the votes, where there are votes."""
    agree = twice = rated = 0
    for clip, values in consensus.items():
        given = votes.get(clip, ())
        if given:
            rated += 1
            mean = nan_mean([vote.values for vote in given])
            agree += bool((np.isnan(mean) | ~(np.abs(mean - np.asarray(values)) > ROUNDING)).all())
            twice += max(Counter(vote.rater for vote in given).values()) > 1
    if not rated:
        return ()
    again = f"; {twice:,} of them have two votes of one rater, both counted" if twice else ""
    return (f"The consensus is the mean of the raters' votes in {agree:,} of {rated:,} clips with votes{again}.",)


def nan_mean(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Means [3] of what is given in the columns of `rows` [n, 3]; NaN where nothing is."""
    array = np.asarray(rows, np.float64).reshape(-1, len(ATTRIBUTES))
    there = ~np.isnan(array)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, array, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def add_fold_arguments(parser: argparse.ArgumentParser, corpus: str, sessions: int) -> None:
    """`--fold N|all` and `--out`, which `fold_folders` understands."""

    def number(text: str) -> int | str:
        return text if text == ALL_FOLDS else int(text)

    number.__name__ = "fold"  # What argparse calls a value that is none.
    parser.add_argument(
        "--fold",
        type=number,
        choices=(*range(1, sessions + 1), ALL_FOLDS),
        default=1,
        help=f"session that is the test part; the next one (after {sessions} comes 1) is development; {ALL_FOLDS}: every "
        "fold, a corpus each, with features that are computed once (%(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"folder to write (corpora/{corpus}-foldN); with --fold {ALL_FOLDS} the folders are OUT-fold1 ... "
        f"OUT-fold{sessions} (corpora/{corpus}-fold1 ...)",
    )


def fold_folders(args: argparse.Namespace, corpus: str, sessions: int) -> dict[int, Path]:
    """The folds that `args` asks for → the folders they go to, none of which may be in the way."""
    prefix: Path = args.out or Path("corpora") / corpus
    if args.fold == ALL_FOLDS or args.out is None:
        if prefix.name in ("", ".."):
            raise UserError(f"--out {prefix}: with --fold {ALL_FOLDS} give the beginning of the folders' names.")
        folds = range(1, sessions + 1) if args.fold == ALL_FOLDS else (args.fold,)
        found = {fold: prefix.with_name(f"{prefix.name}-fold{fold}") for fold in folds}
    else:
        found = {args.fold: prefix}
    for folder in found.values():
        refuse_existing(folder, args.overwrite)
    return found


def fold_partitions(sessions: Sequence[int], fold: int, count: int) -> tuple[list[str], str]:
    """Partitions of rows of `sessions` [N] (1..count) in a fold, and a sentence that says so.

    Two actors meet in a session and in no other, so no speaker straddles these partitions.
    """
    development = fold % count + 1
    place = {fold: "test", development: "development"}
    rest = ", ".join(str(session) for session in range(1, count + 1) if session not in place)
    sentence = f"Fold {fold} of {count}: session {fold} is test, {development} development, {rest} training."
    return [place.get(session, "train") for session in sessions], sentence


def without_leaks(partitions: Sequence[str], keys: Sequence[str | None]) -> list[str]:
    """Partitions [N] in which every scored row has a known key (a speaker, say) that is scored nowhere else.

    All other scored rows become unlabelled; a key found in several keeps to test, else to development.
    """
    home: dict[str, str] = {}
    for name in reversed(SCORED):
        for partition, key in zip(partitions, keys, strict=True):
            if partition == name and key is not None:
                home.setdefault(key, name)
    return [
        partition if key is not None and home.get(key) == partition else "unlabelled"
        for partition, key in zip(partitions, keys, strict=True)
    ]


def find_file(folder: Path, *names: str) -> Path | None:
    """The file in `folder` with the first of `names` that is there, in whatever case."""
    there = {file.name.lower(): file for file in _entries(folder) if file.is_file()}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def find_folder(folder: Path, *names: str) -> Path | None:
    """The sub-folder with the first of `names` that is there, in whatever case."""
    there = {file.name.lower(): file for file in _entries(folder) if file.is_dir()}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be opened ({error.strerror or error}).") from None


def wavs_by_name(files: Iterable[Path]) -> dict[str, Path]:
    """Name without suffix → wav file. Names that begin with a point (what macOS leaves in archives) are skipped."""
    found: dict[str, Path] = {}
    for file in sorted(files):
        if file.suffix.lower() == ".wav" and not file.name.startswith("."):
            if file.stem in found:
                raise UserError(f"{file}: there is another file of this name, {found[file.stem]}.")
            found[file.stem] = file
    return found
