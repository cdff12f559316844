"""Finding, listing and describing corpora; the command `affect prepare`."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from affect.data import prepare
from affect.data.corpus import open_corpus
from affect.data.prepare import (
    READERS,
    add_corpora_parser,
    add_prepare_parser,
    corpus_folders,
    describe,
    facts_of,
    find_corpus,
    is_to_be_made,
)
from affect.data.readers import qcc
from affect.errors import UserError

DEMO = "podcast-twin-demo"


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    add_prepare_parser(commands)
    add_corpora_parser(commands)
    return parser.parse_args(words)


def test_a_corpus_is_found_by_folder_and_by_name(write, tmp_path):
    corpus = write()
    assert find_corpus(str(corpus.folder), tmp_path / "none") == corpus
    assert find_corpus("toy", tmp_path) == corpus


def test_a_twin_is_made_when_named(tmp_path):
    corpus = find_corpus("podcast-twin-demo", tmp_path)
    assert corpus.folder == tmp_path / "podcast-twin-demo"
    assert [open_corpus(folder) for folder in corpus_folders(tmp_path)] == [corpus]


def test_facts_of_a_twin_without_making_it(write, tmp_path):
    facts = facts_of(DEMO, "as_published", ("valence",), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert is_to_be_made(DEMO, tmp_path)
    assert facts == find_corpus(DEMO, tmp_path).facts("as_published", ("valence",))
    assert facts == facts_of(DEMO, "as_published", ("valence",), tmp_path)
    assert not is_to_be_made(DEMO, tmp_path)
    corpus = write()
    assert not is_to_be_made("toy", tmp_path)
    assert facts_of("toy", "leak_free", ("valence",), tmp_path) == corpus.facts("leak_free", ("valence",))
    with pytest.raises(UserError, match="qqc: unknown corpus"):
        facts_of("qqc", "as_published", (), tmp_path)


def test_a_twin_of_another_seed_has_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = parse("prepare", "twin", "--seed", "5")
    assert args.action(args) == 0
    (corpus,) = map(open_corpus, corpus_folders())
    assert corpus.folder.name == f"{DEMO}-seed-5"
    assert find_corpus(corpus.folder.name) == corpus
    assert find_corpus(DEMO).manifest.fingerprint != corpus.manifest.fingerprint


def test_a_folder_here_does_not_stand_in_for_a_twin(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / DEMO)
    assert find_corpus(DEMO).manifest.name == DEMO
    assert find_corpus(f"./{DEMO}").manifest.name == "toy"


def test_an_unknown_corpus_lists_what_there_is(write, tmp_path):
    write()
    with pytest.raises(UserError, match="qqc: unknown corpus; there are toy, podcast-twin, podcast-twin-demo"):
        find_corpus("qqc", tmp_path)
    with pytest.raises(UserError, match="there are podcast-twin, podcast-twin-demo"):
        find_corpus("toy", tmp_path / "none")


def test_one_bad_corpus_hides_nothing(write, tmp_path, capsys):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text('{"format": 1}')
    write()
    with pytest.raises(UserError, match="qqc: unknown corpus; there are old, toy, podcast-twin"):
        find_corpus("qqc", tmp_path)
    args = parse("corpora", str(tmp_path))
    assert args.action(args) == 0
    printed = capsys.readouterr()
    assert "toy: twelve rows" in printed.out
    assert printed.err.startswith(f"affect: {tmp_path / 'old' / 'manifest.json'}: format 1 is older")
    args = parse("corpora", str(tmp_path / "old"))
    with pytest.raises(UserError, match="format 1 is older"):
        args.action(args)


def test_hidden_folders_are_not_listed(write, tmp_path):
    corpus = write()
    corpus.folder.rename(tmp_path / ".toy.partial-1")
    assert corpus_folders(tmp_path) == []
    assert corpus_folders(tmp_path / "none") == []


def test_describe_says_what_matters(write, samples):
    samples.loc[8, "group"] = "a"
    corpus = write(samples=samples, protocols={"as_published": "partition"})
    text = describe(corpus)
    for part in (
        "6 train, 2 development, 2 test, 2 unlabelled",
        "hld 12 x 4",
        "arousal on 1..5",
        "groups       speaker",
        "1 of 5 groups",
        corpus.manifest.fingerprint[:12],
    ):
        assert part in text


def test_corpora_prints_them(write, tmp_path, capsys):
    corpus = write()
    for words in (["corpora", str(tmp_path)], ["corpora", str(corpus.folder)]):
        args = parse(*words)
        assert args.action(args) == 0
        assert "toy: twelve rows" in capsys.readouterr().out


def test_prepare_runs_a_reader(tmp_path, capsys):
    args = parse("prepare", "twin", "--out", str(tmp_path / "t"), "--seed", "3")
    assert args.action(args) == 0
    assert "seed 3" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists already"):
        args.action(args)
    args = parse("prepare", "twin", "--out", str(tmp_path / "t"), "--overwrite")
    assert args.action(args) == 0


@pytest.mark.parametrize("name", READERS)
def test_every_reader_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("prepare", name, "--help")
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"example: affect prepare {name} --" in shown
    assert "--overwrite" in shown


def test_examples_parse():
    for module in prepare.READERS.values():
        parse(*module.EXAMPLE.split()[1:])


def test_qcc_through_the_command(tmp_path):
    rng = np.random.default_rng(0)
    for suffix, rows in {"train": 9, "val": 3, "test": 3}.items():
        np.save(tmp_path / f"x_{suffix}.npy", rng.standard_normal((rows, 5)))
        np.save(tmp_path / f"y_{suffix}.npy", rng.uniform(1, 5, (rows, 3)))
    args = parse("prepare", "qcc", "--root", str(tmp_path), "--out", str(tmp_path / "out"))
    assert args.action(args) == 0
    np.testing.assert_array_equal(
        find_corpus(str(tmp_path / "out")).samples["arousal"][:9], np.load(tmp_path / "y_train.npy")[:, 1]
    )


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("x_val", lambda x: x[:, 0], r"x_val.npy: has shape \[3\]; expected \[rows, features\]"),
        ("x_val", lambda x: x[:0], r"x_val.npy: has shape \[0, 5\]; expected"),
        ("x_val", lambda x: x[:, :4], "x_val.npy: has 4 columns, x_train.npy 5"),
        ("x_val", lambda x: x[:2], "x_val.npy: has 2 rows but y_val.npy has 3"),
        ("x_val", lambda x: x * np.inf, "x_val.npy: view hld, row development-00001, column 0: the feature is -?inf"),
        ("x_test", lambda x: x * 1e300, "x_test.npy: view hld, row test-00001, column 0: the feature is -?inf"),
        ("y_test", lambda y: y[:, :2], r"y_test.npy: has shape \[3, 2\]; expected \[rows, 3\]"),
        ("y_val", lambda y: y + 9, "y_val.npy: column valence, row development-00001: label .* lies outside its scale"),
        ("y_val", lambda y: y * [1, 1, np.nan], "y_val.npy: column dominance has no label"),
    ],
)
def test_qcc_names_the_file_at_fault(tmp_path, name, change, sentence):
    rng = np.random.default_rng(0)
    for suffix, rows in {"train": 9, "val": 3, "test": 3}.items():
        np.save(tmp_path / f"x_{suffix}.npy", rng.standard_normal((rows, 5)))
        np.save(tmp_path / f"y_{suffix}.npy", rng.uniform(1, 5, (rows, 3)))
    np.save(tmp_path / f"{name}.npy", change(np.load(tmp_path / f"{name}.npy")))
    with pytest.raises(UserError, match=f"^{tmp_path}/{sentence}"):
        qcc.prepare_qcc(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
