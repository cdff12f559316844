"""`affect prepare iemocap`: USC-IEMOCAP, five dyadic sessions, one corpus per fold.

In the label files a consensus is `[V, A, D]`, valence first. The speaker of a turn is its session and the letter of the
turn (`Ses01F_impro01_M003` is spoken by the man of session 1): the letter in front names the actor who wore markers.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from affect.data.checks import shown
from affect.data.corpus import PROTOCOLS, Corpus, Count, TargetInfo
from affect.data.features import options
from affect.data.readers.speech import (
    ALL_FOLDS,
    ATTRIBUTES,
    ROUNDING,
    Vote,
    add_fold_arguments,
    check_scale,
    find_folder,
    fold_folders,
    fold_partitions,
    nan_mean,
    parse_rating,
    read_lines,
    votes_note,
    wavs_by_name,
)
from affect.data.writer import write_corpus
from affect.errors import UserError

HELP = "USC-IEMOCAP: acted dialogues with valence, arousal and dominance on 1..5, one fold of five"
EXAMPLE = "affect prepare iemocap --root ../IEMOCAP_full_release --fold 1 --audio"
DETAIL = (
    "Reads Session*/dialog/EmoEvaluation/*.txt below --root. Folds are by session, so both protocols have the same "
    "speaker-independent partitions: --fold N makes session N the test part, the next one development and the other "
    "three training. Each fold is a corpus of its own; --fold all writes the five of them."
)
SESSIONS = 5
LOW, HIGH = 1.0, 5.0
PUBLISHED_TURNS, PUBLISHED_ACTORS = 10_527, 10
"""Of the ladder paper, Section IV-A."""
RELEASED_TURNS = 10_039
"""Of the release, as everyone else counts them."""
_TURN = re.compile(r"Ses0([1-5])[FM]_\w+_([FM])\w+", re.ASCII)
_HEAD = re.compile(r"\[[\d.]+\s*-\s*[\d.]+\]\s+(\S+)\s+\w+\s+\[([^],]*),([^],]*),([^],]*)\]", re.ASCII)
_RATING = re.compile(r"A-([^:]+):\s*val\s*(\d*)\s*;\s*act\s*(\d*)\s*;\s*dom\s*(\d*)\s*;", re.ASCII)


@dataclass(frozen=True)
class Turn:
    """A turn's consensus (arousal, valence, dominance, maybe off the scale) and the votes of raters but the actors."""

    id: str
    session: int
    speaker: str
    place: str
    values: tuple[float, float, float]
    votes: list[Vote] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder with Session1 ... Session5")
    add_fold_arguments(parser, "iemocap", SESSIONS)
    options.add_arguments(parser)


def prepare(args: argparse.Namespace) -> Corpus | list[Corpus]:
    """Write one fold as a corpus named `iemocap-foldN`, or all of them; groups are the ten speakers."""
    folders = fold_folders(args, "iemocap", SESSIONS)
    # Features are extracted beside the first folder, for all folds.
    beside = argparse.Namespace(**{**vars(args), "out": next(iter(folders.values()))})
    sessions = find_sessions(args.root)
    turns = read_turns(sessions)
    labels, notes = consensus(turns)
    speakers = [turn.speaker for turn in turns]
    samples = pd.DataFrame(
        {
            "id": [turn.id for turn in turns],
            "subject": speakers,
            "group": speakers,
            "session": [turn.session for turn in turns],
            **{target: [row[i] for row in labels] for i, target in enumerate(ATTRIBUTES)},
        }
    )

    def wavs() -> dict[str, Path]:
        return wavs_by_name(file for session in sessions for file in session.glob("sentences/wav/*/*"))

    attached = options.attach(samples, beside, wavs, shared="iemocap")
    written = [_write(fold, out, attached, len(turns), notes, args) for fold, out in folders.items()]
    return written if args.fold == ALL_FOLDS else written[0]


def _write(
    fold: int, out: Path, attached: options.Attached, turns: int, notes: Sequence[str], args: argparse.Namespace
) -> Corpus:
    """One fold of the turns that have features; the label files have so many `turns`."""
    name = f"iemocap-fold{fold}"
    partitions, sentence = fold_partitions(attached.samples["session"].tolist(), fold, SESSIONS)
    return write_corpus(
        out,
        name=name,
        title=f"USC-IEMOCAP, fold {fold}",
        banner=f"{name}: USC-IEMOCAP, acted dialogues; {sentence[0].lower()}{sentence[1:-1]}",
        synthetic=False,
        source="sail.usc.edu/iemocap",
        licence="by agreement with the University of Southern California; not to be passed on",
        samples=attached.samples.assign(partition=partitions),
        targets={target: TargetInfo(LOW, HIGH) for target in ATTRIBUTES},
        groups="speaker",
        protocols=dict.fromkeys(PROTOCOLS, "partition"),
        views=attached.views,
        samples_file=str(args.root),
        counts=(
            Count("speaking turns", PUBLISHED_TURNS, len(attached.samples), _why(turns, len(attached.samples))),
            Count("actors", PUBLISHED_ACTORS, attached.samples["group"].nunique()),
        ),
        notes=(sentence, *notes, *attached.notes),
        overwrite=args.overwrite,
    )


