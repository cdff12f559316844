"""Canonical correlations of what encoders make of views: K replicates, B rows, L dimensions of a code per view.

With Σ_vw the covariance of the codes of views v and w over a batch and r on the diagonal of Σ_vv, the canonical
correlations ρ are the singular values of T = Σ_vv^-½ Σ_vw Σ_ww^-½. DCCA (Andrew, Arora, Bilmes & Livescu 2013, Deep
Canonical Correlation Analysis) maximises their sum Σρ, the trace norm of T. Some implementations maximise Σρ², its
squared Frobenius norm, which gains less from raising a small correlation and so may leave some at zero.

Everything is computed in float64, with Cholesky factors in place of Σ^½, which turn T but change no singular value. The
derivative of singular values divides by no difference of them, so equal ones do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor


def covariance(a: Tensor, b: Tensor) -> Tensor:
    """Of codes [K, B, p] and [K, B, q] over their rows, unbiased, in float64: [K, p, q]."""
    a, b = (codes.double() - codes.double().mean(1, keepdim=True) for codes in (a, b))
    return a.mT @ b / max(a.shape[1] - 1, 1)


def total_correlation(codes: Sequence[Tensor], ridge: float) -> Tensor:
    """Σρ [K] of the codes [K, B, L] of two views; of more views, the sum over pairs. NaN where codes are not finite."""
    factors = [torch.linalg.cholesky_ex(regularised(covariance(c, c), ridge))[0] for c in codes]
    total = codes[0].new_zeros(len(codes[0]), dtype=torch.float64)
    for v, w in combinations(range(len(codes)), 2):
        half = torch.linalg.solve_triangular(factors[v], covariance(codes[v], codes[w]), upper=False)
        t = torch.linalg.solve_triangular(factors[w], half.mT, upper=False)
        # A replicate that diverged must not end the others' work, as singular values of what is not finite would.
        finite = t.isfinite().all(-1).all(-1)
        values = torch.linalg.svdvals(torch.where(finite[:, None, None], t, 0)).sum(-1)
        total = total + torch.where(finite, values, torch.nan)
    return total


def regularised(matrix: Tensor, ridge: float) -> Tensor:
    """[K, L, L] with `ridge` added to the diagonal."""
    return matrix + ridge * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def whitened(codes: Tensor, centre: Tensor, matrix: Tensor) -> Tensor:
    """Codes [K, n, L] of mean `centre` [K, 1, L] and covariance `matrix` [K, L, L] → uncorrelated ones of variance 1.

    They are canonical variates but for a rotation, to which distances and inner products are blind."""
    factor = torch.linalg.cholesky(matrix)
    return torch.linalg.solve_triangular(factor, (codes.double() - centre).mT, upper=False).mT


def expected(codes: Tensor, centre: Tensor, matrix: Tensor, known: Tensor) -> Tensor:
    """Codes of all views side by side [K, n, F] whose unknown ones (`known` [n, F]) are replaced by their linear
    regression on the known ones; `centre` [K, 1, F], `matrix` [K, F, F] their covariance."""
    found = codes.double().clone()
    patterns, which = torch.unique(known, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        seen, unseen = pattern.nonzero()[:, 0], (~pattern).nonzero()[:, 0]
        rows = (which == number).nonzero()[:, 0]
        inner = matrix[:, seen][:, :, seen]
        weights = torch.linalg.solve(inner, matrix[:, seen][:, :, unseen])
        value = (found[:, rows][:, :, seen] - centre[..., seen]) @ weights + centre[..., unseen]
        found[:, rows[:, None], unseen] = value
    return found
