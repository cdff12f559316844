"""Plain single-model PyTorch loops, as a user would write them: what packs are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn


def batches(rows: int, size: int) -> Iterator[Tensor]:
    """Endless batches of positions 0..rows-1, in a fresh order each time through."""
    while True:
        yield from torch.randperm(rows).split(size)


def ccc_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """1 - CCC per column, [T]."""
    mp, mt = prediction.mean(0), truth.mean(0)
    covariance = ((prediction - mp) * (truth - mt)).mean(0)
    return 1 - 2 * covariance / (prediction.var(0, unbiased=False) + truth.var(0, unbiased=False) + (mp - mt) ** 2)


class PlainLadder(nn.Module):
    """A ladder network with one `nn.Parameter` per tensor and nothing but autograd."""

    def __init__(self, width: int, hidden: int = 256, targets: int = 3, noise: float = 0.3**0.5) -> None:
        super().__init__()
        sizes = (width, hidden, hidden)
        self.noise = noise
        self.w = nn.ModuleList([nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)])
        self.v = nn.ModuleList([nn.Linear(b, a, bias=False) for a, b in pairwise(sizes)])
        self.gamma = nn.ParameterList([torch.ones(d) for d in sizes[1:]])
        self.beta = nn.ParameterList([torch.zeros(d) for d in sizes[1:]])
        self.head = nn.Linear(hidden, targets)
        self.combinators = nn.ParameterList()
        for d in sizes:
            c = torch.zeros(9, d)
            c[1], c[4], c[6] = 1.0, 1.0, 1.0
            self.combinators.append(nn.Parameter(c))
        self.dropout = nn.Dropout(0.1)

    @staticmethod
    def normalise(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, std = x.mean(0), (x.var(0, unbiased=False) + 1e-10).sqrt()
        return (x - mean) / std, mean, std

    def encode(self, x: Tensor, noisy: bool) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        z = x + self.noise * torch.randn_like(x) if noisy else x
        zs, means, stds = [z], [torch.zeros(())], [torch.ones(())]
        h = self.dropout(z) if noisy else z
        for layer, gamma, beta in zip(self.w, self.gamma, self.beta, strict=True):
            z, mean, std = self.normalise(layer(h))
            z = z + self.noise * torch.randn_like(z) if noisy else z
            h = torch.relu(gamma * (z + beta))
            zs.append(z)
            means.append(mean)
            stds.append(std)
        return zs, means, stds, h

    @staticmethod
    def combine(c: Tensor, z: Tensor, u: Tensor) -> Tensor:
        s = torch.sigmoid(c[5] + c[6] * z + c[7] * u + c[8] * z * u)
        return c[0] + c[1] * z + c[2] * u + c[3] * z * u + c[4] * s

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        clean, means, stds, _ = self.encode(x, noisy=False)
        noisy, _, _, h = self.encode(x, noisy=True)
        cost = torch.zeros(())
        above = h
        for layer in (2, 1, 0):
            u, _, _ = self.normalise(above if layer == 2 else self.v[layer](above))
            above = self.combine(self.combinators[layer], noisy[layer], u)
            cost = cost + (((above - means[layer]) / stds[layer] - clean[layer]) ** 2).mean()
        return self.head(h), cost


def ladder_step(model: PlainLadder, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor, pool: Tensor) -> None:
    """One labelled and one unlabelled update."""
    prediction, cost = model(x)
    loss = ccc_loss(prediction, y).mean() + cost
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    _, cost = model(pool)
    optimiser.zero_grad()
    cost.backward()
    optimiser.step()
