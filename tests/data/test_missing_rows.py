"""Rows that lack a view in the data themselves: from a table to a task."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.data.corpus import Corpus, open_corpus
from affect.data.manifest import FORMAT, OLDEST, SAMPLES
from affect.data.task import Task, column_moments
from affect.engine.plan import task_facts, unsuited
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row, Scale, Study
from affect.systems import get_system, registry
from affect.systems.base import Replicate, fit_pack, resolve_settings
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
    assert any(said.startswith("View eye is missing in 35 of the rows to fit on; shares") for said in facts.findings)
    assert corpus.manifest.format == FORMAT
    assert prepared(corpus.folder.parent, people().dropna(subset=["eeg_a", "eye_a"])).manifest.format == OLDEST


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
        "clips.csv: column split: row c155 of test lacks view eye, but only rows of train and unlabelled may lack one; make it "
        "unlabelled or leave it out."
    )
    assert refused(lambda f: empty(f, range(120), "eye_a", "eye_b"), *both) == (
        "clips.csv: column split: no row of train has view eye; leave the view out."
    )
    assert "has_eye says which rows have view eye" in refused(nothing, *both, "--target", "has_eye=score:0:9")
    assert "--may-lack eye=...: eye is given twice" in refused(nothing, *both, "--may-lack", "eye=with_eye")
    assert refused(nothing, "--may-lack", "eye=") == "--may-lack eye=: expected VIEW or VIEW=COL."
    assert "view eye: column eye_there is the mask of view eye, not a feature" in refused(
        lambda f: f.insert(0, "eye_there", 1), "--may-lack", "eye=eye_there"
    )
    assert refused(lambda f: f.fillna(0.0, inplace=True), *both[:2]) == (
        "--may-lack eeg: no row of clips.csv is without numbers; leave it out, or name the column that tells."
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
    samples.drop(columns="has_eye").to_parquet(corpus.folder / SAMPLES)
    with pytest.raises(UserError, match="column has_eye is missing"):
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
    assert labelled.inputs.present is None, "scored rows have every view"
    assert len(labelled.inputs) == whole[task.labelled(0)].sum()


def test_hiding_leaves_every_class_a_whole_row_with_a_label(corpus):
    for seed in range(60):
        task = open_task(corpus, fraction=0.05, missing=0.5)
        data = task.fit_data(seed)
        own = corpus.present(["eeg", "eye"])[data.train.rows[data.labelled]].all(axis=1)
        left = data.train.present[data.labelled].all(axis=1)
        for mood in (0, 1):
            of_class = data.y_labelled[:, 0] == mood
            room = left.sum() >= 2
            assert left[of_class].any() or not own[of_class].any() or not room


def test_a_copy_is_found_in_the_views_that_both_have(tmp_path):
    g = np.random.default_rng(1)
    frame = people().drop(index=2).reset_index(drop=True)
    for column in "defghij":
        frame[f"eeg_{column}"] = g.normal(size=len(frame))
    eeg = [column for column in frame if column.startswith("eeg_")]
    lacking = np.flatnonzero(frame["eye_a"].isna() & (frame["split"] == "train"))[:3]
    test = np.flatnonzero(frame["split"] == "test")[:3]
    frame.loc[test[0], eeg] = frame.loc[lacking[0], eeg].to_numpy()
    frame.loc[test[1:], eeg] = frame.loc[lacking[1:], eeg].to_numpy() + 1e-3
    found = {each.kind: each.sentence for each in prepared(tmp_path, frame, "--may-lack", "eye").manifest.findings}
    first, second = (frame["clip"][rows[:2]].tolist() for rows in (test, lacking))
    assert "1 of 60 rows of development and test" in found["rows_recur"]
    assert f"such as {first[0]} of test and {second[0]} of train" in found["rows_recur"]
    assert "2 of 60 rows" in found["rows_nearly_recur"]


def resolved(corpus: Corpus, *rows: Row, **overrides: str) -> Resolved:
    study = Study("s", "S", "P", (), "accuracy", {"demo": Scale("c", rows, 1)}, ())
    facts = corpus.facts("as_published", view="eeg+eye")
    return Resolved(study, "demo", facts, rows, (1.0,), 1, 1, "paper", "as_published", overrides, "cpu")


def test_what_takes_every_view_is_left_out(corpus):
    def why(row: Row, **overrides: str) -> str:
        return unsuited(resolved(corpus, row, **overrides), row)

    assert why(Row("SMVAE")) == ""
    assert why(Row("M2")) == "takes every view of a row, and 1 of the rows to fit on in out lack eeg."
    assert why(Row("M2", only=1)) == "takes eye alone, which 35 of the rows to fit on in out lack."
    assert why(Row("SiMVAE")) == "does without eye alone, and 1 of the rows to fit on in out lack eeg."
    assert why(Row("SiMVAE"), incomplete="all") == ""
    assert "discards rows" in why(Row("SiMVAE", missing=0.1, discard=True))
    whole = resolved(corpus, Row("M2"))
    whole = replace(whole, corpus=replace(whole.corpus, lacking=()))
    assert unsuited(whole, Row("M2")) == unsuited(whole, Row("M2", missing=0.1, discard=True)) == ""
    assert "a share of 0.1 lacks eye" in unsuited(whole, Row("M2", missing=0.1))
    with pytest.raises(UserError, match="1 of 140 rows to fit on have none of eeg; name other views with --view"):
        corpus.facts("as_published", view="eeg")


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.5, 0.9])
def test_planning_knows_about_how_many_rows_are_whole(tmp_path, missing):
    corpus = prepared(tmp_path, people().drop(index=2), "--may-lack", "eye")
    facts = corpus.facts("as_published", view="eeg+eye")
    for transductive in (False, True):
        task = open_task(corpus, missing=missing, transductive=transductive)
        known = task_facts(facts, task.spec).n_complete
        for data in map(task.fit_data, range(5)):
            pool = slice(None) if data.pool is None else data.pool
            whole = int(data.train.present[pool].all(axis=1).sum())
            assert whole <= known + 1
            assert transductive or whole >= known - 2


TASKS = {"plain": {}, "hidden": {"missing": 0.3}, "transductive": {"transductive": True}}
CAPABLE = [name for name in registry() if get_system(name).may_lack(resolve_settings(get_system(name), "paper"), 2)]


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", CAPABLE)
def test_a_pack_of_seeds_fits_on_them(corpus, tmp_path, name, kind):
    """Whatever of the rows each seed has whole."""
    system = get_system(name)
    if name == "SDGM+":  # needs a view that all rows have
        corpus = prepared(tmp_path, people().drop(index=2), "--may-lack", "eye")
    few = {"hidden": "8", "latent": 3, "epochs": 2}
    beforehand = {f"{prefix}{key}": value for prefix in ("inputs_", "imputer_") for key, value in few.items()}
    for preset, fixed in system.presets.items():
        batches = {"batches": 2} if "batches" in fixed else {"batch_size": 20}
        own = {**few, **batches, **beforehand, **({"incomplete": "all"} if name == "SiMVAE" else {})}
        settings = resolve_settings(system, preset, own)
        task = open_task(corpus, **TASKS[kind])
        packed = fit_pack(system, [Replicate(task.fit_data(seed), settings, seed) for seed in range(4)], device="cpu")
        assert [fit.status for fit in packed] == ["complete"] * 4
        train = task.fit_data(3).train
        assert packed[3].impute is None or np.isfinite(packed[3].impute(train)).all()
        (alone,) = fit_pack(system, [Replicate(task.fit_data(3), settings, 3)], device="cpu")
        np.testing.assert_array_equal(alone.predict(train), packed[3].predict(train))
