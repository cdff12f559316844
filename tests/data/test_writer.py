"""Writing a corpus: checks first, nothing visible before it is whole, a fingerprint of the contents alone."""

from __future__ import annotations

import math
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affect.data.corpus import TargetInfo, open_corpus
from affect.data.manifest import MANIFEST
from affect.data.writer import ViewSource, array_view
from affect.errors import UserError
from tests.data.conftest import toy_array, write_toy


def blocks_of(array: np.ndarray, *sizes: int) -> ViewSource:
    ends = np.cumsum(sizes)
    return ViewSource(array.shape, lambda: np.split(array, ends[:-1]), "x", file="hld.npy")


@pytest.mark.parametrize("sizes", [(12,), (1,) * 12, (5, 7), (0, 11, 1)])
def test_fingerprint_is_independent_of_blocks(write, array, tmp_path, sizes):
    whole = write(tmp_path / "whole").manifest.fingerprint
    assert write(tmp_path / "cut", views={"hld": blocks_of(array, *sizes)}).manifest.fingerprint == whole
    assert re.fullmatch("[0-9a-f]{64}", whole)


def test_fingerprint_leaves_names_out_and_takes_doubles(write, array, tmp_path):
    first = write(tmp_path / "a").manifest.fingerprint
    assert write(tmp_path / "b", name="other", title="t", banner="b", source="s").manifest.fingerprint == first
    doubles = array_view(np.asfortranarray(array.astype(np.float64)), "y")
    assert write(tmp_path / "c", views={"hld": doubles}).manifest.fingerprint == first


def test_fingerprint_sees_everything_a_result_depends_on(write, samples, array, tmp_path):
    flipped = array.copy()
    flipped[7, 2] = np.nextafter(flipped[7, 2], 9, dtype=np.float32)
    label, part, group, text = (samples.copy() for _ in range(4))
    label.loc[0, "arousal"] = 1.0000001
    part.loc[4, "partition"] = "unlabelled"
    group.loc[1, "group"] = "b"
    text["text"] = "hm"
    written = [
        write(tmp_path / "0"),
        write(tmp_path / "1", views={"hld": array_view(flipped, "x")}),
        write(tmp_path / "2", views={"lld": array_view(array, "x")}),
        write(tmp_path / "3", samples=label),
        write(tmp_path / "4", samples=part),
        write(tmp_path / "5", samples=group),
        write(tmp_path / "6", samples=text),
        write(tmp_path / "7", targets={"arousal": TargetInfo(1, 7), "valence": TargetInfo(1, 5)}),
        write(tmp_path / "8", groups="recording"),
        write(tmp_path / "9", protocols={"as_published": "partition"}),
        write(tmp_path / "10", views={"hld": array_view(array.reshape(12, 2, 2), "x")}),
    ]
    assert len({corpus.manifest.fingerprint for corpus in written}) == len(written)


def test_partitions_are_stored_in_one_spelling(write, samples):
    spelt = ["Train", "training", "TRAIN", " train", "tr", "train", "Validation", "dev", "Test1", "TEST", "unlabeled"]
    samples["partition"] = [*spelt, "Unlabelled"]
    stored = write(samples=samples).samples["partition"].tolist()
    assert stored == ["train"] * 6 + ["development"] * 2 + ["test"] * 2 + ["unlabelled"] * 2


def bad_samples(samples, row, column, value):
    samples.loc[row, column] = value
    return {"samples": samples}


