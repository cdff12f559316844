"""The compiled float32 kernels against the torch operations in float64, and their independence of the pack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from affect.systems import ladder_kernels
from affect.systems.ladder_layers import COEFFICIENTS, DecoderLayer, EncoderLayer
from affect.systems.stack import NAdam

SHAPES = [(k, rows, units) for k in (1, 3) for rows in (7, 256, 257) for units in (1, 46, 256, 300)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32))


def encoder_inputs(k: int, rows: int, units: int) -> list[Tensor]:
    """pre, noise, gamma, beta."""
    pre = 3 * normal(k, 2, rows, units) + 20 * normal(k, 2, 1, units, seed=1)
    return [pre, 0.5 * normal(k, rows, units), 1 + 0.3 * normal(k, units), 0.3 * normal(k, units, seed=1)]


def decoder_inputs(k: int, rows: int, units: int) -> list[Tensor]:
    """pre, noisy, coefficients, clean, mean, rstd."""
    wide = [normal(k, rows, units, seed=seed) for seed in range(3)]
    moments = [normal(k, 1, units, seed=1), 0.5 + normal(k, 1, units, seed=2).abs()]
    return [5 * wide[0], wide[1], normal(k, COEFFICIENTS, units), wide[2], *moments]


def run(
    layer: type, inputs: Sequence[Tensor], extra: Sequence[object], gradients: Sequence[Tensor | None]
) -> list[Tensor]:
    """Outputs of a layer, then the gradients of its inputs, given those of its outputs (None: nothing reads it)."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    outputs = layer.apply(*leaves, *extra)  # type: ignore[attr-defined]
    read = [(out, g.to(out.dtype)) for out, g in zip(outputs, gradients, strict=True) if g is not None]
    heads, given = zip(*read, strict=True)
    found = torch.autograd.grad(heads, leaves, given, allow_unused=True)
    return [out.detach() for out in outputs] + [g for g in found if g is not None]


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for position, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.dtype == torch.float32
        scale = b.abs().amax(-2, keepdim=True) if b.dim() > 1 else b.abs()
        error = ((a - b).abs() / (scale + b.abs().mean() + 1e-6)).max()
        assert error < 1e-5, (position, tuple(b.shape), float(error))


def doubled(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [x.double() for x in tensors]


def activations_gradient(inputs: Sequence[Tensor], last: bool) -> Tensor:
    """Gradient of h, zero where rounding decides whether a unit is active."""
    pre, noise, gamma, beta = doubled(inputs)
    z = (pre - pre.mean(2, keepdim=True)) / pre.std(2, keepdim=True, correction=0)
    z[:, 1] += noise
    argument = gamma[:, None, None] * (z + beta[:, None, None])
    gradient = torch.where(argument.abs() > 1e-4, normal(*pre.shape, seed=3), 0.0)
    return gradient[:, 1:] if last else gradient


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("k", "rows", "units"), SHAPES)
def test_encoder_agrees_with_torch_in_double_precision(k: int, rows: int, units: int, last: bool) -> None:
    inputs = encoder_inputs(k, rows, units)
    gradients = [normal(k, rows, units, seed=4), normal(k, rows, units, seed=5), activations_gradient(inputs, last)]
    gradients += [normal(k, 1, units, seed=6), normal(k, 1, units, seed=7)]
    assert_close(run(EncoderLayer, inputs, [last], gradients), run(EncoderLayer, doubled(inputs), [last], gradients))


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize(("k", "rows", "units"), SHAPES)
def test_decoder_agrees_with_torch_in_double_precision(k: int, rows: int, units: int, read: bool) -> None:
    inputs = decoder_inputs(k, rows, units)
    gradients = [normal(k, rows, units, seed=4) / (rows * units) if read else None, 1 + normal(k).abs()]
    assert_close(run(DecoderLayer, inputs, [], gradients), run(DecoderLayer, doubled(inputs), [], gradients))


def test_operands_need_not_be_contiguous() -> None:
    k, rows, units = 2, 16, 9
    gradients = [normal(k, rows, units, seed=seed) for seed in range(2)]
    gradients += [normal(k, 2, rows, units), normal(k, 1, units), normal(k, 1, units)]
    cases = (
        (EncoderLayer, encoder_inputs(k, rows, units), [False], gradients),
        (DecoderLayer, decoder_inputs(k, rows, units), [], [gradients[0], normal(k)]),
    )
    for layer, inputs, extra, given in cases:
        expected = run(layer, inputs, extra, given)
        turned = [[x.transpose(0, -1).contiguous().transpose(0, -1) for x in xs] for xs in (inputs, given)]
        assert not turned[0][0].is_contiguous()
        found = run(layer, turned[0], extra, turned[1])
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_decoder_without_lateral_gradient() -> None:
    pre, noisy, coefficients, *rest = decoder_inputs(2, 32, 46)
    found = []
    for lateral in (False, True):
        leaves = [pre.clone().requires_grad_(), coefficients.clone().requires_grad_()]
        _, cost = DecoderLayer.apply(leaves[0], noisy.clone().requires_grad_(lateral), leaves[1], *rest)
        found.append(torch.autograd.grad(cost.sum(), leaves))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("units", [1, 46, 256, 1100])
