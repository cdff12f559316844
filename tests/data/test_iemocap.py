"""`affect prepare iemocap`: the release's own format with its quirks, and sentences for what is broken."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings

from affect.data.corpus import LEAK_FREE, open_corpus
from affect.data.readers import iemocap
from affect.errors import UserError
from tests.data.speech_trees import DAMAGE, features_of, labels_of, outcome, run, same, write_features, write_tree
from tests.data.test_prepare import parse

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"
TURNS: dict[str, tuple[float, float, float]] = {}
"""Id → arousal, valence, dominance."""
FILES: dict[str, str] = {}


def block(turn: str, vector: tuple[float, ...], votes: dict[str, str]) -> str:
    v, a, d = vector
    lines = [f"[6.2901 - 8.2357]\t{turn}\tneu\t[{v:.4f}, {a:.4f}, {d:.4f}]"]
    lines += [f"C-{rater}:\tNeutral;\t()" for rater in votes]
    lines += [f"A-{rater}:\t{vote}\t(as in Ses01F_impro01_F000, or so)" for rater, vote in votes.items()]
    return "\n".join(lines) + "\n"


def said(v: object, a: object, d: object) -> str:
    return f"val {v}; act {a}; dom  {d};"


def votes_for(*vector: float) -> dict[str, str]:
    """Two raters whose mean (valence, activation, dominance) is `vector`, and the actress herself, who differs."""
    return {"E2": said(*map(math.floor, vector)), "E3": said(*map(math.ceil, vector)), "F1": said(5, 1, 1)}


for _session in range(1, 6):
    for _dialog in (f"Ses0{_session}F_impro01", f"Ses0{_session}M_script01_1b"):
        blocks = []
        for _turn in ("F000", "M000", "MXX1"):
            _name, _k = f"{_dialog}_{_turn}", len(TURNS)
            _v, _a, _d = 1.5 + _k % 4, 2.0 + _k % 3, 4.5 - _k % 2
            TURNS[_name] = (_a, _v, _d)
            blocks.append(block(_name, (_v, _a, _d), votes_for(_v, _a, _d)))
        FILES[f"Session{_session}/dialog/EmoEvaluation/{_dialog}.txt"] = HEADER + "\n" + "\n".join(blocks)
# What the release holds beside: a vote of 6, and a missing one that was counted as 0.
TURNS["Ses05F_impro02_F000"] = (3.5, 5.0, 1.0)
FILES["Session5/dialog/EmoEvaluation/Ses05F_impro02.txt"] = HEADER + block(
    "Ses05F_impro02_F000", (5.5, 3.5, 0.5), {"E2": said(5, 3, 1), "E3": said(6, 4, ""), "M5": said(1, 1, 5)}
)
BESIDE = {
    "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt": "\0\5\26\7",
    "Session1/dialog/EmoEvaluation/Self-evaluation/Ses01F_impro01_e.txt": block(
        "Ses01F_impro01_F000", (1.0, 1.0, 1.0), {}
    ),
    "Session1/dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt": "Ses01F_impro01_F000 :Neutral state; ()\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with features of all turns, and a tree to be damaged."""
    folder = tmp_path_factory.mktemp("iemocap")
    write_features(folder / "compare", TURNS)
    write_tree(folder / "root", FILES)
    return folder


@pytest.fixture
def prepare(place, tmp_path):
    def call(*options: str, inner: str = ".", end: str = "\n", **changes: str):
        files = {
            **FILES,
            **BESIDE,
            **{f"Session1/dialog/EmoEvaluation/{name}.txt": text for name, text in changes.items()},
        }
        write_tree(tmp_path / "root" / inner, files, end)
        return run(iemocap, tmp_path / "root", place / "compare", tmp_path / "out", *options)

    return call


@pytest.mark.parametrize(("inner", "end"), [(".", "\r\n"), ("IEMOCAP_full_release", "\n")])
def test_every_value_is_read_back(prepare, inner, end):
    corpus = prepare(inner=inner, end=end)
    assert labels_of(corpus) == TURNS
    np.testing.assert_array_equal(corpus.view("hld"), [features_of(TURNS)[clip] for clip in corpus.samples["id"]])
    assert list(corpus.manifest.targets) == ["arousal", "valence", "dominance"]


def test_speakers_are_those_of_the_turn(prepare):
    corpus = prepare()
    who = dict(zip(corpus.samples["id"], corpus.samples["group"], strict=True))
    assert who["Ses03F_impro01_M000"] == who["Ses03M_script01_1b_M000"] == who["Ses03F_impro01_MXX1"] == "Ses03M"
    assert who["Ses03M_script01_1b_F000"] == "Ses03F"
    assert len(set(who.values())) == 10
    assert corpus.samples["subject"].equals(corpus.samples["group"])


@pytest.mark.parametrize("fold", [1, 5])
def test_a_fold_keeps_sessions_apart(prepare, fold):
    corpus = prepare("--fold", str(fold))
    session = corpus.samples["id"].str[4].astype(int)
    parts = {name: set(session[corpus.partition(LEAK_FREE) == name]) for name in ("train", "development", "test")}
    assert parts["test"] == {fold}
    assert parts["development"] == {fold % 5 + 1}
    assert parts["train"] == set(range(1, 6)) - parts["test"] - parts["development"]
    assert corpus.manifest.name == f"iemocap-fold{fold}"
    assert f"Fold {fold} of 5: session {fold} is test, {fold % 5 + 1} development" in corpus.manifest.notes[0]


