"""Opening a corpus: exact values, memory maps, protocols, and what is refused."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from affect.data.corpus import open_corpus
from affect.data.manifest import FORMAT, MANIFEST, OLDEST, SAMPLES
from affect.data.task import Task
from affect.data.writer import array_view
from affect.errors import UserError
from affect.trial import TaskSpec


def change_manifest(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / MANIFEST).read_text())
    for key, value in changes.items():
        if value is None:
            del raw[key]
        else:
            raw[key] = value
    (folder / MANIFEST).write_text(json.dumps(raw))


def test_round_trip_keeps_every_value(write, samples, array):
    corpus = open_corpus(write().folder)
    view = corpus.view("hld")
    assert isinstance(view, np.memmap)
    assert not view.flags.writeable
    np.testing.assert_array_equal(view, array)
    for column in ("id", "partition"):
        assert corpus.samples[column].tolist() == samples[column].tolist()
    for column in ("arousal", "valence"):
        np.testing.assert_array_equal(corpus.samples[column], samples[column])
    assert corpus.samples["group"][:10].tolist() == samples["group"][:10].tolist()
    assert corpus.samples["group"][10:].isna().all()


def test_facts_count_labelled_rows(write):
    facts = write().facts("leak_free")
    assert facts.rows == {"train": 5, "development": 2, "test": 2, "unlabelled": 2}
    assert (facts.view, facts.width, facts.has_text, facts.groups) == ("hld", 4, False, "speaker")
    assert facts.findings == ()


def test_facts_count_for_the_targets_of_a_study(write, samples):
    facts = write().facts("as_published", ["valence"])
    assert facts.rows == {"train": 6, "development": 2, "test": 2, "unlabelled": 2}
    assert facts.pool == write(overwrite=True).facts("as_published").pool == 8
    with pytest.raises(UserError, match="toy: unknown target joy; the corpus has arousal, valence"):
        write(overwrite=True).facts("as_published", ["arousal", "joy"])


def test_task_reads_a_written_corpus(write, samples):
    copies = [samples.assign(id=samples["id"] + f"-{i}") for i in range(4)]
    corpus = write(
        samples=pd.concat(copies, ignore_index=True),
        views={"hld": array_view(np.random.default_rng(1).normal(size=(48, 3)), "x")},
    )
    spec = TaskSpec(corpus.manifest.fingerprint, "hld", ("arousal", "valence"), "ccc", "leak_free", 1.0)
    fit = Task(corpus, spec).fit_data(0)
    assert len(fit.train) == 32
    assert len(fit.labelled) == 20
    assert fit.train.width == 3


def test_opening_reads_the_manifest_only(write):
    folder = write().folder
    (folder / SAMPLES).unlink()
    (folder / "views" / "hld.npy").unlink()
    corpus = open_corpus(folder)
    assert corpus.manifest.rows == 12
    with pytest.raises(UserError, match="sample table is missing"):
        _ = corpus.samples
    with pytest.raises(UserError, match="file is missing"):
        corpus.view("hld")


def test_a_pickled_corpus_leaves_its_samples_behind(write):
    corpus = write()
    before = len(pickle.dumps(corpus))
    assert len(corpus.samples) == 12
    assert len(pickle.dumps(corpus)) == before
    assert pickle.loads(pickle.dumps(corpus)) == corpus


def test_truncated_view(write):
    corpus = write()
    file = corpus.folder / "views" / "hld.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(UserError, match=rf"{re.escape(str(file))}: view hld is truncated: {len(whole) - 5} bytes"):
        corpus.view("hld")
    file.write_bytes(whole + b"x")
    with pytest.raises(UserError, match="too long"):
        corpus.view("hld")
    file.write_bytes(whole[:20])
    with pytest.raises(UserError, match=r"not a readable \.npy file"):
        corpus.view("hld")


@pytest.mark.parametrize("other", [np.zeros((11, 4), np.float32), np.zeros((12, 4), np.float64)])
def test_view_that_differs_from_the_manifest(write, other):
    corpus = write()
    np.save(corpus.folder / "views" / "hld.npy", other)
    with pytest.raises(UserError, match="but the manifest says float32"):
        corpus.view("hld")


def test_view_of_objects_is_never_unpickled(write):
    corpus = write()
    np.save(corpus.folder / "views" / "hld.npy", np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(UserError, match="which no view does"):
        corpus.view("hld")


def test_unknown_view_and_protocol(write):
    corpus = write(protocols={"as_published": "partition"}, groups="unknown")
    with pytest.raises(UserError, match="unknown view lld; the corpus has hld"):
        corpus.view("lld")
    with pytest.raises(UserError, match="protocol other is not offered"):
        corpus.partition("other")


def test_views_belong_to_protocols(write, array):
    corpus = write(
        views={
            "svd": array_view(array, "x", protocol="as_published"),
            "svd_leak_free": array_view(array[:, :2], "x", protocol="leak_free"),
        }
    )
    assert corpus.facts("as_published").view == "svd"
    facts = corpus.facts("leak_free")
    assert (facts.view, facts.width) == ("svd_leak_free", 2)
    with pytest.raises(UserError, match="protocol leak_free must not use it"):
        corpus.view("svd", "leak_free")


def test_leak_free_needs_groups(write):
    corpus = write(groups="unknown", protocols={"as_published": "partition"})
    assert [found.kind for found in corpus.manifest.findings] == ["groups_unknown"]
    assert corpus.facts("as_published").findings
    with pytest.raises(UserError, match="groups are unknown, so protocol leak_free cannot be had"):
        corpus.facts("leak_free")


def test_a_group_in_two_partitions(write, samples):
    samples.loc[8, "group"] = "a"
    corpus = write(samples=samples, protocols={"as_published": "partition"})
    (finding,) = corpus.facts("as_published").findings
    assert finding.startswith("1 of 5 groups (speaker) lie in two or more")
    assert "'a' lies in train, test" in finding
    with pytest.raises(UserError, match=r"samples\.parquet: column partition: speaker 'a' lies in train and test"):
        corpus.facts("leak_free")


def test_unlabelled_rows_may_share_a_group(write, samples):
    samples.loc[10, "group"] = "a"
    assert write(samples=samples).facts("leak_free").findings == ()


def test_sample_table_that_differs_from_the_manifest(write):
    corpus = write()
    table = pd.read_parquet(corpus.folder / SAMPLES)
    table[:-1].to_parquet(corpus.folder / SAMPLES)
    with pytest.raises(UserError, match="has 11 rows but the manifest says 12"):
        _ = open_corpus(corpus.folder).samples
    table.drop(columns="valence").to_parquet(corpus.folder / SAMPLES)
    with pytest.raises(UserError, match="column valence is missing"):
        _ = open_corpus(corpus.folder).samples
    (corpus.folder / SAMPLES).write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        _ = open_corpus(corpus.folder).samples


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (99.0, "column arousal, row .*: label 99 lies outside its scale"),
        ("high", "column arousal holds .* where numbers"),
    ],
)
def test_edited_labels(write, value, sentence):
    corpus = write()
    frame = corpus.samples.copy()
    frame["arousal"] = value
    frame.to_parquet(corpus.folder / SAMPLES)
    with pytest.raises(UserError, match=sentence):
        open_corpus(corpus.folder).facts("as_published")


def test_edited_partition(write):
    corpus = write()
    table = pd.read_parquet(corpus.folder / SAMPLES)
    table.loc[3, "partition"] = "tset"
    table.to_parquet(corpus.folder / SAMPLES)
    with pytest.raises(UserError, match="column partition, row clip3: unknown partition 'tset'"):
        open_corpus(corpus.folder).facts("as_published")


TARGET = {"low": 1, "high": 5, "kind": "continuous", "classes": []}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": OLDEST - 1}, f"format {OLDEST - 1} is older than this affect reads ({OLDEST}); run the same"),
        ({"format": FORMAT + 1}, f"format {FORMAT + 1} is newer than this affect reads"),
        ({"format": "1"}, "key format holds '1'"),
        ({"format": True}, "key format holds True"),
        ({"rows": None}, "lacks the key rows"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"rows": "12"}, "key rows holds '12'"),
        ({"name": 3}, "key name holds 3"),
        ({"name": "../results"}, "'../results' is no name for a corpus"),
        ({"views": {}}, "key views is empty"),
        ({"views": {"hld": 3}}, "views.hld is not an object"),
        ({"targets": {"arousal": TARGET | {"low": "x"}}}, "key targets.arousal.low holds 'x'"),
        ({"targets": {"arousal": TARGET | {"classes": [3]}}}, "key targets.arousal.classes holds 3 among its words"),
        ({"counts": [{"what": "rows", "published": "many", "here": 1, "why": ""}]}, "key counts.0.published holds 'm"),
        ({"protocols": {"best": "partition"}}, "unknown protocol best"),
        ({"findings": [{}]}, "findings.0 lacks the key protocol"),
        ({"findings": {}}, "key findings holds {}"),
        ({"rows": 13}, "view hld has shape [12, 4] but the corpus has 13 rows"),
    ],
)
def test_manifests_that_are_refused(write, changes, sentence):
    folder = write().folder
    change_manifest(folder, **changes)
    with pytest.raises(UserError, match=re.escape(sentence)) as error:
        open_corpus(folder)
    assert str(error.value).startswith(str(folder / MANIFEST))


def test_manifest_that_points_elsewhere(write):
    folder = write().folder
    raw = json.loads((folder / MANIFEST).read_text())
    raw["views"]["hld"]["file"] = "../../secret.npy"
    (folder / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(UserError, match="points outside the corpus"):
        open_corpus(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_manifest_that_is_no_object(write, text):
    folder = write().folder
    (folder / MANIFEST).write_text(text)
    with pytest.raises(UserError, match=re.escape(str(folder / MANIFEST))):
        open_corpus(folder)


def test_no_corpus_there(tmp_path):
    with pytest.raises(UserError, match="no corpus here"):
        open_corpus(tmp_path / "nothing")
