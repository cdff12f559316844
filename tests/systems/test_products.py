"""Products by either library: values, gradients, and that no replicate sees another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affect.systems import products
from affect.systems.products import affine, multiply, product

SHAPES = {"small": (3, 33, 5, 6), "wide": (3, 200, 150, 90), "narrow": (2, 300, 512, 1), "one": (1, 256, 128, 128)}
"""Replicates, rows, inputs, outputs."""


@pytest.fixture(params=["machine's choice", "neither"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without oneDNN, whatever this machine has."""
    if request.param == "neither":
        monkeypatch.setattr(products, "_has_onednn", lambda: False)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_float64(shape: str, library: None) -> None:
    k, n, i, o = SHAPES[shape]
    for rows in (1, n):
        given = [drawn(k, rows, o, seed=1), drawn(k, n, i, seed=2), drawn(k, i, o, seed=3)]
        slope = drawn(k, n, o, seed=4)
        single, double = ([x.to(kind).requires_grad_() for x in given] for kind in (torch.float32, torch.float64))
        found, exact = affine(*single), torch.baddbmm(*double)
        np.testing.assert_allclose(found.detach(), exact.detach(), atol=2e-5 * i**0.5)
        ours = torch.autograd.grad(found, single, slope)
        theirs = torch.autograd.grad(exact, double, slope.double())
        for mine, truth in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, truth, atol=2e-5 * n**0.5 + 2e-5 * o**0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_replicate_does_not_see_the_others(shape: str, library: None) -> None:
    k, n, i, o = SHAPES[shape]
    x, weight = drawn(k, n, i, seed=5).requires_grad_(), drawn(k, i, o, seed=6).requires_grad_()
    together = product(x, weight)
    slopes = torch.autograd.grad(together.square().sum(), [x, weight])
    for r in range(k):
        own = [part[r : r + 1].detach().clone().requires_grad_() for part in (x, weight)]
        alone = product(*own)
        found = [alone, *torch.autograd.grad(alone.square().sum(), own)]
        for mine, theirs in zip(found, [together, *slopes], strict=True):
            if products._by_onednn(x, weight):
                assert torch.equal(mine[0], theirs[r])
            else:
                assert torch.allclose(mine[0], theirs[r], atol=1e-5 * float(theirs.detach().abs().max()))


def test_parts_of_wider_arrays(library: None) -> None:
    """As views side by side are."""
    wide, weight = drawn(2, 60, 50), drawn(2, 40, 30, seed=1)
    np.testing.assert_allclose(product(wide[..., 7:27], weight[:, ::2]), wide[..., 7:27] @ weight[:, ::2], atol=1e-4)


def test_inputs_that_need_no_gradient_get_none(library: None) -> None:
    x, weight = drawn(2, 200, 150), drawn(2, 150, 90).requires_grad_()
    (slope,) = torch.autograd.grad(product(x, weight).sum(), [weight])
    torch.testing.assert_close(slope, x.sum(1).unsqueeze(-1).expand_as(slope), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_matrices(turned: bool, library: None) -> None:
    a, b = drawn(120, 200), drawn(100, 200).T if turned else drawn(200, 100)
    np.testing.assert_allclose(multiply(a, b), a.double() @ b.double(), atol=3e-4)


@pytest.mark.parametrize("shape", [(0, 4, 5, 6), (2, 0, 5, 6), (2, 4, 0, 6), (2, 4, 5, 0)])
def test_nothing_times_something(shape: tuple[int, ...], library: None) -> None:
    k, n, i, o = shape
    assert product(torch.ones(k, n, i), torch.ones(k, i, o)).shape == (k, n, o)
    assert (affine(torch.ones(k, 1, o), torch.ones(k, n, i), torch.ones(k, i, o)) == 1 + i).all()


def test_what_may_be_done_with_the_value_does_not_depend_on_the_pack(library: None) -> None:
    for k in (1, 3):
        x, weight = drawn(k, 20, 10).requires_grad_(), drawn(k, 10, 5)
        value = product(x, weight).relu_()
        assert value.is_contiguous()
        (slope,) = torch.autograd.grad(value.sum(), [x])
        torch.testing.assert_close(slope, (x @ weight > 0).float() @ weight.mT)


def test_nan_and_infinity_pass_through(library: None) -> None:
    x, weight = drawn(1, 200, 150), drawn(1, 150, 90)
    x[0, 3, 4], x[0, 5, 6] = float("nan"), float("inf")
    found = product(x, weight)[0]
    assert found[3].isnan().all()
    assert not found[5].isfinite().any()
    assert found[[row for row in range(200) if row not in (3, 5)]].isfinite().all()
