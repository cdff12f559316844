"""`affect prepare iemocap`: USC-IEMOCAP, five dyadic sessions, one corpus per fold.

In the label files a consensus is `[V, A, D]`, valence first. The speaker of a turn is its session and the letter of the
turn (`Ses01F_impro01_M003` is spoken by the man of session 1): the letter in front names the actor who wore markers.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from affect.data.checks import shown
from affect.data.corpus import PROTOCOLS, Corpus, Count, TargetInfo
from affect.data.features import options
from affect.data.readers.speech import (
    ATTRIBUTES,
    Vote,
    add_fold_argument,
    check_scale,
    find_folder,
    fold_partitions,
    nan_mean,
    parse_rating,
    read_lines,
    votes_note,
    wavs_by_name,
)
from affect.data.writer import refuse_existing, write_corpus
from affect.errors import UserError

HELP = "USC-IEMOCAP: acted dialogues with valence, arousal and dominance on 1..5, one fold of five"
EXAMPLE = "affect prepare iemocap --root ../IEMOCAP_full_release --fold 1 --audio"
DETAIL = (
    "Reads Session*/dialog/EmoEvaluation/*.txt below --root. Folds are by session, so both protocols have the same "
    "speaker-independent partitions: --fold N makes session N the test part, the next one development and the other "
    "three training. Each fold is a corpus of its own; run the reader five times for the five of them."
)
SESSIONS = 5
LOW, HIGH = 1.0, 5.0
PUBLISHED_TURNS, PUBLISHED_ACTORS = 10_527, 10
"""Of the ladder paper, Section IV-A."""
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
    add_fold_argument(parser, SESSIONS)
    parser.add_argument("--out", type=Path, help="folder to write (corpora/iemocap-foldN)")
    options.add_arguments(parser)


def prepare(args: argparse.Namespace) -> Corpus:
    """Write one fold as a corpus named `iemocap-foldN`; groups are the ten speakers."""
    name = f"iemocap-fold{args.fold}"
    out = args.out = args.out or Path("corpora") / name
    refuse_existing(out, args.overwrite)
    sessions = find_sessions(args.root)
    turns = read_turns(sessions)
    labels, notes = consensus(turns)
    partitions, fold = fold_partitions([turn.session for turn in turns], args.fold, SESSIONS)
    speakers = [turn.speaker for turn in turns]
    samples = pd.DataFrame(
        {
            "id": [turn.id for turn in turns],
            "subject": speakers,
            "group": speakers,
            "partition": partitions,
            **{target: [row[i] for row in labels] for i, target in enumerate(ATTRIBUTES)},
        }
    )

    def wavs() -> dict[str, Path]:
        return wavs_by_name(file for session in sessions for file in session.glob("sentences/wav/*/*"))

    attached = options.attach(samples, args, wavs, shared="iemocap")
    return write_corpus(
        out,
        name=name,
        title=f"USC-IEMOCAP, fold {args.fold}",
        banner=f"{name}: USC-IEMOCAP, acted dialogues; {fold[0].lower()}{fold[1:-1]}",
        synthetic=False,
        source="sail.usc.edu/iemocap",
        licence="by agreement with the University of Southern California; not to be passed on",
        samples=attached.samples,
        targets={target: TargetInfo(LOW, HIGH) for target in ATTRIBUTES},
        groups="speaker",
        protocols=dict.fromkeys(PROTOCOLS, "partition"),
        views=attached.views,
        samples_file=str(args.root),
        counts=(
            Count(
                "speaking turns",
                PUBLISHED_TURNS,
                len(attached.samples),
                "The release is known with 10,039 turns; why the paper counts more is not explained.",
            ),
            Count("actors", PUBLISHED_ACTORS, attached.samples["group"].nunique()),
        ),
        notes=(fold, *notes, *attached.notes),
        overwrite=args.overwrite,
    )


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
    for number, line in read_lines(file):
        place = f"{file}: line {number}"
        if line.startswith("A-") and turns:
            vote = _vote(line, place)
            if not vote.rater.startswith(("F", "M")):  # The actors themselves.
                turns[-1].votes.append(vote)
        # Categories (C-E2: ...) and free text of raters are passed over; what else names a turn is its consensus.
        elif line.startswith("[") or (_TURN.search(line) and not line.startswith("C-")):
            turns.append(_turn(line, place))
    return turns


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

    The labels are the consensus of the release. Where one is off the scale (a vote of 6, or a missing one that counted
    as 0), the mean of the votes on the scale takes its place; a turn without such votes is refused.
    """
    labels: list[tuple[float, ...]] = []
    mended: list[str] = []
    for turn in turns:
        votes = [[x if LOW <= x <= HIGH else math.nan for x in vote.values] for vote in turn.votes]
        means = nan_mean(votes)
        values = []
        for target, value, mean in zip(ATTRIBUTES, turn.values, means, strict=True):
            if (value < LOW or value > HIGH) and not math.isnan(mean):
                mended.append(f"{target} of {turn.id} is {value:g}")
                value = float(mean)
            values.append(check_scale(value, LOW, HIGH, f"{turn.place}: {target} of {turn.id}"))
        labels.append(tuple(values))
    notes = votes_note({turn.id: turn.values for turn in turns}, {turn.id: turn.votes for turn in turns})
    if mended:
        notes += (
            f"{len(mended)} labels off the scale 1..5 (the first: {mended[0]}) were replaced by the mean of the votes "
            "that are on it.",
        )
    return labels, notes
