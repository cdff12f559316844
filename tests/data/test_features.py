"""Features for the readers: attached from folders and tables in every form, exact, and refused in one sentence."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.data.features.audio import STEPS
from affect.data.features.extraction import extract_folder, open_features
from affect.data.features.options import attach, known_ids
from affect.data.prepare import add_prepare_parser
from affect.errors import UserError
from tests.data.feature_files import (
    SET,
    VECTORS,
    attached,
    frame_of,
    parsed,
    values,
)
from tests.data.test_audio import tone, write


@pytest.fixture
def folder(tmp_path) -> Path:
    """A features folder of two clips and a silent one."""
    wavs = {name: write(tmp_path / "wavs" / f"{name}.wav", tone(100 * (i + 2))) for i, name in enumerate("ab")}
    wavs["c"] = write(tmp_path / "wavs" / "c.wav", np.zeros(900))
    extract_folder(wavs, tmp_path / "f", ["mfb"])
    return tmp_path / "f"


def test_a_features_folder(tmp_path, folder):
    made = attached(tmp_path, "--features", folder, ids=("b", "c", "a"))
    assert made.samples["mfb_steps"].tolist() == [48.0, 48.0]
    assert made.views["mfb"].features == open_features(folder).sets["mfb"].features
    assert made.notes == (
        "1 recordings have no features (c: silent).",
        "1 of 3 clips have no features and were left out, such as c.",
    )
    np.testing.assert_array_equal(values(made, "mfb")[0, :48], np.load(folder / "clips" / "b.npz")["mfb"])
    (folder / "features.json").write_text((folder / "features.json").read_text().replace("true", "false"))
    with pytest.raises(UserError, match="f: its extraction was interrupted"):
        attached(tmp_path, "--features", folder)


def test_sets_are_not_mixed(tmp_path, folder):
    other = tmp_path / "g"
    extract_folder({"d": write(tmp_path / "wavs" / "d.wav", tone(900))}, other, ["mfb"])
    assert attached(tmp_path, "--features", folder, other, ids=("d", "a")).samples["id"].tolist() == ["d", "a"]
    text = (other / "features.json").read_text()
    (other / "features.json").write_text(text.replace("40 log mel bands", "41 log mel bands"))
    with pytest.raises(UserError, match=r"g: view mfb holds 41 .*, .*f 40 log .*; feature sets must not be mixed"):
        attached(tmp_path, "--features", folder, other)


def test_recordings_are_extracted_beside_the_corpus(tmp_path, folder):
    wavs = {name: tmp_path / "wavs" / f"{name}.wav" for name in "abc"}
    args = parsed(tmp_path, "--audio", "--sets", "mfb")
    assert known_ids(args, lambda: wavs) == ["a", "b", "c"]
    made = attach(pd.DataFrame({"id": ["c", "b", "x"]}), args, lambda: wavs)
    assert made.samples["id"].tolist() == ["b"]
    assert list(open_features(tmp_path / "corpus-features").clips) == ["b"]
    assert "c: silent" in made.notes[0]
    again = attached(tmp_path, "--audio", tmp_path / "wavs", "--sets", "mfb", ids=("b", "c", "x"))
    np.testing.assert_array_equal(values(again, "mfb"), values(made, "mfb"))
    attach(pd.DataFrame({"id": ["b"]}), args, lambda: wavs, shared="all-folds")
    assert list(open_features(tmp_path / "all-folds-features").clips) == ["b"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "--features PATH or --audio: one of them must say"),
        (["--features", "{}/x.csv"], "x.csv: add --feature-set with the name and version"),
        (["--features", "{}/y.csv", *SET], "y.csv: there is no such file or folder"),
        (["--features", "{}/x.csv", *SET, "--sets", "hld"], "x.csv: --sets goes with --audio"),
        (["--features", "{}/f", *SET], "--feature-set my set 1: .*f knows what it holds"),
        (["--features", "{}/f", "--sets", "hld"], "--sets hld: .*f has mfb alone"),
        (["--features", "{}/f", "{}/x.csv"], "x.csv: add --feature-set"),
        (["--features", "n" * 300, *SET], r"nn: cannot be read \(File name too long\)"),
        (["--features", "{}/x.csv/y", *SET], r"y: cannot be read \(Not a directory\)"),
        (["--audio", *SET], "--feature-set my set 1: goes with --features"),
        (["--audio", "{}/none"], "none: there is no .wav file"),
        (["--audio", "{}/wavs", "--sets", "mfb"], "--audio: has no clip of the corpus; the corpus has c.1, ... and"),
        (["--features", "{}/f"], "f: has no clip of the corpus; the corpus has c.1, ... and there is a, ..."),
    ],
)
def test_mistakes(tmp_path, folder, words, sentence):
    frame_of(VECTORS).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UserError, match=sentence):
        attached(tmp_path, *(word.format(tmp_path) for word in words), ids=("c.1", "d"))


def test_features_are_not_put_where_the_corpus_is_to_be(tmp_path, folder):
    wavs = {"b": tmp_path / "wavs" / "b.wav"}
    args = parsed(tmp_path, "--audio", "--sets", "mfb")
    args.out = tmp_path / "iemocap-features"
    with pytest.raises(
        UserError, match=r"--out .*iemocap-features: is where --audio puts the features; give the corpus"
    ):
        attach(pd.DataFrame({"id": ["b"]}), args, lambda: wavs, shared="iemocap")
    assert not args.out.exists()


def prepare(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_prepare_parser(parser.add_subparsers())
    args = parser.parse_args(["prepare", *words])
    return int(args.action(args))


def test_from_recordings_to_a_corpus(tmp_path, capsys):
    from affect.data.corpus import open_corpus

    for i in range(8):
        write(tmp_path / "wavs" / f"clip{i}.wav", tone(100 * (i + 2)))
    write(tmp_path / "wavs" / "clip3.wav", np.zeros(900))
    assert prepare("wav", "--root", f"{tmp_path}/wavs", "--sets", "mfb", "--out", f"{tmp_path}/f") == 0
    assert "skipped      clip3: silent" in capsys.readouterr().out
    splits = ["train"] * 4 + ["dev"] * 2 + ["test"] * 2
    pd.DataFrame({"id": [f"clip{i}" for i in range(8)], "split": splits, "act": 4.0}).to_csv(
        tmp_path / "clips.csv", index=False
    )
    sample = ("--samples", f"{tmp_path}/clips.csv", "--id", "id", "--partition", "split", "--target", "arousal=act:1:7")
    assert prepare("table", *sample, "--features", f"{tmp_path}/f", "--out", f"{tmp_path}/corpus") == 0
    corpus = open_corpus(tmp_path / "corpus")
    info = corpus.manifest.views["mfb"]
    assert (info.shape, info.lengths) == ((7, STEPS, 40), "mfb_steps")
    assert "mel bands" in info.features
    assert corpus.manifest.notes[0] == "1 recordings have no features (clip3: silent)."
    assert corpus.facts("as_published").features == info.features
    recorded = corpus.view("mfb")[3, :48]
    np.testing.assert_array_equal(recorded, np.load(tmp_path / "f" / "clips" / "clip4.npz")["mfb"])
    audio = ("--audio", f"{tmp_path}/wavs", "--sets", "mfb", "--out", f"{tmp_path}/again")
    assert prepare("table", *sample, *audio) == 0
    assert open_corpus(tmp_path / "again").manifest.fingerprint == corpus.manifest.fingerprint
    with pytest.raises(UserError, match="--audio: name the folder of recordings"):
        prepare("table", *sample, "--audio", "--out", f"{tmp_path}/third")
    with pytest.raises(UserError, match="exactly one must say what the views are"):
        prepare("table", *sample, "--out", f"{tmp_path}/third")


def test_numbers_that_no_corpus_holds_are_named(tmp_path):
    frame = frame_of(VECTORS).assign(split=["train", "train", "dev", "test"], act=4.0)
    frame[["id", "split", "act"]].to_csv(tmp_path / "clips.csv", index=False)
    sample = ("--samples", f"{tmp_path}/clips.csv", "--id", "id", "--partition", "split", "--target", "arousal=act:1:7")
    for wrong, sentence in {
        np.nan: r"x\.csv: view hld, row b, column f1: the feature is nan",
        1e39: r"x\.csv: view hld, row b, column f1: the feature is inf",
    }.items():
        bad = VECTORS.copy()
        bad[1, 1] = wrong
        frame_of(bad).to_csv(tmp_path / "x.csv", index=False)
        with pytest.raises(UserError, match=sentence):
            prepare("table", *sample, "--features", f"{tmp_path}/x.csv", *SET, "--out", f"{tmp_path}/corpus")
        assert {path.name for path in tmp_path.iterdir()} == {"clips.csv", "x.csv"}
