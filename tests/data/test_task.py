"""Tasks: what a fit may see, what it is normalised with, and the version that pins all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from affect.data.corpus import Corpus, TargetInfo
from affect.data.task import CLIP, Task, column_moments, labelled_count
from affect.data.writer import array_view, write_corpus
from affect.engine.plan import task_facts
from affect.errors import UserError
from affect.trial import TaskSpec, Trial

TARGETS = ("arousal", "valence")
SIZES = {"train": 1000, "development": 30, "test": 20, "unlabelled": 50}
Open = Callable[..., Task]

PINNED = {
    1: {
        "labelled": [47, 108, 189, 248, 271, 692, 829, 942, 996],
        "saw tooth": [-1.603226, -1.335754, -0.5333388, 1.606436],
        "outlier": [-0.0316386, 31.606962, -0.0316386],
        "clipped": [-100.0, 0.0, -31.670240],
        "mean": [2.72222222, 3.0],
        "std": [0.85346064, 0.83147942],
    }
}
"""Version of `TaskSpec` → what a task at 1 % of the labels and seed 5 gives."""


def made_samples() -> pd.DataFrame:
    """Every tenth training row lacks arousal, unlabelled rows lack both; the numbers come from a formula."""
    n = sum(SIZES.values())
    row = np.arange(n)
    partition = np.repeat(list(SIZES), list(SIZES.values()))
    bare = partition == "unlabelled"
    return pd.DataFrame(
        {
            "id": [f"clip{i}" for i in row],
            "partition": partition,
            "arousal": np.where(bare | ((partition == "train") & (row % 10 == 0)), np.nan, 1 + row % 7 / 2),
            "valence": np.where(bare, np.nan, 1 + row % 11 / 3),
        }
    )


def made_array() -> np.ndarray:
    """[N, 3]: a saw tooth, a constant, a column with one enormous value in a training row and one in a test row."""
    n = sum(SIZES.values())
    x = np.stack([np.arange(n) % 13 / 4, np.full(n, 3.3), np.arange(n) % 5], axis=1)
    x[4, 2] = 1e12
    x[SIZES["train"] + SIZES["development"] + 1, [0, 2]] = -1e12
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(
        tmp_path_factory.mktemp("task") / "made",
        name="made",
        title="Made",
        banner="made: by a formula",
        synthetic=True,
        source="tests",
        licence="none",
        samples=made_samples(),
        targets=dict.fromkeys(TARGETS, TargetInfo(1, 5)),
        groups="unknown",
        protocols={"as_published": "partition"},
        views={"hld": array_view(made_array(), "x"), "lld": array_view(np.zeros((1100, 2, 2), np.float32), "x")},
    )


def spec_of(corpus: Corpus, fraction: float = 1.0, **changes) -> TaskSpec:
    spec = TaskSpec(corpus.manifest.fingerprint, "hld", TARGETS, "ccc", "as_published", fraction)
    return replace(spec, **changes)


@pytest.fixture
def task(corpus: Corpus) -> Open:
    return lambda fraction=1.0, **changes: Task(corpus, spec_of(corpus, fraction, **changes))


def test_subsets_are_nested(task):
    fractions = (0.01, 0.02, 0.1, 1.0)
    for seed in (0, 1):
        subsets = [set(task(fraction).labelled(seed).tolist()) for fraction in fractions]
        assert [len(subset) for subset in subsets] == [9, 18, 90, 900]
        assert all(small < large for small, large in pairwise(subsets))
    assert set(task(0.1).labelled(0).tolist()) != set(task(0.1).labelled(1).tolist())
    assert set(task(0.1, fold=1).labelled(0).tolist()) != set(task(0.1).labelled(0).tolist())


def test_inputs_are_normalised_with_all_training_rows_and_no_other(task, write):
    x = made_array()
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (x - x[:1000].mean(axis=0, dtype=np.float64)) / x[:1000].std(axis=0, dtype=np.float64)
    z = np.clip(np.where(np.isfinite(z), z, 0), -CLIP, CLIP)
    for fraction in (1.0, 0.01):
        fit = task(fraction).fit_data(0)
        np.testing.assert_allclose(
            fit.train.numpy()[:, [0, 2]], np.delete(z, slice(1000, 1050), 0)[:, [0, 2]], atol=2e-5
        )
        np.testing.assert_allclose(fit.development.numpy()[:, [0, 2]], z[1000:1030, [0, 2]], atol=2e-5)
    spoilt = made_array()
    spoilt[1000:] += 7
    moved = write(
        samples=made_samples(),
        groups="unknown",
        protocols={"as_published": "partition"},
        views={"hld": array_view(spoilt, "x")},
    )
    there = Task(moved, spec_of(moved)).fit_data(0).train.numpy()
    np.testing.assert_array_equal(there[:1000], task().fit_data(0).train.numpy()[:1000])


def test_targets_are_normalised_with_the_labelled_subset_alone(task):
    samples = made_samples()
    for fraction in (1.0, 0.1):
        fit = task(fraction).fit_data(3)
        y = samples.loc[fit.labelled, list(TARGETS)].to_numpy()
        np.testing.assert_array_equal(fit.y_labelled, y)
        np.testing.assert_allclose(fit.target_mean, y.mean(axis=0))
        np.testing.assert_allclose(fit.target_std, y.std(axis=0))
    assert np.abs(task(0.1).fit_data(3).target_mean - task().fit_data(3).target_mean).min() > 1e-3


def test_constant_columns_and_outliers_stay_finite(task):
    fit = task().fit_data(0)
    parts = [part.inputs.numpy() for part in task().parts(0)]
    for inputs in (fit.train.numpy(), fit.development.numpy(), *parts):
        assert np.isfinite(inputs).all()
        assert np.abs(inputs).max() <= CLIP
        assert not inputs[:, 1].any()
    assert parts[2][1, 0] == -CLIP
    mean, scale = column_moments(made_array(), np.arange(1000), chunk=7)
    assert mean[2] == pytest.approx(1e9)
    assert 1 / scale[2] == pytest.approx(1e12 * np.sqrt(999) / 1000)


def test_the_pool_is_all_training_rows_and_the_unlabelled_part(task, corpus):
    for fraction in (1.0, 0.01):
        fit = task(fraction).fit_data(0)
        assert fit.train.rows.tolist() == [*range(1000), *range(1050, 1100)]
        assert (fit.n_train, len(fit.train)) == (1000, 1050)
        assert fit.labelled.max() < fit.n_train
        assert (fit.labelled % 10 != 0).all(), "rows without arousal are inputs only"


def test_planning_knows_the_sizes_of_a_fit(task, corpus):
    for targets in (TARGETS, ("valence",)):
        facts = task_facts(corpus.facts("as_published", targets), spec_of(corpus, 0.1, targets=targets))
        fit = task(0.1, targets=targets).fit_data(0)
        assert facts.n_labelled == len(fit.labelled) == (90 if targets == TARGETS else 100)
        assert (facts.n_pool, facts.n_development) == (len(fit.train), len(fit.development))
        assert (facts.width, facts.targets) == (fit.train.width, fit.targets)


def test_a_fit_sees_no_test_target_and_no_label_outside_the_subset(corpus, task, write):
    """Other test targets, and other labels left out of the subset, change nothing that a fit is given."""
    samples = made_samples()
    chosen = task(0.1).labelled(0)
    hidden = samples["partition"].isin(["train", "test"]) & ~samples.index.isin(chosen)
    other = samples.assign(arousal=samples["arousal"].where(~hidden | samples["arousal"].isna(), 2.0))
    changed = write(
        samples=other,
        groups="unknown",
        protocols={"as_published": "partition"},
        views={"hld": array_view(made_array(), "x")},
    )
    one, two = task(0.1).fit_data(0), Task(changed, spec_of(changed, 0.1)).fit_data(0)
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        np.testing.assert_array_equal(a.numpy() if hasattr(a, "numpy") else a, b.numpy() if hasattr(b, "numpy") else b)
    test_rows = set(range(1030, 1050))
    assert not test_rows & {*one.train.rows.tolist(), *one.development.rows.tolist()}
    parts = task(0.1).parts(0)
    assert [(part.name, len(part.targets)) for part in parts] == [("train", 90), ("development", 30), ("test", 20)]
    np.testing.assert_array_equal(parts[2].targets, samples.loc[1030:1049, list(TARGETS)])
    assert parts[2].ids.tolist() == [f"clip{i}" for i in range(1030, 1050)]


def test_a_change_of_meaning_needs_a_new_version(task):
    """When this fails on purpose, raise `TaskSpec.version` and pin the new numbers under it."""
    opened = task(0.01)
    fit = opened.fit_data(5)
    found = {
        "labelled": fit.labelled,
        "saw tooth": fit.train.numpy()[[0, 1, 4, 12], 0],
        "outlier": fit.train.numpy()[[0, 4, 1049], 2],
        "clipped": opened.parts(5)[2].inputs.numpy()[1],
        "mean": fit.target_mean,
        "std": fit.target_std,
    }
    assert opened.spec.version == max(PINNED)
    for name, values in PINNED[opened.spec.version].items():
        assert found[name] == pytest.approx(values, rel=1e-5), name


def test_the_version_is_part_of_every_id(corpus):
    spec = spec_of(corpus)
    ids = {Trial("toy", 1, "paper", {}, replace(spec, version=version), 0, "cpu").id for version in (1, 2, 3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"selection": "last"}, "Task selection last: not known here; there is best_development alone."),
        ({"version": 2}, "Task version 2: not known here; there is 1 alone."),
        ({"targets": ("arousal", "joy")}, "unknown target joy; the corpus has arousal, valence."),
        ({"view": "lld"}, r"view lld has shape \[1100, 2, 2\], but systems take rows of features \[N, D\]"),
    ],
)
def test_specs_that_are_refused(task, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        task(**changes)


def test_a_partition_without_a_row_for_all_targets(write):
    samples = made_samples()
    samples.loc[1000:1014, "arousal"] = samples.loc[1015:1029, "valence"] = np.nan
    corpus = write(
        samples=samples,
        groups="unknown",
        protocols={"as_published": "partition"},
        views={"hld": array_view(made_array(), "x")},
    )
    assert len(Task(corpus, spec_of(corpus, targets=("valence",))).fit_data(0).development) == 15
    with pytest.raises(UserError, match="partition development has no row labelled for arousal, valence under"):
        Task(corpus, spec_of(corpus))


@pytest.mark.parametrize("fraction", [float("nan"), float("inf"), float("-inf"), -0.1, 0.0, 1.01])
def test_fractions_outside_their_range(fraction):
    with pytest.raises(UserError, match=rf"Label fraction {fraction:g} leaves the range \(0, 1\]"):
        labelled_count(1000, fraction)


def test_fractions_that_leave_too_little():
    assert labelled_count(1000, 0.008) == 8
    with pytest.raises(UserError, match=r"Label fraction 0\.007 leaves 7 of 1000 labelled training rows"):
        labelled_count(1000, 0.007)
