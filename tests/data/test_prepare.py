"""Finding, listing and describing corpora; the command `affect prepare`."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from affect.data import prepare
from affect.data.prepare import (
    READERS,
    add_corpora_parser,
    add_prepare_parser,
    describe,
    facts_of,
    find_corpus,
    is_to_be_made,
    list_corpora,
)
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
    assert list_corpora(tmp_path) == [corpus]


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
    (corpus,) = list_corpora()
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


def test_hidden_folders_are_not_listed(write, tmp_path):
    corpus = write()
    corpus.folder.rename(tmp_path / ".toy.partial-1")
    assert list_corpora(tmp_path) == []
    assert list_corpora(tmp_path / "none") == []


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