def test_a_replicate_does_not_depend_on_its_pack(units: int) -> None:
    k, rows = 3, 33
    encoder, decoder = encoder_inputs(k, rows, units), decoder_inputs(k, rows, units)
    encoder_gradients = [normal(k, rows, units, seed=4), normal(k, rows, units, seed=5)]
    encoder_gradients += [normal(k, 2, rows, units, seed=6), normal(k, 1, units, seed=6), normal(k, 1, units, seed=7)]
    decoder_gradients = [normal(k, rows, units, seed=4), normal(k)]
    cases = ((EncoderLayer, encoder, [False], encoder_gradients), (DecoderLayer, decoder, [], decoder_gradients))
    for layer, inputs, extra, gradients in cases:
        together = run(layer, inputs, extra, gradients)
        for replicate in range(k):
            one = slice(replicate, replicate + 1)
            alone = run(layer, [x[one].clone() for x in inputs], extra, [g[one].clone() for g in gradients])
            assert all(torch.equal(a, b[one]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_diverged_replicate_shows_and_spreads_no_further(poison: float) -> None:
    k, rows, units = 3, 32, 46
    encoder, decoder = encoder_inputs(k, rows, units), decoder_inputs(k, rows, units)
    encoder_gradients = [normal(k, rows, units), normal(k, rows, units), normal(k, 2, rows, units)]
    encoder_gradients += [normal(k, 1, units), normal(k, 1, units)]
    decoder_gradients = [normal(k, rows, units), normal(k)]
    cases = ((EncoderLayer, encoder, [False], encoder_gradients), (DecoderLayer, decoder, [], decoder_gradients))
    for layer, inputs, extra, gradients in cases:
        healthy = run(layer, inputs, extra, gradients)
        inputs[0][1].view(-1)[5] = poison
        inputs[0][1].view(-1)[-1] = poison
        ill = run(layer, inputs, extra, gradients)
        for a, b in zip(ill, healthy, strict=True):
            assert torch.equal(a[[0, 2]], b[[0, 2]])
        # The gradient of γ, or of the combinator: what the optimiser would see.
        assert not torch.isfinite(ill[-2 if layer is EncoderLayer else 4][1]).all()


def test_constant_units_are_normalised_to_zero() -> None:
    pre = torch.full((1, 2, 16, 20), 0.1)
    clean, _, _, mean, rstd = EncoderLayer.apply(
        pre, torch.zeros(1, 16, 20), torch.ones(1, 20), torch.zeros(1, 20), True
    )
    assert clean.abs().max() < 0.1
    assert torch.allclose(mean, torch.tensor(0.1))
    assert torch.allclose(rstd, torch.tensor(1e5), rtol=0.01)


def test_sigmoid_is_accurate_and_keeps_nan() -> None:
    x = np.linspace(-30, 30, 20001, dtype=np.float32)
    found = np.array([ladder_kernels._sigmoid(value) for value in x])
    assert np.abs(found - 1 / (1 + np.exp(-x.astype(np.float64)))).max() < 3e-7
    assert np.isnan(ladder_kernels._sigmoid(np.float32("nan")))
    assert ladder_kernels._sigmoid(np.float32("inf")) == pytest.approx(1.0)


def test_nadam_agrees_with_torch() -> None:
    shapes, rates = [(7, 5), (33,), (1, 3)], [1e-3, 5e-2]
    flat = normal(2, sum(int(np.prod(shape)) for shape in shapes))
    reference = [row.clone().requires_grad_() for row in flat]
    optimisers = [torch.optim.NAdam([row], lr=rate) for row, rate in zip(reference, rates, strict=True)]
    ours = NAdam(flat, rates)
    for step in range(200):
        gradient = normal(*flat.shape, seed=step) + flat
        for row, g, optimiser in zip(reference, gradient, optimisers, strict=True):
            row.grad = g.clone()
            optimiser.step()
        ours.update({0: gradient[:, :35].view(2, 7, 5), 35: gradient[:, 35:68], 68: gradient[:, 68:].view(2, 1, 3)})
    torch.testing.assert_close(flat, torch.stack(reference).detach(), rtol=2e-5, atol=2e-6)


def test_nadam_shows_a_diverged_replicate_and_freezes_it() -> None:
    flat = normal(2, 50)
    optimiser = NAdam(flat, [1e-3, 1e-3])
    gradient = normal(2, 50, seed=1)
    gradient[1, 7] = float("nan")
    optimiser.update({0: gradient})
    assert torch.isfinite(flat[0]).all()
    assert torch.isnan(flat[1, 7])
    optimiser.freeze(1)
    optimiser.update({0: torch.ones(2, 50)})
    assert not flat[1].any()
