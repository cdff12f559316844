"""Matrix products of stacked replicates: float32 on a CPU by oneDNN, one replicate at a time; otherwise by torch's own bmm.

Torch leaves such products to MKL, which fills half of the 512-bit vector units of a CPU that is not Intel's, and whose last
digits hang on where in memory a matrix lies, so on what shares the pack. oneDNN, which torch brings along too, does neither.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x [K, N, I] times weight [K, I, O]: [K, N, O]."""
    if not _by_onednn(x, weight):
        return torch.bmm(x, weight)
    made: Tensor = _Product.apply(x, weight)
    return made


def affine(shift: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """shift [K, N or 1, O] + x [K, N, I] times weight [K, I, O]: [K, N, O]."""
    if not _by_onednn(x, weight):
        return torch.baddbmm(shift, x, weight)
    made = product(x, weight)
    return made + shift.expand_as(made)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a [M, I] times b [I, N]: [M, N]. Not differentiable."""
    a, b = a.detach(), b.detach()
    return _multiplied(a, b) if _by_onednn(a, b) else torch.mm(a, b)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        for_x, for_weight = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        return _stacked(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        return (
            None if weight is None else _stacked(gradient, weight.mT),
            None if x is None else _stacked(x.mT, gradient),
        )


def _stacked(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([_multiplied(*pair) for pair in zip(a, b, strict=True)])


def _multiplied(a: Tensor, b: Tensor) -> Tensor:
    """a [M, I] times b [I, N]. The operation multiplies x [·, I] by the transpose of w [·, I]. It copies an x that is not
    contiguous, so of two transposed matrices the smaller one is x, and it takes thirty times as long if w has gaps."""
    times_transpose = torch.ops.mkldnn._linear_pointwise
    a, b = _without_gaps(a), _without_gaps(b)
    if a.is_contiguous() or a.numel() <= b.numel():
        made: Tensor = times_transpose(a, b.T, None, "none", [], "")
        return made
    turned: Tensor = times_transpose(b.T, a, None, "none", [], "")
    return turned.T


def _without_gaps(matrix: Tensor) -> Tensor:
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def _by_onednn(a: Tensor, b: Tensor) -> bool:
    """It refuses empty matrices."""
    return a.is_cpu and a.dtype == torch.float32 and a.numel() > 0 < b.numel() and _has_onednn()


@functools.cache
def _has_onednn() -> bool:
    """On x86 alone: elsewhere oneDNN may hand the product on to another library."""
    return (
        torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
