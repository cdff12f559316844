"""`affect prepare msp-podcast`: both forms of the labels with their quirks, and sentences for what is broken."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.data.checks import straddling
from affect.data.corpus import UNKNOWN
from affect.data.readers import msp_podcast
from affect.errors import UserError
from tests.data.podcast_release import (
    CLIPS,
    CSV,
    CSV_FILES,
    DETAILED,
    LABELS,
    NAMES,
    PARTITIONS,
    SCORED,
    SEGMENTS,
    SPEAKERS,
    TEXT_FILES,
)
from tests.data.speech_trees import DAMAGE, features_of, labels_of, outcome, run, write_features, write_tree


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with features of all clips and segments, and room for trees."""
    folder = tmp_path_factory.mktemp("podcast")
    write_features(folder / "compare", [*CLIPS, *SEGMENTS])
    return folder


@pytest.fixture
def prepare(place, tmp_path):
    def call(files: dict[str, str] = CSV_FILES, *options: str, end: str = "\n"):
        root = write_tree(tmp_path / "root", {**files, "Labels/._labels_consensus.csv": "\0\5\26\7"}, end)
        return run(msp_podcast, root, place / "compare", tmp_path / "out", *options)

    return call


def who_is(row: pd.Series) -> tuple[str, ...]:
    """Group and subject; Unknown where there is none."""
    return tuple("Unknown" if pd.isna(row[column]) else row[column] for column in ("group", "subject"))


