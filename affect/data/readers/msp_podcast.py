"""`affect prepare msp-podcast`: MSP-Podcast of any release, with its unlabelled segments where they are at hand.

Known speakers are the groups. Clips of unknown speakers have none: `leak_free`, which must be sure, does not score them.
Podcasts are the recordings, and one with two speakers can lie in two partitions: `leak_free` keeps these apart as well.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data import checks
from affect.data.corpus import AS_PUBLISHED, LEAK_FREE, PARTITIONS, PROTOCOLS, UNKNOWN, Corpus, Count, TargetInfo
from affect.data.features import options
from affect.data.readers.msp_podcast_release import HIGH, ID, LOW, PREFIX, Release, read_release
from affect.data.readers.speech import ATTRIBUTES, find_folder, votes_note, wavs_by_name, without_leaks
from affect.data.writer import refuse_existing, write_corpus
from affect.errors import UserError

HELP = "MSP-Podcast: podcast speech with arousal, valence and dominance on 1..7, and unlabelled segments"
EXAMPLE = "affect prepare msp-podcast --root ../MSP-PODCAST --audio"
DETAIL = (
    "Reads labels_consensus.csv (or labels_concensus.csv), or Labels.txt with Partitions.txt and Speaker_ids.txt, in "
    "--root or its folder Labels. Clips of test sets other than --test are left out, and so are clips without labels "
    "that Partitions.txt names. Other segments that have features or audio but no label are the unlabelled part. The "
    "ladder paper's partitions (release 1.2) are not part of later releases: --partitions takes a file of lines such "
    "as `Train; MSP-PODCAST_0001_0008.wav`, as in Partitions.txt, where Unlabelled is a partition too, and clips that "
    "it does not name are left out. Protocol leak_free counts as unlabelled what no known speaker, or one of another "
    "scored partition, said, and what is left of podcasts that then lie in several."
)
AUDIO = ("Audios", "Audio", "audio_16kHz")
LEAK_FREE_COLUMN = "partition_leak_free"
PUBLISHED = {"train": 18_346, "development": 3_753, "test": 7_341, "unlabelled": 175_196}
PUBLISHED_SPEAKERS = {"development": 20, "test": 50}
PUBLISHED_ALL_SPEAKERS = 346
"""Of the ladder paper, Section IV-A: release 1.2."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="folder of the release")
    parser.add_argument("--test", default="Test1", metavar="SET", help="test set that is scored (%(default)s)")
    parser.add_argument("--partitions", type=Path, metavar="FILE", help="your own partitions instead of the release's")
    parser.add_argument("--out", type=Path, default=Path("corpora/msp-podcast"), help="folder to write (%(default)s)")
    options.add_arguments(parser)


def prepare(args: argparse.Namespace) -> Corpus:
    """Write the corpus `msp-podcast` from the release in `args.root`."""
    refuse_existing(args.out, args.overwrite)
    release = read_release(args.root, args.partitions)
    partitions = assign(release, args.test)

    def wavs() -> dict[str, Path]:
        return wavs_by_name((find_folder(args.root, *AUDIO) or args.root).rglob(f"{PREFIX}*"))

    attached = options.attach(sample_table(release, partitions, options.known_ids(args, wavs)), args, wavs)
    samples, protocols, leaks = with_protocols(attached.samples)
    return write_corpus(
        args.out,
        name="msp-podcast",
        title="MSP-Podcast",
        banner=f"msp-podcast: MSP-Podcast, speech from podcasts; test set {args.test}",
        synthetic=False,
        source="MSP lab, University of Texas at Dallas",
        licence="by agreement with the University of Texas at Dallas; not to be passed on",
        samples=samples,
        targets={target: TargetInfo(LOW, HIGH) for target in ATTRIBUTES},
        groups="speaker" if samples["group"].notna().any() else UNKNOWN,
        protocols=protocols,
        views=attached.views,
        samples_file=str(release.file),
        counts=_counts(samples, args.partitions),
        notes=(
            *release.notes,
            *_left_out(release, partitions),
            *votes_note(release.values, release.votes),
            *leaks,
            *attached.notes,
        ),
        overwrite=args.overwrite,
    )


def assign(release: Release, test: str) -> dict[str, str]:
    """Clip → one of `PARTITIONS`, without the clips of test sets other than `test`.

    Where a release has one test set that is called Test and nothing else, that is the one.
    """
    tests = {
        plain
        for clip, name in release.partitions.items()
        if clip in release.values and (plain := _plain(name)).startswith("test")
    }
    chosen = "test" if tests == {"test"} else test.lower()
    if chosen not in tests:
        there = ", ".join(sorted(name.capitalize() for name in tests)) or "no test set"
        raise UserError(
            f"{release.partitions_file}: no clip with labels lies in the test set {test} (--test); there is {there}."
        )
    found = {}
    for clip, name in {**release.beside, **release.partitions}.items():
        plain = _plain(name)
        if plain == chosen:
            found[clip] = "test"
        elif not re.fullmatch(r"test\d+", plain):
            place, column = release.place(clip)
            found[clip] = checks.canonical_partition(name, place, column, clip)
            if found[clip] == "test":
                raise UserError(f"{place}: column {column}, row {clip}: {name} stands beside numbered test sets.")
    return found


