"""Terms of the evidence lower bounds against scipy, against Monte Carlo in float64, and by finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from affect.systems.gaussians import (
    GaussianOutput,
    entropy,
    expected_log_prior,
    log_density,
    mixture_entropy,
    sample,
    split,
)


def _draws(seed=0):
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)


def test_densities_and_expectations_against_scipy_and_monte_carlo():
    draw = _draws()
    mean, log_variance, x = draw(4, 3), draw(4, 3), draw(4, 3)
    std = (log_variance / 2).exp().numpy()
    np.testing.assert_allclose(log_density(x, mean, log_variance), norm.logpdf(x, mean, std).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(entropy(log_variance), norm.entropy(mean, std).sum(-1), rtol=1e-12)
    z = sample(mean, log_variance, draw(200_000, 4, 3))
    np.testing.assert_allclose(z.std(0), std, rtol=0.01)
    for closed, values in (
        (expected_log_prior(mean, log_variance), norm.logpdf(z).sum(-1)),
        (entropy(log_variance), -log_density(z, mean, log_variance).numpy()),
    ):
        error = values.std(0) / len(z) ** 0.5
        assert (np.abs(closed.numpy() - values.mean(0)) < 5 * error).all()


def test_log_variances_are_bounded_and_never_without_gradient():
    raw = torch.tensor([-1e4, -30.0, -1.0, 0.0, 1e-3, 30.0, 1e4], dtype=torch.float64, requires_grad=True)
    _, log_variance = split(torch.cat((torch.zeros(7, dtype=torch.float64), raw)))
    assert log_variance.abs().max() < 6
    assert log_variance[4].item() == pytest.approx(1e-3, rel=1e-6)
    log_variance.sum().backward()
    assert (raw.grad > 0).all()


def test_the_entropy_bound_is_below_the_entropy_of_a_thousand_mixtures():
    g = np.random.default_rng(0)
    draws = 500
    for _ in range(1000):
        v, d = g.integers(1, 5), g.integers(1, 5)
        mean, log_variance = 3 * g.standard_normal((v, d)), g.uniform(-3, 3, (v, d))
        weights = g.dirichlet(np.full(v, 0.7))
        given = [torch.from_numpy(a) for a in (mean[None, :, None], log_variance[None, :, None])]
        bound = mixture_entropy(*given, torch.from_numpy(np.log(weights))[None, :, None]).item()
        # Stratified: the same number of draws from each component, weighted.
        z = mean[:, None] + np.exp(log_variance / 2)[:, None] * g.standard_normal((v, draws, d))
        distances = np.square(z[:, :, None] - mean) * np.exp(-log_variance)
        densities = -0.5 * (distances + log_variance + np.log(2 * np.pi)).sum(-1)
        surprise = -logsumexp(densities + np.log(weights), axis=-1)
        error = np.sqrt((weights**2 * surprise.var(1) / draws).sum())
        assert bound <= weights @ surprise.mean(1) + 5 * error


def test_the_authors_sum_over_dimensions_exceeds_the_entropy():
    """Two unit Gaussians of equal weight in 30 dimensions, so many standard deviations apart in each."""
    zero, half = torch.zeros(1, 1, 30, dtype=torch.float64), torch.full((1, 2, 1), math.log(0.5), dtype=torch.float64)
    for gap, joint, summed in ((0, 37.97, 37.97), (1, 38.66, 41.48), (3, 38.66, 55.75), (6, 38.66, 58.76)):
        mean = torch.stack((zero, zero + gap), 1)
        found = [mixture_entropy(mean, torch.zeros_like(mean), half, each).item() for each in (False, True)]
        assert found == pytest.approx([joint, summed], abs=0.006)


def test_a_component_without_weight_is_as_good_as_none():
    draw = _draws(1)
    mean, log_variance = draw(1, 3, 5, 2).requires_grad_(), draw(1, 3, 5, 2).requires_grad_()
    weights = torch.tensor([0.3, 0.7]).double().log()
    without = torch.cat((weights, torch.tensor([-math.inf]).double()))[None, :, None]
    bound = mixture_entropy(mean, log_variance, without)
    want = mixture_entropy(mean[:, :2], log_variance[:, :2], weights[None, :, None])
    torch.testing.assert_close(bound, want)
    for gradient in torch.autograd.grad(bound.sum(), (mean, log_variance)):
        assert torch.isfinite(gradient).all()
        assert (gradient[:, 2] == 0).all()


def test_the_output_layer_is_the_density_of_its_outputs():
    draw = _draws(2)
    hidden, weight, bias, x = draw(2, 6, 4), draw(2, 4, 10), draw(2, 1, 10), draw(2, 3, 5)
    rows = torch.tensor([0, 1, 1, 2, 0, 2])
    want = log_density(x[:, rows], *split(torch.baddbmm(bias, hidden, weight)))
    torch.testing.assert_close(GaussianOutput.apply(hidden, weight, bias, x, rows), want)
    given = [value.requires_grad_() for value in (hidden, weight, bias, x)]
    assert torch.autograd.gradcheck(lambda *values: GaussianOutput.apply(*values, rows), given)


@pytest.mark.parametrize("rows", [1, 100, 257])
def test_the_compiled_output_layer_is_the_one_of_torch_operations(rows):
    """In float32 on a CPU blocks of rows are looped over; values and derivatives are those of float64, to rounding."""
    g = torch.Generator().manual_seed(rows)
    hidden, weight = torch.randn(3, rows, 20, generator=g), torch.randn(3, 20, 74, generator=g)
    bias, x = torch.randn(3, 1, 74, generator=g), torch.randn(3, 9, 37, generator=g)
    picked, heads = torch.randint(9, (rows,), generator=g), torch.randn(3, rows, generator=g)
    found = []
    for kind in (torch.float32, torch.float64):
        leaves = [value.to(kind).requires_grad_() for value in (hidden, weight, bias, x)]
        value = GaussianOutput.apply(*leaves, picked)
        found.append([value, *torch.autograd.grad(value, leaves, heads.to(kind))])
    for ours, want in zip(*found, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - want).abs().max() < 2e-5 * want.abs().max()
    alone = GaussianOutput.apply(hidden[1:2], weight[1:2], bias[1:2], x[1:2], picked)
    torch.testing.assert_close(alone[0], found[0][0][1], rtol=0, atol=0)


def test_what_is_not_finite_stays_so():
    hidden, weight, x = torch.ones(1, 2, 1), torch.ones(1, 1, 4), torch.zeros(1, 1, 2)
    weight[0, 0, 3] = math.nan
    rows = torch.zeros(2, dtype=torch.int64)
    assert torch.isnan(GaussianOutput.apply(hidden, weight, torch.zeros(1, 1, 4), x, rows)).all()
    weight[0, 0, 3], x[0, 0, 0] = 0, math.inf
    assert not torch.isfinite(GaussianOutput.apply(hidden, weight, torch.zeros(1, 1, 4), x, rows)).any()