def test_self_evaluations_are_no_votes_and_what_is_off_the_scale_is_mended(prepare):
    notes = " ".join(prepare().manifest.notes)
    assert f"is the mean of the raters' votes in {len(TURNS) - 1} of {len(TURNS)} clips" in notes
    assert "2 labels off the scale 1..5 (the first: valence of Ses05F_impro02_F000 is 5.5) were replaced" in notes


def test_a_missing_vote_that_was_taken_for_zero_is_mended(tmp_path):
    """Votes 5 and nothing, of which the release makes 2.5: on the scale, and yet no rater's opinion."""
    turns = {
        "zero": ((4.0, 3.0, 2.5), said(4, 3, 5), said(4, 3, ""), 5.0),
        "mean": ((4.0, 3.0, 5.0), said(4, 3, 5), said(4, 3, ""), 5.0),
        "both": ((4.0, 3.0, 2.5), said(4, 3, 2), said(4, 3, 3), 2.5),
        "else": ((4.0, 3.0, 3.5), said(4, 3, 5), said(4, 3, ""), 3.5),
    }
    blocks = [
        block(f"Ses01F_{name}_F000", vector, {"E2": one, "E3": other})
        for name, (vector, one, other, _) in turns.items()
    ]
    root = write_tree(tmp_path, {**FILES, "Session1/dialog/EmoEvaluation/Ses01F_more.txt": HEADER + "".join(blocks)})
    read = iemocap.read_turns(iemocap.find_sessions(root))
    labels, notes = iemocap.consensus(read)
    found = dict(zip((turn.id for turn in read), labels, strict=True))
    for name, (*_, dominance) in turns.items():
        assert found[f"Ses01F_{name}_F000"] == (3.0, 4.0, dominance), name
    assert notes[-1] == (
        "1 labels that took a missing vote for 0 (the first: dominance of Ses01F_zero_F000 is 2.5) and 2 labels off the "
        "scale 1..5 (the first: valence of Ses05F_impro02_F000 is 5.5) were replaced by the mean of the votes that are "
        "on it."
    )


def test_counts_are_told_beside_the_papers(prepare):
    turns, actors = prepare().manifest.counts
    assert (turns.published, turns.here) == (10_527, len(TURNS))
    n = len(TURNS)
    assert turns.why == (
        f"The label files have {n} turns; the release is known with 10,039, and why the paper counts more is not explained."
    )
    assert (actors.published, actors.here) == (10, 10)


def test_turns_without_features_are_not_explained_by_the_release(place, tmp_path, monkeypatch):
    root = write_tree(tmp_path / "root", FILES)
    few = write_features(tmp_path / "few", [turn for turn in TURNS if not turn.endswith("MXX1")])
    monkeypatch.setattr(iemocap, "PUBLISHED_TURNS", len(TURNS))
    whole, _ = run(iemocap, root, place / "compare", tmp_path / "whole").manifest.counts
    assert (whole.here, whole.why) == (len(TURNS), "")
    some, _ = run(iemocap, root, few, tmp_path / "out").manifest.counts
    assert (some.here, some.why) == (len(TURNS) - 10, f"10 of {len(TURNS)} turns have no features.")
    monkeypatch.setattr(iemocap, "RELEASED_TURNS", len(TURNS))
    monkeypatch.setattr(iemocap, "PUBLISHED_TURNS", 10_527)
    some, _ = run(iemocap, root, few, tmp_path / "out", "--overwrite").manifest.counts
    assert some.why == (
        f"The release is known with {len(TURNS)} turns; why the paper counts more is not explained. 10 of {len(TURNS)} "
        "turns have no features."
    )


def test_all_folds_in_one_command(place, tmp_path, monkeypatch, capsys):
    root, attached = write_tree(tmp_path / "root", FILES), []
    attach = iemocap.options.attach
    monkeypatch.setattr(
        iemocap.options, "attach", lambda *given, **named: attached.append(1) or attach(*given, **named)
    )
    words = ["--root", str(root), "--features", str(place / "compare"), "--feature-set", "rows"]
    args = parse("prepare", "iemocap", *words, "--fold", "all", "--out", str(tmp_path / "made" / "mine"))
    assert args.action(args) == 0
    assert attached == [1]
    printed = capsys.readouterr().out
    for fold in range(1, 6):
        corpus = open_corpus(tmp_path / "made" / f"mine-fold{fold}")
        assert f"iemocap-fold{fold}  ({corpus.folder})" in printed
        alone = run(iemocap, root, place / "compare", tmp_path / f"alone{fold}", "--fold", str(fold))
        assert corpus.manifest == alone.manifest
    with pytest.raises(UserError, match="made/mine-fold1: exists already"):
        args.action(args)
    for fold in range(2, 6):
        shutil.rmtree(tmp_path / "made" / f"mine-fold{fold}")
    shutil.move(tmp_path / "made" / "mine-fold1", tmp_path / "made" / "mine-fold4")
    with pytest.raises(UserError, match="made/mine-fold4: exists already"):
        args.action(args)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["mine-fold4"]
    monkeypatch.chdir(tmp_path)
    args = parse("prepare", "iemocap", *words, "--fold", "all")
    assert [one.folder.as_posix() for one in iemocap.prepare(args)] == [f"corpora/iemocap-fold{n}" for n in range(1, 6)]
    args = parse("prepare", "iemocap", *words, "--fold", "all", "--out", ".")
    with pytest.raises(UserError, match=r"--out .: with --fold all give the beginning of the folders' names"):
        args.action(args)


