"""Rows that lack a view in the data themselves: from a table to a task."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.choices import unfit_for
from affect.data.corpus import Corpus, open_corpus
from affect.data.manifest import SAMPLES
from affect.data.task import Task, column_moments
from affect.errors import UserError
from affect.study import Row
from affect.systems import get_system
from affect.systems.base import Replicate, resolve_settings
from affect.trial import TaskSpec
from tests.data.test_table import run

ROWS = {"train": 120, "development": 30, "test": 30, "unlabelled": 20}
TRAIN = slice(0, 120)
CLASSES = ("low", "high")


def people() -> pd.DataFrame:
    """Two views; of the rows to fit on every fourth lacks `eye`, and row 2 lacks `eeg`."""
    g = np.random.default_rng(0)
    n = sum(ROWS.values())
    frame = pd.DataFrame(g.normal(3, 2, (n, 5)), columns=["eeg_a", "eeg_b", "eeg_c", "eye_a", "eye_b"])
    frame.insert(0, "clip", [f"c{row}" for row in range(n)])
    frame["split"], frame["score"] = np.repeat(list(ROWS), list(ROWS.values())), 3
    frame["mood"] = [CLASSES[row % 2] for row in range(n)]
    frame.loc[frame["split"] == "unlabelled", "mood"] = ""
    lacks = (np.arange(n) % 4 == 0) & frame["split"].isin(["train", "unlabelled"])
    frame.loc[lacks, ["eye_a", "eye_b"]] = np.nan
    frame.loc[2, ["eeg_a", "eeg_b", "eeg_c"]] = np.nan
    return frame


def prepared(folder: Path, frame: pd.DataFrame, *options: str, eye: str = "columns:eye_*") -> Corpus:
    frame.to_csv(folder / "clips.csv", index=False)
    given = ("--target", "mood=mood:low,high", "--view", f"eye={eye}", *options, "--overwrite")
    return run(folder, *given, view="eeg=columns:eeg_*")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return prepared(tmp_path, people(), "--may-lack", "eye", "eeg")


def open_task(corpus: Corpus, view: str = "eeg+eye", fraction: float = 0.5, **changes) -> Task:
    spec = TaskSpec(corpus.manifest.fingerprint, view, ("mood",), "accuracy", "as_published", fraction, **changes)
    return Task(corpus, spec)


def test_empty_cells_are_rows_without_the_view(corpus):
    frame = people()
    there = ~frame[["eeg_a", "eye_a"]].isna().to_numpy()
    np.testing.assert_array_equal(corpus.present(["eeg", "eye"]), there)
    np.testing.assert_array_equal(corpus.present(["eye"]), there[:, 1:])
    np.testing.assert_array_equal(corpus.view("eye"), frame[["eye_a", "eye_b"]].fillna(0).to_numpy(np.float32))
    assert corpus.samples["mood"].tolist()[:3] == [0, 1, 0]
    assert np.isnan(corpus.samples["mood"].iloc[-1])
    facts = corpus.facts("as_published", view="eeg+eye")
    assert (facts.lacking, facts.classes) == ((1, 35), 2)
    assert "View eye is missing in 35 rows to fit on." in facts.findings


def test_every_way_of_saying_it_gives_the_same_corpus(corpus, tmp_path):
    frame = people()
    frame["with_eye"] = frame["eye_a"].notna().astype(int)
    told = prepared(tmp_path, frame, "--may-lack", "eeg", "eye=with_eye")
    known = frame[["clip", "eye_a", "eye_b"]].dropna().sample(frac=1, random_state=1)
    known.to_csv(tmp_path / "eye.csv", index=False)
    apart = prepared(tmp_path, frame, "--may-lack", "eeg", "eye", eye=str(tmp_path / "eye.csv"))
    frame[["eye_a", "eye_b"]] = frame[["eye_a", "eye_b"]].fillna(0)
    zeros = prepared(tmp_path, frame, "--may-lack", "eeg", "eye=with_eye")
    found = {each.manifest.fingerprint for each in (told, apart, zeros)}
    assert found == {corpus.manifest.fingerprint}
    frame.loc[0, ["eye_a", "eye_b", "with_eye"]] = [0, 0, 1]
    assert prepared(tmp_path, frame, "--may-lack", "eeg", "eye=with_eye").manifest.fingerprint not in found


def empty(frame: pd.DataFrame, rows: object, *columns: str) -> None:
    frame.loc[rows, list(columns)] = np.nan


def test_what_contradicts_itself_is_refused(tmp_path):
    def refused(change, *options: str) -> str:
        frame = people()
        frame["with_eye"] = frame["eye_a"].notna().astype(int)
        change(frame)
        with pytest.raises(UserError) as error:
            prepared(tmp_path, frame, *options)
        assert not (tmp_path / "out").exists()
        return str(error.value).replace(f"{tmp_path}/", "")

    def nothing(frame: pd.DataFrame) -> None:
        pass

    both = ("--may-lack", "eeg", "eye")
    mask = ("--may-lack", "eeg", "eye=with_eye")
    assert "clips.csv: view eeg, row c2, column eeg_a: the feature is nan" in refused(nothing)
    assert "view eye, row c0, column eye_a: the feature is nan" in refused(nothing, *both[:2])
    assert "view eye, row c3, column eye_a: the feature is nan" in refused(lambda f: empty(f, 3, "eye_a"), *both)
    assert refused(lambda f: f.__setitem__("with_eye", f["with_eye"].where(f.index != 1, 0)), *mask) == (
        "clips.csv: view eye, row c1: holds features, but is said to lack this view."
    )
    assert refused(lambda f: f.__setitem__("with_eye", f["with_eye"].where(f.index != 4, 1)), *mask) == (
        "clips.csv: view eye, row c4: is empty, but is said to have this view."
    )
    assert "column with_eye, row c1: 0.5 is neither 1 nor 0" in refused(
        lambda f: f.__setitem__("with_eye", f["with_eye"].where(f.index != 1, 0.5)), *mask
    )
    assert refused(lambda f: empty(f, 0, "eeg_a", "eeg_b", "eeg_c"), *both) == (
        "clips.csv: row c0 has no view at all; leave it out."
    )
    assert refused(lambda f: empty(f, 155, "eye_a", "eye_b"), *both) == (
        "clips.csv: row c155 of test lacks view eye, but only rows of train and unlabelled may lack one; make it "
        "unlabelled or leave it out."
    )
    assert refused(lambda f: empty(f, range(120), "eye_a", "eye_b"), *both) == (
        "clips.csv: no row of train has view eye; leave the view out."
    )
    assert "target has_eye would say which rows have view eye" in refused(
        nothing, *both, "--target", "has_eye=score:0:9"
    )
    assert refused(nothing, "--may-lack", "ecg") == "--may-lack ecg: unknown view ecg; --view names eeg, eye."
    assert "row c1: 'none' is none of the classes low, high" in refused(
        lambda f: f.__setitem__("mood", f["mood"].where(f.index != 1, "none")), *both
    )


def test_a_corpus_that_was_changed_by_hand_is_refused(corpus):
    samples = pd.read_parquet(corpus.folder / SAMPLES)
    for row, value, sentence in ((155, 0.0, "row c155 of test lacks view eye"), (0, 0.3, "other values than 0 and 1")):
        changed = samples.copy()
        changed.loc[row, "has_eye"] = value
        changed.to_parquet(corpus.folder / SAMPLES)
        with pytest.raises(UserError, match=re.escape(sentence)):
            open_corpus(corpus.folder).present(["eye"])


def test_a_task_takes_means_for_them_and_hides_others_beside(corpus):
    frame = people()
    there = corpus.present(["eeg", "eye"])
    task = open_task(corpus)
    data = task.fit_data(0)
    np.testing.assert_array_equal(data.train.present, there[data.train.rows])
    assert not data.train.numpy()[~data.train.present[:, 1], 3:].any(), "the training mean, where there is nothing"
    seen = np.flatnonzero(there[TRAIN, 1])
    mean, _ = column_moments(frame[["eye_a", "eye_b"]].to_numpy(np.float32), seen)
    np.testing.assert_allclose(data.train.mean[3:], mean, rtol=1e-6)
    assert data.development.present is None
    assert task.incomplete(0) is None, "nobody knows the truth"

    hiding = open_task(corpus, missing=0.4)
    present = hiding.fit_data(0).train.present
    whole = there[data.train.rows].all(axis=1)
    np.testing.assert_array_equal(present[~whole], there[data.train.rows][~whole])
    assert (~present[whole, 1]).sum() == pytest.approx(0.4 * whole.sum(), abs=1)
    assert present[:, 0].sum() == whole.size - 1
    hidden = hiding.incomplete(0)
    np.testing.assert_array_equal(np.sort(hidden.rows), np.sort(data.train.rows[whole & ~present[:, 1]]))
    train = hiding.fit_data(0).train
    own = replace(train, present=there[train.rows]).numpy()
    assert hiding.norm_of_last_view(0) == pytest.approx(np.linalg.norm(own[:, 3:]))
    for seed in range(20):
        present = hiding.fit_data(seed).train.present
        assert present.any(axis=1).all(), "what lacks the first view keeps the last"
        assert (~present[whole, 1]).sum() == pytest.approx(0.4 * whole.sum(), abs=1)
    labelled, *_ = open_task(corpus).parts(0)
    there_of = there[labelled.inputs.rows]
    assert not labelled.inputs.numpy()[~there_of[:, 1], 3:].any()


def test_what_takes_every_view_is_left_out(corpus):
    facts = corpus.facts("as_published", view="eeg+eye")
    assert unfit_for(Row("SMVAE"), facts) == ""
    assert unfit_for(Row("M2"), facts) == "takes every view of a row, and 1 of the rows to fit on in out lack eeg."
    assert (
        unfit_for(Row("M2", only=1), facts)
        == "takes every view of a row, and 35 of the rows to fit on in out lack eye."
    )
    assert "discards" in unfit_for(Row("SiMVAE", missing=0.1, discard=True), facts)
    complete = replace(facts, lacking=())
    assert unfit_for(Row("M2"), complete) == ""
    assert "a share of 0.1 lacks one" in unfit_for(Row("M2", missing=0.1), complete)
    with pytest.raises(UserError, match="1 of 140 rows to fit on lack view eeg"):
        corpus.facts("as_published", view="eeg")


@pytest.mark.parametrize("name", ["SMVAE", "SiMVAE", "CoNet", "SoftImputeALS"])
def test_systems_fit_on_them(corpus, name):
    system = get_system(name)
    small = {"hidden": "8", "latent": 4, "epochs": 2, "batch_size": 20, "incomplete": "all"}
    settings = resolve_settings(system, "paper", small)
    fitting = system.begin([Replicate(open_task(corpus).fit_data(0), settings, 0)], device="cpu")
    while fitting.epoch < fitting.epochs:
        fitting.advance()
    (fit,) = fitting.fits()
    assert fit.status == "complete"
    assert fit.impute is None or np.isfinite(fit.impute(open_task(corpus).fit_data(0).train)).all()
