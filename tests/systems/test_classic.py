"""Classifiers on all views: what they see, what development data pick, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affect.errors import UserError
from affect.systems import get_system, graphs
from affect.systems.base import Fit, Replicate, fit_pack, resolve_settings
from affect.systems.classic import GraphClassifier, TransductiveSVM, svm_candidates
from affect.systems.training import facts_of
from tests.systems.toy import class_data, toy_data

NAMES = ("logistic", "SVM", "TSVM", "AMMSS", "AMGL")


def fitted(name: str, data, **settings) -> Fit:
    system = get_system(name)
    given = resolve_settings(system, "paper", settings)
    system.structure(given, facts_of(data))
    (fit,) = fit_pack(system, [Replicate(data, given, 0)], device="cpu")
    return fit


def accuracy(fit: Fit, data) -> float:
    return float(np.mean(fit.predict(data.development) == data.y_development))


@pytest.mark.parametrize("name", NAMES)
def test_classes_are_told_apart(name):
    data = class_data()
    fit = fitted(name, data)
    predicted = fit.predict(data.development)
    assert predicted.shape == (100, 1)
    assert set(np.unique(predicted)) <= {0.0, 1.0, 2.0}
    assert accuracy(fit, data) > 0.65


@pytest.mark.parametrize("name", ["TSVM", "AMMSS", "AMGL"])
def test_the_pool_alone_is_unlabelled_data(name):
    """In a transductive task rows outside the pool change nothing, rows of the pool do."""
    data = class_data()
    beside = np.arange(200, 240)
    labelled = data.labelled[data.labelled < 200]
    given = replace(
        data, labelled=labelled, y_labelled=data.y_labelled[: len(labelled)], pool=np.concatenate([labelled, beside])
    )
    first = fitted(name, given).predict(data.development)
    for changed, same in ((np.arange(240), False), (np.setdiff1d(np.arange(200), labelled), True)):
        arrays = tuple(array.copy() for array in data.train.arrays)
        for array in arrays:
            array[np.setdiff1d(changed, labelled)] += 3
        other = fitted(name, replace(given, train=replace(data.train, arrays=arrays)))
        assert np.array_equal(other.predict(data.development), first) == same


def test_rows_of_the_graphs_keep_the_labels_that_were_spread_to_them():
    data = class_data()
    x = data.train.numpy()
    y = np.full(len(x), -1.0)
    y[data.labelled] = data.y_labelled[:, 0]
    found = GraphClassifier(graphs.amgl(), 5, (5, 4)).fit(x, y)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_array_equal(found.predict(x[order]), found.found.predict()[order])
    np.testing.assert_array_equal(found.predict(x[data.labelled]), data.y_labelled[:, 0])
    new = data.development.numpy()
    mixed = found.predict(np.concatenate([new[:50], x[:7]]))
    np.testing.assert_array_equal(mixed[50:], found.found.predict()[:7])
    np.testing.assert_array_equal(mixed[:50], found.predict(new)[:50])


def test_development_data_pick_the_cost():
    data = class_data(labelled=60)
    x, y = data.train.numpy(data.labelled), data.y_labelled[:, 0]
    development, truth = data.development.numpy(), data.y_development[:, 0]
    scores = [np.mean(svm.fit(x, y).predict(development) == truth) for svm in svm_candidates({}, data.train.widths)]
    assert min(scores) < max(scores)
    assert accuracy(fitted("SVM", data), data) == max(scores)


def test_rows_of_target_minus_one_are_unlabelled():
    data = class_data()
    x, y = data.train.numpy(), data.y_labelled[:, 0]
    rest = np.setdiff1d(np.arange(len(x)), data.labelled)
    rows = np.concatenate([data.labelled, rest])
    marked = TransductiveSVM(0.1, 1.0).fit(x[rows], np.concatenate([y, np.full(len(rest), -1.0)]))
    alone = TransductiveSVM(0.1, 1.0).fit(x[data.labelled], y)
    assert not np.allclose(marked.found.weights, alone.found.weights, rtol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_a_label_is_said(name):
    data = class_data()
    kept = data.y_labelled[:, 0] != 1
    data = replace(data, labelled=data.labelled[kept], y_labelled=data.y_labelled[kept])
    with pytest.raises(UserError, match=rf"^{name}: none of the \d+ labelled rows is of class 1 of emotion\.$"):
        fitted(name, data)


def test_tasks_of_the_other_kind_are_refused():
    with pytest.raises(UserError, match="AMGL tells classes apart; arousal, valence, dominance has none"):
        fitted("AMGL", toy_data())
    with pytest.raises(UserError, match="ridge predicts values; emotion has classes"):
        fitted("ridge", class_data())


def test_more_neighbours_than_rows_are_refused():
    with pytest.raises(UserError, match="300 neighbours of a row need 301 other rows"):
        fitted("AMMSS", class_data(), neighbours=300)