def test_wavs_are_found_in_the_sessions(tmp_path, monkeypatch):
    seen = {}

    def attach(samples, args, wavs, shared):
        seen.update(wavs())
        raise UserError("enough.")

    monkeypatch.setattr(iemocap.options, "attach", attach)
    folder = "Session2/sentences/wav/Ses02F_impro01"
    files = {f"{folder}/{name}Ses02F_impro01_F000.wav": "" for name in ("", "._")}
    root = write_tree(tmp_path / "root", {**FILES, **files, "Session2/dialog/wav/Ses02F_impro01.wav": ""})
    with pytest.raises(UserError, match="enough"):
        run(iemocap, root, tmp_path, tmp_path / "out")
    assert seen == {"Ses02F_impro01_F000": root / f"{folder}/Ses02F_impro01_F000.wav"}


HEAD = "[1.0 - 2.0]\tSes01F_impro09_F000\tneu\t[2.5000, 2.5000, 2.5000]"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEAD.replace("2.5000]", "25000]"), "impro09.txt: line 2: dominance of .* 25000 lies outside the scale 1..5"),
        (HEAD.replace("[2.5000", "[abc"), "impro09.txt: line 2: abc is not a number"),
        (HEAD[:-4], r"impro09.txt: line 2: '\[1.0 - 2.0.*is not of the form \[START - END\]"),
        (HEAD[1:], "impro09.txt: line 2: .*is not of the form"),
        (HEAD.replace("Ses01F", "Ses09F"), "impro09.txt: line 2: Ses09F_impro09_F000 is no name of a turn"),
        (
            HEAD.replace("impro09", "impro01"),
            "impro09.txt: line 2: turn Ses01F_impro01_F000 was rated in .*impro01.txt: line",
        ),
        (f"{HEAD}\nA-E2:\tval x; act 2; dom  2;\t()", "impro09.txt: line 3: .*is not of the form A-RATER"),
    ],
)
def test_a_sentence_for_every_mistake(prepare, tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        prepare(Ses01F_impro09=HEADER + text + "\n")
    assert not (tmp_path / "out").exists()


def test_missing_and_unreadable_files(place, tmp_path):
    def call():
        return run(iemocap, tmp_path / "root", place / "compare", tmp_path / "out")

    with pytest.raises(UserError, match="root: cannot be opened"):
        call()
    root = write_tree(tmp_path / "root", FILES)
    file = root / next(iter(FILES))
    file.write_bytes(b"% header\n[6.2 - 8.2]\tSes01F_impro01_F000\tn\xe9u\t[2.5, 2.5, 2.5]\n")
    with pytest.raises(UserError, match=r"impro01\.txt: line 2: byte 0xe9 is no UTF-8 text"):
        call()
    file.write_bytes(b"[6.2 - 8.2]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\nC-E2:\tOther;\t(d\xe9j\xe0 vu)\n")
    assert labels_of(call())["Ses01F_impro01_F000"] == (2.5, 2.5, 2.5)
    shutil.rmtree(tmp_path / "out")
    for name in list(FILES)[:2]:
        (root / name).unlink()
    with pytest.raises(UserError, match=r"EmoEvaluation: has no label files"):
        call()
    shutil.rmtree(root / "Session4")
    with pytest.raises(UserError, match="Session4: there is no such folder"):
        call()


NAME = "Session3/dialog/EmoEvaluation/Ses03F_impro01.txt"


@settings(max_examples=40, deadline=None)
@given(damage=DAMAGE)
def test_a_damaged_file_is_read_right_or_refused(place, damage):
    root, out = place / "root", place / "made" / "out"
    raw, old, new = damage.apply(FILES[NAME], ", ")
    (root / NAME).write_bytes(raw)
    try:
        found = outcome(iemocap, root, place / "compare", out)
        if isinstance(found, str):
            assert NAME in found
            return
        labels = labels_of(found)
        for turn, values in labels.items():
            # A swapped or replaced number may be a good one; one that is off the scale gives way to the votes.
            assert same(values, TURNS[turn]) or (damage.kind in ("field", "swap") and turn in old and turn in new)
            assert all(math.isnan(value) or 1 <= value <= 5 for value in values)
        lost = TURNS.keys() - labels.keys()
        assert not lost or damage.kind == "bytes" or all(turn in old and turn not in new for turn in lost)
    finally:
        shutil.rmtree(out, ignore_errors=True)
