"""`affect prepare msp-improv`: the release's own format with its quirks, and sentences for what is broken."""

from __future__ import annotations

import argparse
import math
import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings

from affect.data.corpus import LEAK_FREE
from affect.data.readers import msp_improv
from affect.errors import UserError
from tests.data.speech_trees import DAMAGE, features_of, labels_of, outcome, run, same, write_features, write_tree

NAN = math.nan
CLIPS: dict[str, tuple[str, float, float, float]] = {}
"""Id → class, and arousal (stored from high to low), valence, dominance."""
for _session in range(1, 7):
    for _turn, (_letter, *_values) in enumerate(
        [("A", 2.166667, 1.833333, 3.714286), ("S", 4.25, 2.0, 2.5), ("N", 3.0, 3.0, NAN), ("X", NAN, NAN, NAN)]
    ):
        for _pair in ("FM", "MF"):
            CLIPS[f"MSP-IMPROV-S01{'AHSN'[_turn]}-F0{_session}-P-{_pair}0{_turn + 1}"] = (_letter, *_values)
CLIPS["MSP-IMPROV-S13N-F02-R-FF01"] = ("A", 2.333333, 3.333333, 3.0)


def number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.6f}"


def evaluation_text() -> str:
    """The label file: a head line per clip and a line per rater, in the spellings of the releases."""
    blocks = []
    for row, (clip, (letter, a, v, d)) in enumerate(CLIPS.items()):
        name = clip.replace("MSP", "UTD", 1) + ".avi" if row % 5 else f"{clip}.wav"
        tail = " ; N:3.200000;" if row % 3 else " ;"
        head = f"{name}; {letter}; A:{number(a)}; V:{number(v)}; D:{number(d)}{tail}"
        votes = [f"rater{i}; Angry; Angry,Frustrated; A:{a}; V:{v}; D:{d}; N:3.0;" for i in (1, 2, 2)]
        blocks.append("\n".join([head, *(votes if a == a and d == d else votes[:0])]) + "\n")
    return "\n".join(blocks)


