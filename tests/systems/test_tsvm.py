"""The transductive SVM against brute force over all label assignments of tiny sets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from affect.systems import tsvm

L, U, SHRINKAGE = 6, 8, 0.05


def tiny(seed: int, apart: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labelled rows with their constant, y, unlabelled rows with theirs): two clouds in the plane."""
    g = np.random.default_rng(seed)
    sides = np.concatenate([np.tile([1.0, -1.0], L // 2), np.repeat([1.0, -1.0], U // 2)])
    x = np.concatenate([g.standard_normal((L + U, 2)) + apart * sides[:, None], np.ones((L + U, 1))], axis=1)
    return x[:L], sides[:L], x[L:]


def value(w, t, labelled, y, unlabelled, weight=1.0) -> float:
    """J(w, t), term by term."""
    total = SHRINKAGE / 2 * sum(w**2)
    for row, label in zip(labelled, y, strict=True):
        total += max(0.0, 1 - label * (row @ w)) ** 2 / (2 * len(y))
    for row, label in zip(unlabelled, t, strict=True):
        total += weight * max(0.0, 1 - label * (row @ w)) ** 2 / (2 * len(t))
    return float(total)


def assignments(y, u):
    """All t with as large a share of +1 as y has."""
    for chosen in combinations(range(u), round(np.mean(y > 0) * u)):
        t = np.full(u, -1.0)
        t[list(chosen)] = 1.0
        yield t


def lowest(labelled, y, unlabelled):
    """The smallest J of all w and balanced t, by a general optimiser, and its t."""
    found = []
    for t in assignments(y, len(unlabelled)):
        result = minimize(value, np.zeros(3), (t, labelled, y, unlabelled), method="BFGS", options={"gtol": 1e-7})
        found.append((result.fun, tuple(t)))
    return min(found)


@pytest.mark.parametrize("seed", range(4))
def test_apart_clouds_get_the_best_labelling_of_all(seed):
    problem = tiny(seed)
    w, t = tsvm.fit_binary(*problem, SHRINKAGE, 1.0)
    best, labels = lowest(*problem)
    assert value(w, t, *problem) == pytest.approx(best, abs=1e-6)
    assert tuple(t) == labels


def test_no_other_labelling_is_better_for_its_w_and_no_other_w_for_its_labelling():
    for seed in range(20):
        problem = tiny(seed, apart=0.4)
        w, t = tsvm.fit_binary(*problem, SHRINKAGE, 1.0)
        reached = value(w, t, *problem)
        assert reached <= min(value(w, other, *problem) for other in assignments(problem[1], U)) + 1e-12
        assert reached <= minimize(value, np.zeros(3), (t, *problem), method="BFGS").fun + 1e-9
        assert (t > 0).sum() == U // 2


def test_entangled_clouds_mostly_get_the_best_labelling():
    """Annealing is a heuristic: it may end in another minimum, here in two of twelve."""
    gaps = []
    for seed in range(12):
        problem = tiny(seed, apart=0.4)
        gaps.append(value(*tsvm.fit_binary(*problem, SHRINKAGE, 1.0), *problem) - lowest(*problem)[0])
    assert min(gaps) > -1e-6
    assert sum(gap < 1e-6 for gap in gaps) >= 9


def test_unlabelled_rows_move_the_boundary_into_the_gap():
    """Two labels alone put the boundary upright; the clouds of the unlabelled rows lie above each other."""
    g = np.random.default_rng(0)
    labelled, y = np.array([[1.0, 1.0], [-1.0, -1.0]]), np.array([0.0, 1.0])
    above = g.standard_normal((60, 2)) * [1.5, 0.2] + [0, 2]
    below = g.standard_normal((60, 2)) * [1.5, 0.2] - [0, 2]
    x, truth = np.concatenate([above, below]), np.repeat([0.0, 1.0], 60)
    alone = tsvm.fit(labelled, y, np.empty((0, 2)), shrinkage=SHRINKAGE).predict(x)
    assert np.mean(alone == truth) < 0.95
    np.testing.assert_array_equal(tsvm.fit(labelled, y, x, shrinkage=SHRINKAGE).predict(x), truth)


def test_several_classes_and_one():
    g = np.random.default_rng(1)
    centres = np.array([[0.0, 4], [4, -2], [-4, -2]])
    truth = np.repeat([1.0, 3.0, 4.0], 30)
    x = centres[np.repeat(range(3), 30)] + g.standard_normal((90, 2))
    known = np.array([0, 30, 60])
    found = tsvm.fit(x[known], truth[known], x)
    assert np.mean(found.predict(x) == truth) > 0.97
    assert found.scores(x).shape == (90, 3)
    assert (tsvm.fit(x[:2], np.array([2.0, 2.0]), x).predict(x) == 2).all()


def test_labellings_that_are_as_good_as_each_other_come_to_an_end(monkeypatch):
    """Of two equal rows one is to be +1: whichever it was, the other one would do as well."""
    labelled, y, unlabelled = tiny(0)
    unlabelled = np.tile([[0.1, 0.1, 1.0]], (2, 1))
    turns = []

    def balanced(f, y):
        turns.append(f)
        assert len(turns) < 1000
        return np.array([1.0, -1.0]) * (-1) ** len(turns)

    monkeypatch.setattr(tsvm, "balanced_labels", balanced)
    _, t = tsvm.fit_binary(labelled, y, unlabelled, SHRINKAGE, 1.0)
    assert sorted(t) == [-1, 1]
