"""`affect prepare msp-improv`: MSP-IMPROV, six dyadic sessions, one corpus per fold.

The label file names clips after the videos (`UTD-IMPROV-S01A-F01-P-FM01.avi`), the audio files are called
`MSP-IMPROV-S01A-F01-P-FM01.wav`: ids are the latter without their suffix. The first F01 is session 1 and the actor whose
target sentence is played, in a dialogue where both speak; the turn `FM01` is spoken by the second of its letters.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data.corpus import PROTOCOLS, Corpus, Count, TargetInfo
from affect.data.features import options
from affect.data.readers.speech import (
    ALL_FOLDS,
    ATTRIBUTES,
    Evaluation,
    add_fold_arguments,
    find_file,
    fold_folders,
    fold_partitions,
    read_evaluations,
    votes_note,
    wavs_by_name,
)
from affect.data.writer import write_corpus
from affect.errors import UserError

HELP = "MSP-IMPROV: improvised dialogues with valence, arousal and dominance on 1..5, one fold of six"
EXAMPLE = "affect prepare msp-improv --root ../MSP-IMPROV --fold 1 --audio"
DETAIL = (
    "Reads Evalution.txt (so spelled in the release) or Evaluation.txt in --root. Folds are by session, so both "
    "protocols have the same speaker-independent partitions: --fold N makes session N the test part, the next one "
    "development and the other four training; --fold all writes the six of them. Some copies store arousal from high "
    "to low: by default angry and sad clips decide whether it is turned round (6 - A), and a note says what was done."
)
SESSIONS = 6
PUBLISHED_SPEAKERS = 12
LOW, HIGH = 1.0, 5.0
DIRECTIONS = ("auto", "stored", "flipped")
SPEAKER_NOTE = (
    "A speaker is the session and the sex letter of the speaking turn: turn FM01 of session 1 is spoken by M01, whoever "
    "the clip's name has in front."
)
LABELS = ("Evalution.txt", "Evaluation.txt")
PREFIXES = ("UTD-IMPROV", "MSP-IMPROV")
_CLIP = re.compile(
    r"(?:UTD|MSP)-(?P<id>IMPROV-S\d\d[AHSN]-[FM]0(?P<session>[1-6])-[PRST]-[FM](?P<sex>[FM])\d+)\.(?i:avi|wav)",
    re.ASCII,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder with Evalution.txt and the sessions")
    add_fold_arguments(parser, "msp-improv", SESSIONS)
    parser.add_argument(
        "--arousal",
        choices=DIRECTIONS,
        default="auto",
        help="as stored, or flipped (6 - A); auto: so that clips of class A are more aroused than those of class S",
    )
    options.add_arguments(parser)


def prepare(args: argparse.Namespace) -> Corpus | list[Corpus]:
    """Write one fold as a corpus named `msp-improv-foldN`, or all of them; groups are the twelve speakers."""
    folders = fold_folders(args, "msp-improv", SESSIONS)
    # Features are extracted beside the first folder, for all folds.
    beside = argparse.Namespace(**{**vars(args), "out": next(iter(folders.values()))})
    file = find_file(args.root, *LABELS)
    if file is None:
        raise UserError(f"{args.root}: neither {' nor '.join(LABELS)} is here.")
    clips = read_evaluations(file, _CLIP, PREFIXES, HIGH)
    ids = [f"MSP-{clip.name['id']}" for clip in clips]
    labels = np.array([clip.values for clip in clips])
    flipped, direction = arousal_direction(clips, args.arousal, file)
    if flipped:
        labels[:, 0] = LOW + HIGH - labels[:, 0]
    speakers = [f"{clip.name['sex']}0{clip.name['session']}" for clip in clips]
    samples = pd.DataFrame(
        {
            "id": ids,
            "subject": speakers,
            "group": speakers,
            "session": [int(clip.name["session"]) for clip in clips],
            **dict(zip(ATTRIBUTES, labels.T, strict=True)),
        }
    )
    attached = options.attach(
        samples, beside, lambda: wavs_by_name(args.root.rglob("MSP-IMPROV-*")), shared="msp-improv"
    )
    votes = votes_note(
        dict(zip(ids, (clip.values for clip in clips), strict=True)),
        dict(zip(ids, (clip.votes for clip in clips), strict=True)),
    )
    notes = (direction, SPEAKER_NOTE, *votes, "The paper gives no number of turns of MSP-IMPROV.", *attached.notes)
    written = [_write(fold, out, attached, file, notes, args.overwrite) for fold, out in folders.items()]
    return written if args.fold == ALL_FOLDS else written[0]


def _write(
    fold: int, out: Path, attached: options.Attached, file: Path, notes: Sequence[str], overwrite: bool
) -> Corpus:
    """One fold of the clips that have features; `file` has their labels."""
    name = f"msp-improv-fold{fold}"
    partitions, sentence = fold_partitions(attached.samples["session"].tolist(), fold, SESSIONS)
    return write_corpus(
        out,
        name=name,
        title=f"MSP-IMPROV, fold {fold}",
        banner=f"{name}: MSP-IMPROV, improvised dialogues; {sentence[0].lower()}{sentence[1:-1]}",
        synthetic=False,
        source="MSP lab, University of Texas at Dallas",
        licence="by agreement with the University of Texas at Dallas; not to be passed on",
        samples=attached.samples.assign(partition=partitions),
        targets={target: TargetInfo(LOW, HIGH) for target in ATTRIBUTES},
        groups="speaker",
        protocols=dict.fromkeys(PROTOCOLS, "partition"),
        views=attached.views,
        samples_file=str(file),
        counts=(
            Count("speakers", PUBLISHED_SPEAKERS, attached.samples["group"].nunique()),
            Count("sessions", SESSIONS, attached.samples["group"].str[-1].nunique()),
        ),
        notes=(sentence, *notes),
        overwrite=overwrite,
    )


def arousal_direction(clips: Sequence[Evaluation], wanted: str, file: Path) -> tuple[bool, str]:
    """Whether arousal is to be flipped, and a sentence that says why.

    Angry speech is aroused and sad speech is not: the mean arousal of class A must exceed that of class S. `wanted`
    is one of `DIRECTIONS`; with `auto`, a file in which the two classes cannot decide is refused.
    """
    angry, sad = _mean_arousal(clips, "A"), _mean_arousal(clips, "S")
    means = f"mean stored arousal is {angry:.3g} in class A and {sad:.3g} in class S"
    if wanted == "auto":
        if not (angry < sad or angry > sad):
            raise UserError(
                f"{file}: cannot tell the direction of arousal ({means}); give --arousal stored or --arousal flipped."
            )
        flipped = angry < sad
        return flipped, f"Arousal was {'flipped (6 - A)' if flipped else 'kept as stored'}: {means}."
    flipped = wanted == "flipped"
    against = ", which speaks against it" if (angry > sad if flipped else angry < sad) else ""
    return flipped, f"Arousal is {wanted}, as --arousal asks; {means}{against}."


def _mean_arousal(clips: Sequence[Evaluation], letter: str) -> float:
    values = [clip.values[0] for clip in clips if clip.letter == letter and not math.isnan(clip.values[0])]
    return sum(values) / len(values) if values else math.nan