BAD_SAMPLES = {
    "duplicate id": (5, "id", "clip1", "samples.csv: column id: id clip1 occurs in rows 2 and 6."),
    "empty id": (5, "id", "", "samples.csv: column id, row 6: the id is missing."),
    "above scale": (
        2,
        "arousal",
        5.5,
        "column arousal, row clip2: label 5.5 lies outside its scale 1..5.",
    ),
    "below scale": (2, "valence", 0.0, "column valence, row clip2: label 0 lies outside its scale 1..5."),
    "infinite label": (2, "valence", math.inf, "column valence, row clip2: label inf lies outside its scale 1..5."),
    "partition": (9, "partition", "tset", "column partition, row clip9: unknown partition 'tset'"),
    "straddling": (9, "group", "a", "column partition: speaker 'a' lies in train and test, so protocol leak_free"),
    "no group": (8, "group", " ", "column group, row clip8 of test: the speaker is missing, so protocol leak_free"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_bad_samples(write, samples, tmp_path, case):
    row, column, value, sentence = BAD_SAMPLES[case]
    with pytest.raises(UserError, match=re.escape(sentence)):
        write(**bad_samples(samples, row, column, value), samples_file="samples.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("partition", ["train", "development", "test"])
def test_empty_partitions(write, samples, tmp_path, partition):
    inside = samples["partition"] == partition
    with pytest.raises(UserError, match=f"column partition: partition {partition} has no row with a label in arousal"):
        write(samples=samples.assign(arousal=samples["arousal"].mask(inside)))
    samples.loc[inside, "partition"] = "unlabelled"
    with pytest.raises(UserError, match=f"column partition: partition {partition} is empty"):
        write(samples=samples)
    assert list(tmp_path.iterdir()) == []


def test_a_partition_needs_every_target_but_not_in_one_row(write, samples):
    samples.loc[6, "arousal"] = samples.loc[7, "valence"] = np.nan
    corpus = write(samples=samples)
    assert corpus.facts("as_published", ["arousal"]).rows["development"] == 1
    assert corpus.facts("as_published").rows["development"] == 0


@pytest.mark.parametrize("name", ["", ".", "..", ".toy", "a/b", "../toy", "my corpus", "toy\n", "a" * 101])
def test_names_that_are_no_names_of_files(write, tmp_path, name):
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'toy'}: {name!r} is no name for a corpus")):
        write(name=name)
    assert list(tmp_path.iterdir()) == []
    for fine in ("toy", "podcast-twin_2.1", "_", "-", "a" * 100):
        assert write(tmp_path / f"folder-{fine}", name=fine).manifest.name == fine


def test_contents_that_are_not_those_announced(write, tmp_path):
    due = write(tmp_path / "first").manifest.fingerprint
    assert write(tmp_path / "second", fingerprint=due).manifest.fingerprint == due
    with pytest.raises(UserError, match=f"what was made here has fingerprint {due[:12]} where 000000000000 is due"):
        write(fingerprint="0" * 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


@pytest.mark.parametrize("column", ["id", "partition", "arousal", "group"])
def test_missing_columns(write, samples, column):
    with pytest.raises(UserError, match=f"column {column} is missing"):
        write(samples=samples.drop(columns=column))


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e39, "inf")])
def test_features_that_are_not_finite(write, array, tmp_path, value, shown):
    wide = array.astype(np.float64)
    wide[9, 2] = value
    view = blocks_of(wide, 5, 7)
    sentence = f"hld.npy: view hld, row clip9, column 2: the feature is {shown}, not finite."
    with pytest.raises(UserError, match=re.escape(sentence)):
        write(tmp_path / "deep" / "toy", views={"hld": view})
    named = ViewSource((12, 4), lambda: [wide], "x", file="f.csv", columns=("p", "q", "r", "s"))
    with pytest.raises(UserError, match=r"f\.csv: view hld, row clip9, column r"):
        write(views={"hld": named})
    assert list(tmp_path.iterdir()) == []


def test_opposite_infinities_do_not_cancel(write, array):
    array[3, 0], array[3, 1] = np.inf, -np.inf
    with pytest.raises(UserError, match="row clip3, column 0: the feature is inf"):
        write(views={"hld": array_view(array, "x")})


def test_huge_and_constant_features_are_fine(write, array):
    array[:, 0] = 3
    array[5, 1] = 1e12
    np.testing.assert_array_equal(write(views={"hld": array_view(array, "x")}).view("hld"), array)


def test_views_that_do_not_fit(write, array, tmp_path):
    cases = {
        "view hld has 11 rows but samples.parquet has 12": array_view(array[:11], "x"),
        "it needs rows and columns": array_view(array[:, 0], "x"),
        "ends after 11 of 12 rows": ViewSource((12, 4), lambda: [array[:11]], "x"),
        "brings a block [12, 4] at row 1": ViewSource((12, 4), lambda: [array[:1], array], "x"),
        "brings a block [12, 3]": ViewSource((12, 4), lambda: [array[:, :3]], "x"),
    }
    for sentence, view in cases.items():
        with pytest.raises(UserError, match=re.escape(sentence)):
            write(views={"hld": view})
    with pytest.raises(UserError, match="is no name for a view"):
        write(views={"../hld": array_view(array, "x")})
    with pytest.raises(UserError, match="at least one view"):
        write(views={})
    assert list(tmp_path.iterdir()) == []


def test_other_declarations_that_are_refused(write, tmp_path):
    for sentence, changes in {
        "at least one target": {"targets": {}},
        "which is empty": {"targets": {"arousal": TargetInfo(5, 1)}},
        "protocols best are not among": {"protocols": {"best": "partition"}},
        "groups are unknown": {"groups": "unknown"},
    }.items():
        with pytest.raises(UserError, match=sentence):
            write(**changes)
    assert list(tmp_path.iterdir()) == []


