"""AMGL and AMMSS against a dense transcription of their papers, step by step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize

from affect.errors import UserError
from affect.systems import graphs

WIDTHS, K = (4, 3), 4


def clouds(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows [n, 7], classes [n], positions of labelled rows): the second view tells the classes apart less."""
    g = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    x = np.concatenate([2.5 * g.standard_normal((3, 4))[truth], 1.0 * g.standard_normal((3, 3))[truth]], axis=1)
    return x + g.standard_normal((n, 7)), truth.astype(float), np.arange(12)


def dense_graph(x: np.ndarray) -> np.ndarray:
    """The graph of Nie et al. (2016), row by row."""
    n = len(x)
    directed = np.zeros((n, n))
    for i in range(n):
        squared = np.array([np.sum((x[i] - x[j]) ** 2) if j != i else np.inf for j in range(n)])
        order = np.argsort(squared)
        nearest, beyond = order[:K], squared[order[K]]
        for j in nearest:
            directed[i, j] = (beyond - squared[j]) / (K * beyond - squared[nearest].sum())
    return (directed + directed.T) / 2


def dense_laplacian(graph: np.ndarray) -> np.ndarray:
    degree = graph.sum(1)
    return np.eye(len(graph)) - graph / np.sqrt(np.outer(degree, degree))


def dense_fit(x, y, labelled, rule, rounds):
    """(F, factors, objectives) of so many rounds: `rule` turns traces into factors of the Laplacians and the objective."""
    views = np.split(x, np.cumsum(WIDTHS)[:-1], axis=1)
    parts = [dense_laplacian(dense_graph(view)) for view in views]
    rest = np.setdiff1d(np.arange(len(x)), labelled)
    soft = np.zeros((len(x), 3))
    soft[labelled] = np.eye(3)[y[labelled].astype(int)]
    factors, objectives = np.full(2, 0.5), []
    for _ in range(rounds):
        combined = factors[0] * parts[0] + factors[1] * parts[1]
        right = -combined[np.ix_(rest, labelled)] @ soft[labelled]
        soft[rest] = np.linalg.solve(combined[np.ix_(rest, rest)], right)
        factors, value = rule([np.trace(soft.T @ part @ soft) for part in parts])
        objectives.append(value)
    return soft, factors, objectives


def amgl_rule(traces):
    return [1 / (2 * np.sqrt(t)) for t in traces], sum(np.sqrt(t) for t in traces)


def ammss_rule(r):
    def rule(traces):
        powers = np.array([(r * t) ** (1 / (1 - r)) for t in traces])
        weights = powers / powers.sum()
        return weights**r, sum(w**r * t for w, t in zip(weights, traces, strict=True))

    return rule


RULES = {
    "AMGL": (graphs.amgl(), amgl_rule),
    "AMMSS, r=1.5": (graphs.ammss(1.5), ammss_rule(1.5)),
    "AMMSS, r=4": (graphs.ammss(4.0), ammss_rule(4.0)),
}


@pytest.mark.parametrize("name", RULES)
def test_every_step_is_the_dense_transcription(name):
    weigh, rule = RULES[name]
    x, y, labelled = clouds()
    parts = [graphs.laplacian(graph) for graph in graphs.view_graphs(x, WIDTHS, K)]
    found = graphs.propagate(parts, labelled, y[labelled], weigh)
    soft, factors, objectives = dense_fit(x, y, labelled, rule, len(found.objectives))
    np.testing.assert_allclose(found.objectives, objectives, rtol=1e-8)
    np.testing.assert_allclose(found.soft, soft, atol=1e-6)
    np.testing.assert_allclose(found.factors, factors, rtol=1e-6)
    assert np.mean(found.predict() == y) > 0.75