TEXT = evaluation_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with features of all clips, and room for trees."""
    folder = tmp_path_factory.mktemp("improv")
    write_features(folder / "compare", CLIPS)
    return folder


@pytest.fixture
def prepare(place, tmp_path):
    def call(text: str = TEXT, *options: str, name: str = "Evalution.txt", end: str = "\n"):
        root = write_tree(tmp_path / "root", {name: text, f"._{name}": "\0\5\26\7"}, end)
        return run(msp_improv, root, place / "compare", tmp_path / "out", *options)

    return call


def expected(flip: bool = True) -> dict[str, tuple[float, float, float]]:
    return {clip: (6 - a if flip else a, v, d) for clip, (_, a, v, d) in CLIPS.items()}


@pytest.mark.parametrize(
    ("name", "end"), [("Evalution.txt", "\r\n"), ("Evaluation.txt", "\n"), ("evaluation.txt", "\n")]
)
def test_every_value_is_read_back(prepare, name, end):
    corpus = prepare(TEXT, name=name, end=end)
    assert list(labels_of(corpus)) == list(CLIPS)
    assert all(same(labels_of(corpus)[clip], values) for clip, values in expected().items())
    np.testing.assert_array_equal(corpus.view("hld"), list(features_of(CLIPS).values()))
    assert corpus.manifest.targets["arousal"].low == 1
    assert corpus.manifest.targets["arousal"].high == 5


def test_speakers_are_those_of_the_turn(prepare):
    corpus = prepare()
    who = dict(zip(corpus.samples["id"], corpus.samples["group"], strict=True))
    assert who["MSP-IMPROV-S01A-F03-P-FM01"] == "M03"
    assert who["MSP-IMPROV-S01A-F03-P-MF01"] == "F03"
    assert len(set(who.values())) == 12
    assert corpus.samples["subject"].equals(corpus.samples["group"])
    assert any(note.startswith("A speaker is the session and the sex letter") for note in corpus.manifest.notes)
    assert [(count.what, count.published, count.here) for count in corpus.manifest.counts] == [
        ("speakers", 12, 12),
        ("sessions", 6, 6),
    ]


@pytest.mark.parametrize("fold", [1, 4, 6])
def test_a_fold_keeps_sessions_apart(prepare, fold):
    corpus = prepare(TEXT, "--fold", str(fold))
    session = corpus.samples["id"].str.extract(r"-[FM]0(\d)-")[0].astype(int)
    parts = {name: set(session[corpus.partition(LEAK_FREE) == name]) for name in ("train", "development", "test")}
    assert parts["test"] == {fold}
    assert parts["development"] == {fold % 6 + 1}
    assert parts["train"] == set(range(1, 7)) - parts["test"] - parts["development"]
    assert corpus.manifest.name == f"msp-improv-fold{fold}"
    assert any(f"session {fold} is test" in note for note in corpus.manifest.notes)


def test_folds_go_to_folders_of_their_own(prepare, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = write_tree(tmp_path / "root", {"Evalution.txt": TEXT})
    parser = argparse.ArgumentParser()
    msp_improv.add_arguments(parser)
    args = parser.parse_args(
        ["--root", str(root), "--features", str(place / "compare"), "--feature-set", "rows", "--fold", "2"]
    )
    args.overwrite = False
    assert str(msp_improv.prepare(args).folder) == "corpora/msp-improv-fold2"
    args.fold, args.out, args.overwrite = "all", None, True
    made = msp_improv.prepare(args)
    assert [str(corpus.folder) for corpus in made] == [f"corpora/msp-improv-fold{fold}" for fold in range(1, 7)]
    assert [corpus.manifest.title for corpus in made] == [f"MSP-IMPROV, fold {fold}" for fold in range(1, 7)]


@pytest.mark.parametrize(
    ("stored", "options", "flipped", "note"),
    [
        (
            "reversed",
            (),
            True,
            "Arousal was flipped (6 - A): mean stored arousal is 2.18 in class A and 4.25 in class S.",
        ),
        ("straight", (), False, "Arousal was kept as stored: mean stored arousal is 3.82 in class A"),
        ("reversed", ("--arousal", "stored"), False, "Arousal is stored, as --arousal asks; .*which speaks against it"),
        ("straight", ("--arousal", "stored"), False, "Arousal is stored, as --arousal asks; .*in class S.$"),
        ("straight", ("--arousal", "flipped"), True, "Arousal is flipped, .*which speaks against it"),
    ],
)
def test_the_direction_of_arousal(prepare, stored, options, flipped, note):
    def straight(line: str) -> str:
        parts = line.split(" A:")
        value, rest = parts[1].split(";", 1) if len(parts) == 2 else ("NaN", "")
        return line if value == "NaN" else f"{parts[0]} A:{6 - float(value):.6f};{rest}"

    text = TEXT if stored == "reversed" else "\n".join(straight(line) if line else "" for line in TEXT.split("\n"))
    corpus = prepare(text, *options)
    there = {clip: values[0] if stored == "reversed" else 6 - values[0] for clip, values in expected(False).items()}
    for clip, values in labels_of(corpus).items():
        assert values[0] == pytest.approx(6 - there[clip] if flipped else there[clip], nan_ok=True)
    assert any(re.search(note.replace("(6 - A)", r"\(6 - A\)"), n) for n in corpus.manifest.notes)


def test_no_direction_without_angry_or_sad_clips(prepare):
    with pytest.raises(UserError, match=r"cannot tell the direction of arousal .*nan in class S.*--arousal stored"):
        prepare(TEXT.replace("; S; A:", "; N; A:"))


def test_votes_are_compared_with_the_consensus(prepare):
    (note,) = (note for note in prepare().manifest.notes if "votes" in note)
    rated = sum(not math.isnan(a + d) for _, a, _, d in CLIPS.values())
    assert note.startswith(f"The consensus is the mean of the raters' votes in {rated} of {rated} clips with votes")
    assert f"{rated} of them have two votes of one rater" in note


def test_clips_without_features_are_left_out(prepare, place, tmp_path):
    some = write_features(tmp_path / "some", [clip for clip in CLIPS if "-FM" in clip])
    root = write_tree(tmp_path / "root", {"Evalution.txt": TEXT})
    corpus = run(msp_improv, root, some, tmp_path / "out")
    assert set(corpus.samples["id"]) == {clip for clip in CLIPS if "-FM" in clip}
    assert any(note.startswith("25 of 49 clips have no features") for note in corpus.manifest.notes)


def test_wavs_are_found_in_the_sessions(tmp_path, monkeypatch):
    seen = {}

    def attach(samples, args, wavs, shared):
        seen.update(wavs())
        raise UserError("enough.")

    monkeypatch.setattr(msp_improv.options, "attach", attach)
    clip = next(iter(CLIPS))
    files = {f"Audio/session1/S01A/P/{name}": "" for name in (f"{clip}.wav", f"{clip}.avi", f"._{clip}.wav")}
    root = write_tree(tmp_path / "root", {"Evalution.txt": TEXT, **files})
    with pytest.raises(UserError, match="enough"):
        run(msp_improv, root, tmp_path, tmp_path / "out")
    assert seen == {clip: root / f"Audio/session1/S01A/P/{clip}.wav"}


FIRST = TEXT.splitlines()[0]


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        (FIRST.replace("A:2.166667", "A:two"), "Evalution.txt: line 1, A: two is not a number"),
        (FIRST.replace("A:2.166667", "A:7.000000"), r"line 1, A: 7 lies outside the scale 1\.\.5"),
        (FIRST.replace("A:2.166667; ", ""), r"line 1: the line of MSP-IMPROV-S01A-F01-P-FM01.wav lacks A:"),
        (FIRST.replace("A:2.166667", "A:2.166667; A:3.000000"), "line 1: A:3.000000 is none of"),
        (FIRST.replace("F01", "F07"), "line 1: MSP-IMPROV-S01A-F07-P-FM01.wav is no name of a clip's file"),
        (FIRST[:-4], r"line 1: the line of MSP-IMPROV-S01A-F01-P-FM01.wav is not of the form"),
        (FIRST[:8], "line 1: MSP-IMPR is neither a clip's line nor a rater's"),
        (f"{FIRST}\n{FIRST}", "line 2: MSP-IMPROV-S01A-F01-P-FM01.wav was rated in line 1 already"),
    ],
)
def test_a_sentence_for_every_mistake(prepare, tmp_path, new, sentence):
    with pytest.raises(UserError, match=sentence):
        prepare(TEXT.replace(FIRST, new, 1))
    assert not (tmp_path / "out").exists()


def test_missing_and_unreadable_files(place, tmp_path):
    root = write_tree(tmp_path / "root", {"readme.txt": ""})
    for sentence, content in {
        "neither Evalution.txt nor Evaluation.txt is here": None,
        "Evalution.txt: has no line that begins with UTD-IMPROV or MSP-IMPROV": b"",
        "Evalution.txt: line 2: byte 0xe9 is no UTF-8 text": b"\nUTD-IMPROV-\xe9\n",
    }.items():
        if content is not None:
            (root / "Evalution.txt").write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            run(msp_improv, root, place / "compare", tmp_path / "out")
    with pytest.raises(UserError, match="none: cannot be opened"):
        run(msp_improv, tmp_path / "none", place / "compare", tmp_path / "out")


@settings(max_examples=40, deadline=None)
@given(damage=DAMAGE)
def test_a_damaged_file_is_read_right_or_refused(place, damage):
    root, out = place / "root", place / "made" / "out"
    raw, old, new = damage.apply(TEXT, "; ")
    root.mkdir(exist_ok=True)
    (root / "Evalution.txt").write_bytes(raw)
    try:
        found = outcome(msp_improv, root, place / "compare", out)
        if isinstance(found, str):
            assert "Evalution.txt" in found
            return
        labels, whole = labels_of(found), expected()
        assert all(same(values, whole[clip]) for clip, values in labels.items())
        lost = whole.keys() - labels.keys()
        assert not lost or damage.kind == "bytes" or all(clip[4:] in old and clip[4:] not in new for clip in lost)
    finally:
        shutil.rmtree(out, ignore_errors=True)