def test_existing_folders(write, tmp_path):
    corpus = write()
    with pytest.raises(UserError, match="exists already; use --overwrite"):
        write(name="new")
    assert open_corpus(corpus.folder).manifest.name == "toy"
    assert write(name="new", overwrite=True).manifest.name == "new"
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "letter").write_text("dear")
    with pytest.raises(UserError, match="is no corpus"):
        write(precious, overwrite=True)
    assert (precious / "letter").read_text() == "dear"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "toy"]


def test_failed_overwrite_keeps_the_old_corpus(write, array, tmp_path):
    corpus = write()
    array[0, 0] = np.nan
    with pytest.raises(UserError):
        write(views={"hld": array_view(array, "x")}, overwrite=True)
    assert np.isfinite(open_corpus(corpus.folder).view("hld")).all()
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_folder_that_came_into_being_meanwhile(write, array, tmp_path):
    def slow():
        yield array[:6]
        write()
        yield array[6:]

    with pytest.raises(UserError, match="came into being meanwhile"):
        write(name="late", views={"hld": ViewSource((12, 4), slow, "x")})
    assert open_corpus(tmp_path / "toy").manifest.name == "toy"
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_place_that_cannot_be_written(write, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "toy")


@pytest.mark.parametrize("name", ["n" * 300, "n" * 250])
def test_names_that_are_too_long(write, tmp_path, name):
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"nn: cannot be written \(File name too long\)\.$"):
            write(tmp_path / "new" / name, overwrite=overwrite)
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_whose_name_leaves_no_room_to_move_it_aside_is_kept(write, tmp_path):
    folder = write(tmp_path / ("n" * 220)).folder
    with pytest.raises(UserError, match=r"nn: cannot be written \(File name too long\)\.$"):
        write(folder, name="new", overwrite=True)
    assert open_corpus(folder).manifest.name == "toy"
    assert list(tmp_path.iterdir()) == [folder]


def _on_a_full_disk(folder: Path) -> None:
    """Write corpora where a file may have so many bytes and no more; say what became of them."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for size in (0, 100, 300, 1 << 20):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            write_toy(folder / "deep" / "toy")
            print("written")
        except UserError as error:
            print(error, list(folder.iterdir()))


def test_a_full_disk_ends_in_one_sentence(tmp_path):
    done = called(_on_a_full_disk, tmp_path)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"{tmp_path}/deep/toy: cannot be written (File too large). []"] * 3
    assert lines[3:] == ["written"]


def called(function: Callable[[Path], None], folder: Path) -> subprocess.CompletedProcess[str]:
    """Call a function of this module in a new interpreter."""
    code = f"import pathlib, sys; from {__name__} import {function.__name__} as f; f(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def killed(function: Callable[[Path], None], folder: Path) -> None:
    """Call a function of this module, which kills its process, in a new interpreter: a fork of this one would take
    over the locks of its threads."""
    done = called(function, folder)
    assert done.returncode == -signal.SIGKILL


def _killed_in_the_middle(folder: Path) -> None:
    def half():
        yield toy_array()[:6]
        os.kill(os.getpid(), signal.SIGKILL)

    write_toy(folder, views={"hld": ViewSource((12, 4), half, "x")})


def test_a_killed_writer_leaves_no_half_corpus(write, tmp_path):
    killed(_killed_in_the_middle, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()
    assert len(list(tmp_path.iterdir())) == 1
    write()
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert (tmp_path / "toy" / MANIFEST).is_file()


def _killed_in_between(folder: Path) -> None:
    """Overwrite `folder`; die when the old corpus has been moved aside and the new one has not its name yet."""
    rename = Path.rename

    def deadly(self, target):
        if Path(target) == folder:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", deadly)
        write_toy(folder, name="new", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_writer_killed_while_replacing_loses_nothing(write, tmp_path, overwrite):
    folder = write().folder
    killed(_killed_in_between, folder)
    assert not folder.exists()
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [".toy.partial", ".toy.replaced"]
    if overwrite:
        assert write(name="newer", overwrite=True).manifest.name == "newer"
        assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    else:
        with pytest.raises(UserError, match="exists already"):
            write(name="newer")
        assert open_corpus(folder).manifest.name == "toy"


def test_a_replaced_corpus_that_was_not_removed_yet_is_swept(write, tmp_path):
    folder = write().folder
    write(tmp_path / ".toy.replaced-1")
    assert write(name="new", overwrite=True).manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