@pytest.mark.parametrize("name", RULES)
def test_objectives_never_rise(name):
    for seed in range(10):
        x, y, labelled = clouds(seed=seed)
        parts = [graphs.laplacian(graph) for graph in graphs.view_graphs(x, WIDTHS, K)]
        values = graphs.propagate(parts, labelled, y[labelled], RULES[name][0]).objectives
        assert len(values) > 2
        assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(values))
        assert values[-1] < values[0]


def test_graphs_are_the_dense_ones():
    x, *_ = clouds(25)
    sparse = graphs.view_graphs(x, WIDTHS, K)
    for graph, view in zip(sparse, np.split(x, [4], axis=1), strict=True):
        np.testing.assert_allclose(graph.toarray(), dense_graph(view), atol=1e-10)
        np.testing.assert_allclose(graphs.laplacian(graph).toarray(), dense_laplacian(dense_graph(view)), atol=1e-10)


def test_weights_minimise_over_the_simplex():
    traces, r = np.array([3.0, 1.0, 0.4]), 2.5

    def value(free):
        weights = np.exp(free) / np.exp(free).sum()
        return weights**r @ traces

    best = minimize(value, np.zeros(3), method="BFGS", options={"gtol": 1e-10}).x
    np.testing.assert_allclose(graphs.simplex_weights(traces, r), np.exp(best) / np.exp(best).sum(), atol=1e-5)


def test_rows_that_no_label_reaches_have_the_shares_of_the_labels():
    g = np.random.default_rng(0)
    x = np.concatenate([g.standard_normal((20, 2)), g.standard_normal((10, 2)) + 1000])
    (graph,) = graphs.view_graphs(x, (2,), 3)
    found = graphs.propagate([graphs.laplacian(graph)], np.arange(4), np.array([0.0, 1, 1, 1]), graphs.amgl())
    np.testing.assert_allclose(found.soft[20:], np.tile([0.25, 0.75], (10, 1)))


def test_what_is_not_solved_is_said(monkeypatch):
    monkeypatch.setattr(graphs, "cg", lambda a, b, x0, rtol: (x0, 1))
    x = np.random.default_rng(0).standard_normal((30, 3))
    parts = [graphs.laplacian(graph) for graph in graphs.view_graphs(x, (2, 1), 3)]
    with pytest.raises(UserError, match="Labels could not be spread over the graphs"):
        graphs.propagate(parts, np.arange(4), np.array([0.0, 1.0, 0.0, 1.0]), graphs.amgl())


def test_new_rows_are_labelled_by_their_neighbours():
    x, y, labelled = clouds(150)
    parts = [graphs.laplacian(graph) for graph in graphs.view_graphs(x[:100], WIDTHS, K)]
    found = graphs.propagate(parts, labelled, y[labelled], graphs.amgl())
    soft = graphs.extend(x[:100], found.soft, found.factors, x[100:], WIDTHS, K)
    expected = np.zeros((50, 3))
    for i, row in enumerate(x[100:]):
        for columns, factor in zip((slice(0, 4), slice(4, 7)), found.factors, strict=True):
            squared = np.sum((x[:100, columns] - row[columns]) ** 2, axis=1)
            nearest = np.argsort(squared)[: K + 1]
            gaps = squared[nearest[K]] - squared[nearest[:K]]
            expected[i] += factor / sum(found.factors) * (gaps / gaps.sum()) @ found.soft[nearest[:K]]
    np.testing.assert_allclose(soft, expected, atol=1e-8)
    assert np.mean(soft.argmax(1) == y[100:]) > 0.7


def test_copies_of_a_row_are_neighbours_alike():
    weights = graphs.neighbour_weights(np.zeros((8, 2)), 3).toarray()
    np.testing.assert_allclose(weights.sum(1), 1)
    assert set(np.unique(weights).round(6)) <= {0.0, round(1 / 3, 6)}


def test_too_few_rows_for_a_graph():
    with pytest.raises(UserError, match="5 neighbours of a row need 6 other rows in every view, but one has 3"):
        graphs.neighbour_weights(np.zeros((4, 2)), 5)