def _plain(name: str) -> str:
    return name.strip().lower()


def sample_table(release: Release, partitions: Mapping[str, str], known: Sequence[str]) -> pd.DataFrame:
    """The samples: scored clips in the order of the labels, then the unlabelled ones by name.

    Unlabelled is what is `known`, named like a clip of this corpus, and neither labelled nor in a partition, and what a
    partition file calls so; the latter keep no label.
    """
    values = release.values
    scored = [clip for clip in values if partitions.get(clip, "unlabelled") != "unlabelled"]
    named = values.keys() | release.partitions.keys() | release.beside.keys()
    left_out = named - {clip for clip, name in partitions.items() if name == "unlabelled"}
    unlabelled = sorted(clip for clip in set(known) - left_out if ID.fullmatch(clip))
    ids = scored + unlabelled
    rows = [values[clip] for clip in scored] + [(np.nan,) * len(ATTRIBUTES)] * len(unlabelled)
    speakers = pd.Series([release.speakers.get(clip) for clip in ids], dtype=object)
    return pd.DataFrame(
        {
            "id": ids,
            "subject": speakers,
            "group": speakers,
            # MSP-PODCAST_0001_0008 is a piece of podcast 0001.
            "recording": ["_".join(clip.split("_")[:2]) for clip in ids],
            "partition": [partitions[clip] for clip in scored] + ["unlabelled"] * len(unlabelled),
            **{target: [row[i] for row in rows] for i, target in enumerate(ATTRIBUTES)},
        }
    )


def with_protocols(samples: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str], tuple[str, ...]]:
    """`samples` with a leak-free partition column where the released one leaks, protocol → column, and a note.

    Speakers are kept apart first; what that leaves scored of a podcast in several partitions then keeps to one of them.
    """
    partitions, groups = samples["partition"].tolist(), samples["group"]
    apart = without_leaks(partitions, groups.where(groups.notna(), None).tolist())
    clean = without_leaks(apart, samples["recording"].tolist())
    moved, more = (sum(a != b for a, b in zip(*pair, strict=True)) for pair in ((partitions, apart), (apart, clean)))
    if not moved + more:
        return samples, dict.fromkeys(PROTOCOLS, "partition"), ()
    anonymous = int((groups.isna() & (samples["partition"] != "unlabelled")).sum())
    found = (
        f"{anonymous:,} scored clips are of unknown speakers, {moved - anonymous:,} of speakers who are scored in "
        f"another partition too and {more:,} of the others of podcasts that are"
    )
    try:
        checks.check_filled(
            np.array(clean, object), {target: samples[target].to_numpy() for target in ATTRIBUTES}, "", ""
        )
    except UserError:
        return samples, {AS_PUBLISHED: "partition"}, (f"Protocol leak_free is not offered: {found}.",)
    protocols = {AS_PUBLISHED: "partition", LEAK_FREE: LEAK_FREE_COLUMN}
    return samples.assign(**{LEAK_FREE_COLUMN: clean}), protocols, (f"{found}; leak_free counts them as unlabelled.",)


def _counts(samples: pd.DataFrame, given: Path | None) -> tuple[Count, ...]:
    """The counts beside the paper's; partitions of the file `given`, where there is one, are the user's own."""
    advice = (
        f"these are the partitions of {given.name}" if given else "--partitions takes its lists where you have them"
    )
    why = f"The paper used release 1.2; {advice}."
    here = samples["partition"].value_counts()
    rows = [Count(f"{name} segments", PUBLISHED[name], int(here.get(name, 0)), why) for name in PARTITIONS]
    inside = {name: samples["group"][samples["partition"] == name].nunique() for name in PUBLISHED_SPEAKERS}
    return (
        *rows,
        *(Count(f"{name} speakers", PUBLISHED_SPEAKERS[name], inside[name], why) for name in PUBLISHED_SPEAKERS),
        Count("known speakers", PUBLISHED_ALL_SPEAKERS, samples["group"].nunique(), why),
    )


def _left_out(release: Release, partitions: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence per reason why clips of the label or partition files are not in the corpus."""
    values, released = release.values, {**release.beside, **release.partitions}
    others = [clip for clip in released if clip not in partitions]
    names = ", ".join(sorted({released[clip].strip() for clip in others}))
    unnamed = sum(clip not in released for clip in values)
    empty = [clip for clip, partition in partitions.items() if clip not in values and partition != "unlabelled"]
    files = Counter(Path(release.place(clip)[0]).name for clip in empty)
    found = {
        f"clips of {names} are left out: they are not the test set that is scored.": len(others),
        f"labelled clips are left out: {release.partitions_file.name} does not name them.": unnamed,
        **{f"clips that {file} names are left out: they have no labels.": count for file, count in files.items()},
    }
    return tuple(f"{count:,} {what}" for what, count in found.items() if count)