TREES = {
    "csv": CSV_FILES,
    "csv of 1.8": {"labels/labels_concensus.csv": CSV.replace("Development", "Validation")},
    "csv in the root": {"labels_consensus.csv": "\ufeff" + CSV},
    "text": TEXT_FILES,
    "text of 1.2": {
        "Labels/labels.txt": LABELS,
        "partitions.txt": PARTITIONS.replace("Development", "Validation"),
        "Speaker_ids.txt": SPEAKERS,
    },
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("form", TREES)
def test_every_value_is_read_back(prepare, form, end):
    corpus = prepare(TREES[form], end=end)
    samples = corpus.samples.set_index("id")
    assert samples.index.tolist() == [*SCORED, *SEGMENTS]
    for clip, (part, who, *values) in SCORED.items():
        assert labels_of(corpus)[clip] == pytest.approx(tuple(values), abs=1e-6)
        assert samples.loc[clip, "partition"] == NAMES[part]
        assert who_is(samples.loc[clip]) == (who, who)
    for clip in SEGMENTS:
        assert samples.loc[clip, "partition"] == "unlabelled"
        assert np.isnan(labels_of(corpus)[clip]).all()
    arrays = features_of([*CLIPS, *SEGMENTS])
    np.testing.assert_array_equal(corpus.view("hld"), [arrays[clip] for clip in samples.index])
    assert corpus.manifest.targets["valence"].high == 7


def test_unknown_speakers_are_not_scored_by_leak_free(prepare):
    corpus = prepare()
    published, clean = corpus.partition("as_published"), corpus.partition("leak_free")
    moved = corpus.samples["id"][published != clean].tolist()
    assert moved == ["MSP-PODCAST_0002_0002"]
    assert set(clean[published != clean]) == {"unlabelled"}
    note = (
        "1 scored clips are of unknown speakers, 0 of speakers who are scored in another partition too and 0 of the "
        "others of podcasts that are; leak_free counts them as unlabelled."
    )
    assert note in corpus.manifest.notes


def test_a_speaker_of_two_partitions_keeps_to_the_test(prepare):
    corpus = prepare(
        {"Labels/labels_consensus.csv": CSV.replace(",7,Male", ",41,Male").replace(",30,Male", ",12,Male")}
    )
    groups = corpus.samples["group"].to_numpy(object)
    assert set(straddling(groups, corpus.partition("as_published"))) == {"12", "41"}
    clean = corpus.partition("leak_free")
    assert not straddling(groups, clean)
    assert set(clean[groups == "41"]) == {"test", "unlabelled"}
    assert set(clean[groups == "12"]) == {"development", "unlabelled"}
    assert corpus.manifest.findings[0].kind == "groups_straddle"
    assert corpus.manifest.findings[1].kind == "groups_unknown"


def test_podcasts_are_the_recordings(prepare):
    corpus = prepare()
    recordings = corpus.samples.set_index("id")["recording"]
    assert recordings["MSP-PODCAST_0001_0004"] == "MSP-PODCAST_0001"
    assert recordings["MSP-PODCAST_1023_0235_0001"] == "MSP-PODCAST_1023"
    assert not any(found.kind == "recordings_straddle" for found in corpus.manifest.findings)


def test_a_podcast_of_two_partitions_keeps_to_the_test(place, tmp_path):
    """Two known speakers of one podcast: apart as released, but heard in one recording."""
    moved = {"MSP-PODCAST_0001_0004": "MSP-PODCAST_0008_0004", "MSP-PODCAST_0005_0005": "MSP-PODCAST_0008_0005"}
    text = CSV
    for clip, name in moved.items():
        assert clip in text
        text = text.replace(clip, name)
    write_features(tmp_path / "compare", [moved.get(clip, clip) for clip in (*CLIPS, *SEGMENTS)])
    root = write_tree(tmp_path / "root", {"Labels/labels_consensus.csv": text})
    corpus = run(msp_podcast, root, tmp_path / "compare", tmp_path / "out")
    published, clean = corpus.partition("as_published"), corpus.partition("leak_free")
    recordings = corpus.samples["recording"].to_numpy(object)
    assert straddling(recordings, published) == {"MSP-PODCAST_0008": ("train", "development", "test")}
    assert not straddling(recordings, clean)
    assert not straddling(corpus.samples["group"].to_numpy(object), clean)
    assert set(clean[recordings == "MSP-PODCAST_0008"]) == {"test", "unlabelled"}
    lost = corpus.samples["id"][published != clean].tolist()
    assert sorted(lost) == ["MSP-PODCAST_0002_0002", *sorted(moved.values())]
    assert [found.protocol for found in corpus.manifest.findings if found.kind == "recordings_straddle"] == [
        "as_published"
    ]
    note = (
        "1 scored clips are of unknown speakers, 0 of speakers who are scored in another partition too and 2 of the "
        "others of podcasts that are; leak_free counts them as unlabelled."
    )
    assert note in corpus.manifest.notes


def test_without_unknown_speakers_both_protocols_are_one(prepare):
    corpus = prepare({"Labels/labels_consensus.csv": CSV.replace("Unknown", "99")})
    assert corpus.manifest.protocols == {"as_published": "partition", "leak_free": "partition"}


def test_without_any_speakers(prepare):
    corpus = prepare({name: text for name, text in TEXT_FILES.items() if not name.startswith("Speaker")})
    assert corpus.manifest.groups == UNKNOWN
    assert list(corpus.manifest.protocols) == ["as_published"]


def test_leak_free_is_not_offered_where_nothing_would_be_left(prepare):
    corpus = prepare({"Labels/labels_consensus.csv": CSV.replace(",40,", ",Unknown,").replace(",41,", ",Unknown,")})
    assert list(corpus.manifest.protocols) == ["as_published"]
    assert any(note.startswith("Protocol leak_free is not offered: 4 scored clips") for note in corpus.manifest.notes)


def test_the_test_set_is_chosen(prepare):
    corpus = prepare(CSV_FILES, "--test", "Test2")
    assert sorted(corpus.samples["id"][corpus.partition("as_published") == "test"]) == [
        clip for clip, (part, *_) in sorted(CLIPS.items()) if part == "Test2"
    ]
    assert "4 clips of Test1, Test3 are left out: they are not the test set that is scored." in corpus.manifest.notes
    unlabelled = corpus.samples["id"][corpus.partition("as_published") == "unlabelled"]
    assert unlabelled.tolist() == SEGMENTS


def test_a_test_set_that_is_not_there(prepare):
    with pytest.raises(
        UserError, match=r"csv: no clip with labels lies in the test set Test4 \(--test\); there is Test1, Test2, Test3"
    ):
        prepare(CSV_FILES, "--test", "Test4")


def test_a_single_test_set_may_be_called_test(prepare):
    lines = [line for line in CSV.splitlines() if "Test2" not in line and "Test3" not in line]
    corpus = prepare({"Labels/labels_consensus.csv": "\n".join(lines).replace("Test1", "Test")})
    assert (corpus.partition("as_published") == "test").sum() == 3
    with pytest.raises(
        UserError, match="column Split_Set, row MSP-PODCAST_0007_0007: Test stands beside numbered test sets"
    ):
        prepare({"Labels/labels_consensus.csv": CSV.replace("Test1", "Test", 1)}, "--overwrite")


def test_partitions_of_ones_own(prepare, tmp_path):
    clips = list(CLIPS)
    given = {
        clips[0]: "Train",
        clips[5]: "test1",
        clips[12]: "Validation",
        clips[1]: "Unlabelled",
        SEGMENTS[0]: "Test1",
    }
    (tmp_path / "mine.txt").write_text("".join(f"{part}; {clip}.wav\n" for clip, part in given.items()))
    corpus = prepare(CSV_FILES, "--partitions", str(tmp_path / "mine.txt"))
    parts = dict(zip(corpus.samples["id"], corpus.partition("as_published"), strict=True))
    assert parts == {
        **{clips[0]: "train", clips[5]: "test", clips[12]: "development", clips[1]: "unlabelled"},
        **dict.fromkeys(SEGMENTS[1:], "unlabelled"),
    }
    assert np.isnan(labels_of(corpus)[clips[1]]).all()
    assert f"{len(CLIPS) - 4} labelled clips are left out: mine.txt does not name them." in corpus.manifest.notes
    assert "1 clips that mine.txt names are left out: they have no labels." in corpus.manifest.notes


WITHHELD = {
    **CSV_FILES,
    "Labels/labels_consensus.csv": "".join(line + "\n" for line in CSV.splitlines() if "Test3" not in line),
}
"""A release that has clips of Test3 and keeps their labels to itself."""


@pytest.mark.parametrize("where", ["Partitions.txt", "Labels/partitions.txt"])
def test_clips_whose_labels_are_withheld_are_no_unlabelled_segments(prepare, where):
    files = {**WITHHELD, where: PARTITIONS.replace("Development", "Validation") + f"Train; {SEGMENTS[0]}.wav\n"}
    corpus = prepare(files)
    assert corpus.samples["id"].tolist() == [*SCORED, *SEGMENTS[1:]]
    notes = corpus.manifest.notes
    assert "3 clips of Test2, Test3 are left out: they are not the test set that is scored." in notes
    assert f"1 clips that {where.rpartition('/')[2]} names are left out: they have no labels." in notes
    assert not any("disagree" in note for note in notes)
    with pytest.raises(UserError, match=r"no clip with labels lies in the test set Test3 .* there is Test1, Test2"):
        prepare(files, "--test", "Test3", "--overwrite")
    with pytest.raises(
        UserError, match=f"(?i:{where}): column partition, row {SEGMENTS[0]}: unknown partition 'Trian'"
    ):
        prepare({**files, where: f"Trian; {SEGMENTS[0]}.wav\n"}, "--overwrite")


def test_withheld_clips_are_no_segments_of_ones_own_partitions_either(prepare, tmp_path):
    own = "".join(f"{part}; {clip}.wav\n" for clip, (part, *_) in SCORED.items())
    (tmp_path / "mine.txt").write_text(own)
    for files in ({**WITHHELD, "Partitions.txt": PARTITIONS}, {**TEXT_FILES}):
        corpus = prepare(files, "--partitions", str(tmp_path / "mine.txt"), "--overwrite")
        assert corpus.samples["id"].tolist() == [*SCORED, *SEGMENTS]
        shutil.rmtree(tmp_path / "root")
    (tmp_path / "mine.txt").write_text(own + "Unlabelled; MSP-PODCAST_0012_0012.wav\n")
    corpus = prepare(
        {**WITHHELD, "Partitions.txt": PARTITIONS}, "--partitions", str(tmp_path / "mine.txt"), "--overwrite"
    )
    assert corpus.samples["id"].tolist() == [*SCORED, "MSP-PODCAST_0012_0012", *SEGMENTS]


def test_a_csv_that_disagrees_with_the_partitions_beside_it_is_kept(prepare):
    first = "MSP-PODCAST_0000_0000"
    other = PARTITIONS.replace(f"Train; {first}", f"Test1; {first}")
    assert other != PARTITIONS
    corpus = prepare({**CSV_FILES, "Partitions.txt": other})
    assert corpus.samples.set_index("id").loc[first, "partition"] == "train"
    assert (
        f"labels_consensus.csv and Partitions.txt disagree about 1 clips (the first: {first} is Train in the former and "
        "Test1 in the latter); labels_consensus.csv is kept."
    ) in corpus.manifest.notes


def test_partitions_of_ones_own_need_none_of_the_release(prepare, tmp_path):
    (tmp_path / "mine.txt").write_text(PARTITIONS)
    bare = "".join(line.rpartition(",")[0] + "\n" for line in CSV.splitlines())
    assert "Split_Set" not in bare
    corpus = prepare({"Labels/labels_consensus.csv": bare}, "--partitions", str(tmp_path / "mine.txt"))
    assert corpus.samples["id"].tolist() == [*SCORED, *SEGMENTS]
    with pytest.raises(UserError, match="column Split_Set is missing"):
        prepare({"Labels/labels_consensus.csv": bare}, "--overwrite")


def test_clips_of_another_corpus_are_not_unlabelled_ones(prepare, place, tmp_path):
    shutil.copytree(place / "compare", tmp_path / "mixed")
    for other in ("Ses01F_impro01_F000", "MSP-IMPROV-S01A-F01-P-FM01", "MSP-PODCAST_0001.0002"):
        np.save(tmp_path / "mixed" / f"{other}.npy", np.ones(2, np.float32))
    root = write_tree(tmp_path / "root", CSV_FILES)
    corpus = run(msp_podcast, root, tmp_path / "mixed", tmp_path / "out")
    assert corpus.samples["id"].tolist() == [*SCORED, *SEGMENTS]
    strangers = "clips with features are not in the corpus, such as MSP-IMPROV-S01A-F01-P-FM01."
    assert any(note.endswith(strangers) for note in corpus.manifest.notes)


def test_votes_are_compared_with_the_consensus(prepare):
    wrong = CSV.replace("MSP-PODCAST_0000_0000.wav,N,2.2", "MSP-PODCAST_0000_0000.wav,N,2.4")
    expected = (
        f"The consensus is the mean of the raters' votes in {len(CLIPS) - 1} of {len(CLIPS)} clips with votes; "
        f"{len(CLIPS)} of them have two votes of one rater, both counted."
    )
    corpus = prepare({"Labels/labels_consensus.csv": wrong, "Labels/labels_detailed.csv": DETAILED})
    assert expected in corpus.manifest.notes
    text = {**TEXT_FILES, "Labels/Labels.txt": LABELS.replace("N; A:2.2;", "N; A:2.4;", 1)}
    shutil.rmtree(corpus.folder.parent / "root")
    assert expected in prepare(text, "--overwrite").manifest.notes


def test_counts_are_told_beside_the_papers(prepare):
    counts = {count.what: (count.published, count.here) for count in prepare().manifest.counts}
    assert counts == {
        "train segments": (18_346, 6),
        "development segments": (3_753, 2),
        "test segments": (7_341, 3),
        "unlabelled segments": (175_196, 3),
        "development speakers": (20, 2),
        "test speakers": (50, 2),
        "known speakers": (346, 7),
    }


def test_no_one_is_told_to_give_partitions_that_were_given(prepare, tmp_path):
    (tmp_path / "mine.txt").write_text(PARTITIONS)
    advice = "--partitions takes its lists where you have them."
    assert {count.why for count in prepare().manifest.counts} == {f"The paper used release 1.2; {advice}"}
    corpus = prepare(CSV_FILES, "--partitions", str(tmp_path / "mine.txt"), "--overwrite")
    why = "The paper used release 1.2; these are the partitions of mine.txt."
    assert {count.why for count in corpus.manifest.counts} == {why}


def test_what_raters_typed_may_be_in_any_encoding(place, tmp_path):
    root = write_tree(tmp_path / "root", TEXT_FILES)
    file = root / "Labels/Labels.txt"
    file.write_bytes(LABELS.encode().replace(b"Other(so; so)", b"Other(d\xe9j\xe0; vu)"))
    corpus = run(msp_podcast, root, place / "compare", tmp_path / "out")
    assert corpus.samples["id"].tolist() == [*SCORED, *SEGMENTS]
    agreed = f"is the mean of the raters' votes in {len(CLIPS)} of {len(CLIPS)} clips"
    assert any(agreed in note for note in corpus.manifest.notes)
    file.write_bytes(LABELS.encode().replace(b"; N; A:2.2;", b"; N\xe9; A:2.2;", 1))
    with pytest.raises(UserError, match=r"Labels.txt: line 1: byte 0xe9 is no UTF-8 text"):
        run(msp_podcast, root, place / "compare", tmp_path / "out", "--overwrite")


@pytest.mark.parametrize("folder", ["Audios", "Audio", "audio_16kHz", "Audios/Audios"])
def test_wavs_are_found(prepare, tmp_path, monkeypatch, folder):
    seen = {}

    def known_ids(args, wavs):
        seen.update(wavs())
        raise UserError("enough.")

    monkeypatch.setattr(msp_podcast.options, "known_ids", known_ids)
    clip = SEGMENTS[0]
    with pytest.raises(UserError, match="enough"):
        prepare({**CSV_FILES, f"{folder}/{clip}.wav": "", f"{folder}/._{clip}.wav": "", f"Transcripts/{clip}.txt": ""})
    assert seen == {clip: tmp_path / "root" / folder / f"{clip}.wav"}


ROW = CSV.splitlines()[1]
HEAD = LABELS.splitlines()[0]


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("csv", ROW, ROW.replace("2.2", "high"), "column EmoAct, row MSP-PODCAST_0000_0000: 'high' is not a number"),
        (
            "csv",
            ROW,
            ROW.replace("2.2", "8"),
            r"column EmoAct, row MSP-PODCAST_0000_0000: label 8 lies outside its scale 1\.\.7",
        ),
        (
            "csv",
            ROW,
            ROW.replace("Train", "Trian"),
            "column Split_Set, row MSP-PODCAST_0000_0000: unknown partition 'Trian'",
        ),
        ("csv", ROW, f"{ROW}\n{ROW}", "column FileName: id MSP-PODCAST_0000_0000 occurs in rows 1 and 2"),
        ("csv", ROW, ROW[:30], "cannot be read as a table"),
        (
            "csv",
            ROW,
            ROW.replace("MSP-PODCAST", "PODCAST"),
            "column FileName, row 1: PODCAST_0000_0000.wav is no MSP-PODCAST_",
        ),
        ("csv", "EmoVal", "Valence", "column EmoVal is missing"),
        ("Labels.txt", HEAD, HEAD.replace("2.2", "8"), r"line 1, A: 8 lies outside the scale 1\.\.7"),
        ("Labels.txt", HEAD, HEAD[:-2], "line 1: the line of MSP-PODCAST_0000_0000.wav is not of the form"),
        ("Labels.txt", HEAD, f"{HEAD}\n{HEAD}", "line 2: MSP-PODCAST_0000_0000.wav was rated in line 1 already"),
        ("Partitions.txt", "Train; ", "Train, ", "line 1: .* is not of the form PARTITION; CLIP.wav"),
        (
            "Partitions.txt",
            "Train; ",
            "Trian; ",
            "column partition, row MSP-PODCAST_0000_0000: unknown partition 'Trian'",
        ),
        ("Partitions.txt", "_0000.wav", "_0000", "line 1: MSP-PODCAST_0000_0000 is no MSP-PODCAST_"),
        ("Partitions.txt", "_0001_0001", "_0000_0000", "line 2: MSP-PODCAST_0000_0000 occurs twice"),
        (
            "Speaker_ids.txt",
            "; 12",
            "",
            "line 4: MSP-PODCAST_0000_0000.wav is neither SPEAKER; GENDER nor CLIP.wav; SPEAKER",
        ),
        (
            "Speaker_ids.txt",
            "_0001_0001.wav; 12",
            "_0000_0000.wav; 7",
            "line 5: MSP-PODCAST_0000_0000 is said to be of speaker 7 after 12",
        ),
    ],
)
def test_a_sentence_for_every_mistake(prepare, tmp_path, name, old, new, sentence):
    files = CSV_FILES if name == "csv" else TEXT_FILES
    broken = {file: text.replace(old, new, 1) if file.endswith(name) else text for file, text in files.items()}
    assert broken != files
    with pytest.raises(UserError, match=f"{name}: {sentence}"):
        prepare(broken)
    assert not (tmp_path / "out").exists()