def _why(turns: int, here: int) -> str:
    """Why `here` turns are not those of the paper: what the label files have, and what has no features."""
    reasons = []
    if turns == RELEASED_TURNS:
        reasons.append(f"The release is known with {turns:,} turns; why the paper counts more is not explained.")
    elif turns != PUBLISHED_TURNS:
        reasons.append(
            f"The label files have {turns:,} turns; the release is known with {RELEASED_TURNS:,}, and why the paper "
            "counts more is not explained."
        )
    if here < turns:
        reasons.append(f"{turns - here:,} of {turns:,} turns have no features.")
    return " ".join(reasons)


def find_sessions(root: Path) -> list[Path]:
    """The folders Session1 ... Session5, in `root` or in its folder IEMOCAP_full_release."""
    inner = find_folder(root, "IEMOCAP_full_release")
    folder = root if inner is None or find_folder(root, "Session1") else inner
    sessions = [folder / f"Session{number}" for number in range(1, SESSIONS + 1)]
    for session in sessions:
        if not session.is_dir():
            raise UserError(f"{session}: there is no such folder.")
    return sessions


def read_turns(sessions: list[Path]) -> list[Turn]:
    """All turns in the order of the files, each once. Sub-folders, where self-evaluations lie, are not read."""
    turns: list[Turn] = []
    first: dict[str, str] = {}
    for session in sessions:
        folder = session / "dialog" / "EmoEvaluation"
        files = sorted(folder.glob("[!.]*.txt"))
        if not files:
            raise UserError(f"{folder}: has no label files (*.txt).")
        for file in files:
            for turn in _read_dialogue(file):
                if turn.id in first:
                    raise UserError(f"{turn.place}: turn {turn.id} was rated in {first[turn.id]} already.")
                first[turn.id] = turn.place
                turns.append(turn)
    return turns


def _read_dialogue(file: Path) -> list[Turn]:
    turns: list[Turn] = []
    for number, line in read_lines(file, free=lambda line: not _is_consensus(line)):
        place = f"{file}: line {number}"
        if line.startswith("A-") and turns:
            vote = _vote(line, place)
            if not vote.rater.startswith(("F", "M")):  # The actors themselves.
                turns[-1].votes.append(vote)
        # The ratings of a turn whose own line is not there have no place either.
        elif _is_consensus(line) or (line.startswith("A-") and _TURN.search(line)):
            turns.append(_turn(line, place))
    return turns


def _is_consensus(line: str) -> bool:
    """Raters' lines (A-E2: ratings, C-E2: categories) hold free text, which is passed over; what else names a turn is
    its consensus."""
    return line.startswith("[") or (bool(_TURN.search(line)) and not line.startswith(("A-", "C-")))


def _turn(line: str, place: str) -> Turn:
    head = _HEAD.fullmatch(line)
    if head is None:
        raise UserError(f"{place}: {shown(line)} is not of the form [START - END] TURN EMOTION [V, A, D].")
    named = _TURN.fullmatch(head[1])
    if named is None:
        raise UserError(f"{place}: {shown(head[1])} is no name of a turn.")
    v, a, d = (parse_rating(text.strip(), place) for text in head.groups()[1:])
    return Turn(head[1], int(named[1]), f"Ses0{named[1]}{named[2]}", place, (a, v, d))


def _vote(line: str, place: str) -> Vote:
    found = _RATING.match(line)
    if found is None:
        raise UserError(f"{place}: {shown(line)} is not of the form A-RATER: val 3; act 2; dom 2;")
    v, a, d = (float(text) if text else math.nan for text in found.groups()[1:])
    return Vote(found[1].strip(), (a, v, d))


def consensus(turns: list[Turn]) -> tuple[list[tuple[float, ...]], tuple[str, ...]]:
    """Labels of the turns (arousal, valence, dominance), and notes.

    The labels are the consensus of the release. Where one is off the scale (a vote of 6, say) or took a missing vote for
    0, the mean of the votes on the scale takes its place; a turn off the scale without such votes is refused.
    """
    labels: list[tuple[float, ...]] = []
    mended: dict[str, list[str]] = {}
    for turn in turns:
        votes = [[x if LOW <= x <= HIGH else math.nan for x in vote.values] for vote in turn.votes]
        means = nan_mean(votes)
        values = []
        for i, (target, value, mean) in enumerate(zip(ATTRIBUTES, turn.values, means, strict=True)):
            kind = ""
            if value < LOW or value > HIGH:
                kind = "off the scale 1..5"
            elif _took_missing_for_zero(value, [vote.values[i] for vote in turn.votes]):
                kind = "that took a missing vote for 0"
            if kind and not math.isnan(mean):
                mended.setdefault(kind, []).append(f"{target} of {turn.id} is {value:g}")
                value = float(mean)
            values.append(check_scale(value, LOW, HIGH, f"{turn.place}: {target} of {turn.id}"))
        labels.append(tuple(values))
    notes = votes_note({turn.id: turn.values for turn in turns}, {turn.id: turn.votes for turn in turns})
    if mended:
        what = " and ".join(f"{len(found)} labels {kind} (the first: {found[0]})" for kind, found in mended.items())
        notes += (f"{what} were replaced by the mean of the votes that are on it.",)
    return labels, notes


def _took_missing_for_zero(value: float, votes: Sequence[float]) -> bool:
    """Whether a consensus is the sum of the votes that are there divided by the number of all raters."""
    there = [vote for vote in votes if not math.isnan(vote)]
    if not there or len(there) == len(votes):
        return False
    # With a handful of raters and votes of 1 or more, the two means are never as close as this.
    return abs(sum(there) / len(votes) - value) <= ROUNDING < abs(sum(there) / len(there) - value)
