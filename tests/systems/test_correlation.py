"""Correlations of codes against linear CCA, and what must not break them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affect.systems.correlation import covariance, expected, regularised, total_correlation, whitened
from affect.systems.stack import Adam, Layout
from affect.systems.training import Network, Trainer, Update
from tests.systems.toy import class_data


def canonical_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two views [n, p] and [n, q]: singular values of the product of orthonormal bases."""
    bases = [np.linalg.qr(view - view.mean(0))[0] for view in (a, b)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def related(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    shared = g.standard_normal((n, 3))
    return tuple(
        shared @ g.standard_normal((3, w)) * scale + g.standard_normal((n, w)) for w, scale in ((6, 1.0), (5, 0.5))
    )


def test_sums_the_canonical_correlations_and_not_their_squares():
    a, b = related()
    rho = canonical_correlations(a, b)
    value = total_correlation([torch.from_numpy(view)[None] for view in (a, b)], 1e-12)
    assert value.item() == pytest.approx(rho.sum(), abs=1e-8)
    assert abs(rho.sum() - (rho**2).sum()) > 0.5


def test_three_views_sum_over_pairs():
    a, b = related()
    c = related(seed=1)[0]
    pairs = [canonical_correlations(x, y).sum() for x, y in ((a, b), (a, c), (b, c))]
    value = total_correlation([torch.from_numpy(view)[None] for view in (a, b, c)], 1e-12)
    assert value.item() == pytest.approx(sum(pairs), abs=1e-8)


def test_the_ridge_is_on_the_diagonals():
    a, b = (view - view.mean(0) for view in related())
    n, r = len(a) - 1, 0.7
    roots = []
    for view in (a, b):
        values, vectors = np.linalg.eigh(view.T @ view / n + r * np.eye(view.shape[1]))
        roots.append(vectors / np.sqrt(values) @ vectors.T)
    t = roots[0] @ (a.T @ b / n) @ roots[1]
    value = total_correlation([torch.from_numpy(view)[None] for view in (a, b)], r)
    assert value.item() == pytest.approx(np.linalg.svd(t, compute_uv=False).sum(), abs=1e-10)


def test_derivatives_hold():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 9, 3, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: total_correlation([x, y], 0.1), (a, b))


def test_linear_maps_reach_linear_cca():
    """Two linear networks trained on Σρ find the largest correlations there are for so many dimensions."""
    data = class_data(widths=(5, 4))
    a, b = (array[:240] for array in data.train.arrays)
    layout = Layout({"w1": (5, 2), "w2": (4, 2)})

    def loss(p, batches, scalars):
        views = batches["unlabelled"].x.split([5, 4], -1)
        return -total_correlation([x @ p[name] for name, x in zip(("w1", "w2"), views, strict=True)], 1e-8)

    def initial(seed):
        g = torch.Generator().manual_seed(seed)
        return {name: torch.randn(*shape, generator=g) for name, shape in layout.shapes.items()}

    update = Update("inputs", ("unlabelled",), loss, (), ())
    network = Network(layout, initial, (update,), lambda p, _: p, lambda p, x: x, Adam)
    trainer = Trainer(network, [data] * 2, [0, 1], [{"learning_rate": 0.03}] * 2, 240, "cpu")
    for _ in range(600):
        (found,) = trainer.step()
    best = canonical_correlations(a, b)[:2].sum()
    np.testing.assert_allclose(-found.numpy(), best, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_batches_below_the_latent_size_are_finite(rows):
    g = torch.Generator().manual_seed(0)
    codes = [torch.randn(2, rows, 8, generator=g).requires_grad_() for _ in range(2)]
    value = total_correlation(codes, 1e-4)
    gradients = torch.autograd.grad(value.sum(), codes)
    assert value.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (value <= rows).all()


def test_constant_and_repeated_codes_are_finite():
    g = torch.Generator().manual_seed(0)
    one = torch.randn(1, 20, 1, generator=g)
    codes = [torch.cat((one, one, torch.full_like(one, 3.0)), -1).requires_grad_() for _ in range(2)]
    value = total_correlation(codes, 1e-4)
    gradients = torch.autograd.grad(value.sum(), codes)
    assert value.item() == pytest.approx(1, abs=1e-3)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_diverged_replicate_harms_no_other():
    g = torch.Generator().manual_seed(0)
    codes = [torch.randn(3, 20, 4, generator=g) for _ in range(2)]
    sound = total_correlation(codes, 1e-4)
    codes[0][1, 3, 2] = torch.nan
    codes = [c.requires_grad_() for c in codes]
    value = total_correlation(codes, 1e-4)
    assert value[1].isnan()
    torch.testing.assert_close(value[[0, 2]], sound[[0, 2]])
    gradients = torch.autograd.grad(value.sum(), codes)
    assert all(gradient[[0, 2]].isfinite().all() for gradient in gradients)


def test_whitened_codes_have_unit_covariance():
    codes = torch.from_numpy(related()[0])[None] * torch.tensor([1, 5, 0.1, 1, 1, 2]) + 4
    matrix = regularised(covariance(codes, codes), 1e-10)
    white = whitened(codes, codes.mean(1, keepdim=True), matrix)
    torch.testing.assert_close(covariance(white, white)[0], torch.eye(6).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(white.mean(1), torch.zeros(1, 6).double(), atol=1e-9, rtol=0)


def test_unknown_codes_are_regressed_on_the_known():
    x = np.concatenate(related(), axis=1)
    mean, matrix = x.mean(0), np.cov(x.T)
    known = np.ones((4, 11), bool)
    known[1, 6:], known[2, :6], known[3, 6:] = False, False, False
    found = expected(*(torch.from_numpy(m)[None] for m in (x[:4], mean[None], matrix)), torch.from_numpy(known))[0]
    np.testing.assert_array_equal(found[0], x[0])
    for row in (1, 2, 3):
        seen, unseen = np.flatnonzero(known[row]), np.flatnonzero(~known[row])
        design = np.concatenate([x[:, seen], np.ones((len(x), 1))], axis=1)
        coefficients = np.linalg.lstsq(design, x[:, unseen], rcond=None)[0]
        np.testing.assert_allclose(found[row, unseen], design[row] @ coefficients, atol=1e-9)
        np.testing.assert_array_equal(found[row, seen], x[row, seen])
