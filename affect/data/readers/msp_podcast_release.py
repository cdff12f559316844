"""The label files of an MSP-Podcast release, in the csv form or the older text form.

    <root>/Labels/labels_consensus.csv | labels_concensus.csv     FileName, EmoAct, EmoVal, EmoDom, SpkrID, Split_Set
                  labels_detailed.csv                             the raters' votes
                  Labels.txt                                      consensus and votes, with
          /Partitions.txt  /Speaker_ids.txt                       what the csv says in columns

A csv has the clips with labels alone; Partitions.txt beside it also names those of a test set whose labels are withheld.

Folders and files are found in whatever case; the folder Labels may be absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from affect.data import checks
from affect.data.formats.tabular import open_table
from affect.data.manifest import TargetInfo
from affect.data.readers.speech import (
    ATTRIBUTES,
    Vote,
    find_file,
    find_folder,
    parse_vote,
    read_evaluations,
    read_lines,
)
from affect.errors import UserError

LOW, HIGH = 1.0, 7.0
PREFIX = "MSP-PODCAST"
CSV, TEXT = ("labels_consensus.csv", "labels_concensus.csv"), "Labels.txt"
JSON = ("labels_consensus.json", "labels_concensus.json")
COLUMNS = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}
ID = re.compile(rf"{PREFIX}_\w+", re.ASCII)
_CLIP = re.compile(rf"(?P<id>{ID.pattern})\.(?i:wav)", re.ASCII)
_ANONYMOUS = ("", "unknown")


@dataclass(frozen=True)
class Release:
    """What the files of a release say, keyed by clip (the name of its file without .wav)."""

    file: Path
    """Of the labels."""
    values: Mapping[str, tuple[float, ...]]
    """Arousal, valence, dominance on 1..7; NaN where there is none."""
    votes: Mapping[str, Sequence[Vote]]
    partitions_file: Path
    partitions: Mapping[str, str]
    """As spelt in that file: Train, Development or Validation, Test1, ..."""
    speakers: Mapping[str, str]
    """The known ones only."""
    beside_file: Path | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    """Clips without labels that only Partitions.txt names (`beside_file`), where it is not `partitions_file`."""
    notes: tuple[str, ...] = ()

    def place(self, clip: str) -> tuple[str, str]:
        """File and column that say in which partition a clip lies."""
        if clip in self.beside:
            return str(self.beside_file), "partition"
        return str(self.partitions_file), "Split_Set" if self.partitions_file == self.file else "partition"


def read_release(root: Path, partitions: Path | None = None) -> Release:
    """The release in `root`, with the partitions of a file like Partitions.txt instead of its own where one is given.

    Whatever is malformed ends in a `UserError` that names file, line or row, and value.
    """
    folders = [folder for folder in (find_folder(root, "Labels"), root) if folder is not None]

    def find(*names: str) -> Path | None:
        return next((file for folder in folders if (file := find_file(folder, *names))), None)

    own = find("Partitions.txt")
    if file := find(*CSV):
        values, released, speakers = _read_csv(file, parted=partitions is None)
        partitions_file = file
        detailed = find("labels_detailed.csv")
        votes = _read_votes(detailed) if detailed else {}
    elif file := find(TEXT):
        found = read_evaluations(file, _CLIP, (PREFIX,), HIGH)
        values = {each.name["id"]: each.values for each in found}
        votes = {each.name["id"]: each.votes for each in found}
        partitions_file = own or root / "Partitions.txt"
        released = {} if partitions else read_partitions(partitions_file)
        speakers_file = find("Speaker_ids.txt")
        speakers = read_speakers(speakers_file) if speakers_file else {}
    else:
        json = " labels_consensus.json is not read: take the .csv that says the same." if find(*JSON) else ""
        raise UserError(f"{folders[0]}: has none of the label files {', '.join((*CSV, TEXT))}.{json}")
    if partitions:
        partitions_file, released = partitions, read_partitions(partitions)
    known = {clip: name.strip() for clip, name in speakers.items() if name.strip().lower() not in _ANONYMOUS}
    if own is None or own == partitions_file:
        return Release(file, values, votes, partitions_file, released, known)
    named = read_partitions(own)
    beside = {clip: name for clip, name in named.items() if clip not in values and clip not in released}
    notes = () if partitions else _disagreement(released, file, named, own)
    return Release(file, values, votes, partitions_file, released, known, own, beside, notes)


def _disagreement(kept: Mapping[str, str], file: Path, named: Mapping[str, str], own: Path) -> tuple[str, ...]:
    """A sentence where the csv and Partitions.txt put clips into different partitions, however they spell them."""

    def plain(name: str) -> str:
        name = name.strip().lower()
        return checks.SPELLINGS.get(name, name)

    clips = [clip for clip, name in kept.items() if clip in named and plain(name) != plain(named[clip])]
    if not clips:
        return ()
    first = clips[0]
    return (
        f"{file.name} and {own.name} disagree about {len(clips):,} clips (the first: {first} is {kept[first].strip()} in "
        f"the former and {named[first]} in the latter); {file.name} is kept.",
    )


def _read_csv(file: Path, parted: bool) -> tuple[dict[str, tuple[float, ...]], dict[str, str], dict[str, str]]:
    """Clip → labels, clip → partition (none unless `parted`), clip → speaker."""
    table = open_table(file)
    wanted = ("FileName", "SpkrID", *(("Split_Set",) if parted else ()))
    cells = table.strings([table.need(column) for column in wanted])
    ids = [_clip(name, f"{file}: column FileName, row {row}") for row, name in enumerate(cells["FileName"], start=1)]
    checks.check_ids(ids, str(file), "FileName")
    values = []
    for target in ATTRIBUTES:
        numbers = table.column_floats(table.need(COLUMNS[target]), ids)
        checks.check_target(numbers, ids, TargetInfo(LOW, HIGH), str(file), COLUMNS[target])
        values.append(numbers.tolist())
    labels = dict(zip(ids, zip(*values, strict=True), strict=True))
    partitions = dict(zip(ids, cells["Split_Set"], strict=True)) if parted else {}
    return labels, partitions, dict(zip(ids, cells["SpkrID"], strict=True))


def _read_votes(file: Path) -> dict[str, list[Vote]]:
    """Clip → votes of labels_detailed.csv, in which a rater may occur twice."""
    table = open_table(file)
    cells = table.strings([table.need("FileName"), table.need("EmoDetail")])
    votes: dict[str, list[Vote]] = {}
    for row, (name, text) in enumerate(zip(cells["FileName"], cells["EmoDetail"], strict=True), start=1):
        if vote := parse_vote(text):
            votes.setdefault(_clip(name, f"{file}: column FileName, row {row}"), []).append(vote)
    return votes


def read_partitions(file: Path) -> dict[str, str]:
    """Clip → partition from lines such as `Train; MSP-PODCAST_0001_0008.wav`, each clip once."""
    found: dict[str, str] = {}
    for number, line in read_lines(file):
        partition, semicolon, name = (part.strip() for part in line.rstrip("; ").partition(";"))
        if not semicolon:
            raise UserError(f"{file}: line {number}: {checks.shown(line)} is not of the form PARTITION; CLIP.wav")
        clip = _clip(name, f"{file}: line {number}")
        if clip in found:
            raise UserError(f"{file}: line {number}: {clip} occurs twice.")
        found[clip] = partition
    return found


def read_speakers(file: Path) -> dict[str, str]:
    """Clip → speaker from Speaker_ids.txt, where lines `Speaker_12; Male` stand among `MSP-PODCAST_x.wav; 12`."""
    found: dict[str, str] = {}
    for number, line in read_lines(file):
        name, semicolon, speaker = (part.strip() for part in line.rstrip("; ").partition(";"))
        if not semicolon or not speaker:
            raise UserError(
                f"{file}: line {number}: {checks.shown(line)} is neither SPEAKER; GENDER nor CLIP.wav; SPEAKER."
            )
        if name.startswith("Speaker"):
            continue
        clip = _clip(name, f"{file}: line {number}")
        if found.setdefault(clip, speaker) != speaker:
            raise UserError(
                f"{file}: line {number}: {clip} is said to be of speaker {checks.shown(speaker)} "
                f"after {checks.shown(found[clip])}."
            )
    return found


def _clip(name: str, place: str) -> str:
    """The id of the clip whose file is `name`; `place` begins the sentence that refuses anything else."""
    match = _CLIP.fullmatch(name.strip())
    if match is None:
        raise UserError(f"{place}: {checks.shown(name)} is no {PREFIX}_....wav")
    return match["id"]