def test_missing_files(prepare):
    with pytest.raises(
        UserError, match=r"root/Labels: has none of the label files labels_consensus.csv, labels_concensus"
    ):
        prepare({"Labels/readme.txt": ""})
    with pytest.raises(UserError, match=r"labels_consensus.json is not read: take the .csv that says the same\.$"):
        prepare({"Labels/labels_consensus.json": "{}"})
    with pytest.raises(UserError, match=r"root/Partitions.txt: there is no such file"):
        prepare({"Labels/Labels.txt": LABELS})
    with pytest.raises(UserError, match=r"none.txt: there is no such file"):
        prepare(CSV_FILES, "--partitions", "none.txt")


SEPARATORS = {
    "Labels/labels_consensus.csv": ",",
    "Labels/Labels.txt": "; ",
    "Partitions.txt": "; ",
    "Speaker_ids.txt": "; ",
}


@settings(max_examples=40, deadline=None)
@given(damage=DAMAGE, name=st.sampled_from(list(SEPARATORS)))
def test_a_damaged_file_is_read_right_or_refused(place, damage, name):
    files = CSV_FILES if name.endswith("csv") else TEXT_FILES
    root, out = place / "root", place / "made" / "out"
    shutil.rmtree(root, ignore_errors=True)
    write_tree(root, files)
    raw, old, new = damage.apply(files[name], SEPARATORS[name])
    (root / name).write_bytes(raw)
    try:
        found = outcome(msp_podcast, root, place / "compare", out)
        if isinstance(found, str):
            # A partition that lost a row is reported where the labels are.
            assert name in found or (name == "Partitions.txt" and "partition" in found)
            return
        labels = labels_of(found)
        samples = found.samples.set_index("id")
        for clip in SCORED.keys() & labels.keys():
            part, who, *values = CLIPS[clip]
            touched = damage.kind in ("field", "swap") and clip in old and clip in new
            if samples.loc[clip, "partition"] == "unlabelled":
                # Its line is gone, and nothing else says that it was rated.
                assert clip in old
                assert clip not in new
                assert np.isnan(labels[clip]).all()
                continue
            assert np.allclose(labels[clip], values, atol=1e-6) or (touched and name.endswith("csv"))
            assert samples.loc[clip, "partition"] == NAMES[part] or (touched and name.endswith("csv"))
            if name != "Speaker_ids.txt":
                assert who_is(samples.loc[clip]) == (who, who) or touched
        for clip in labels.keys() - SCORED.keys() - set(SEGMENTS):
            assert clip in old, "a clip of another test set has come in"
        assert all(math.isnan(x) or 1 <= x <= 7 for values in labels.values() for x in values)
    finally:
        shutil.rmtree(out, ignore_errors=True)
