"""Stacked parameters: K replicates of one network in a single buffer [K, P], and the optimiser that updates it.

A layer is a view [K, *shape] of the buffer, the optimiser is a few passes over it, a snapshot is a copy of one row.
No operation mixes replicates, so one that diverges harms no other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Names and shapes of one replicate's parameters, in buffer order."""

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """P, the number of parameters of one replicate."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def starts(self) -> tuple[int, ...]:
        """Where in the buffer each parameter begins."""
        return tuple(accumulate((math.prod(shape) for shape in self.shapes.values()), initial=0))[:-1]

    def unpack(self, flat: Tensor) -> dict[str, Tensor]:
        """Buffer [K, P] → name → view [K, *shape] (no copy)."""
        pieces = flat.split([math.prod(shape) for shape in self.shapes.values()], dim=1)
        return {
            name: piece.view(len(flat), *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def pack(self, parameters: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """One mapping name → [*shape] per replicate → buffer [K, P]."""
        return torch.stack([torch.cat([p[name].reshape(-1) for name in self.shapes]) for p in parameters])


class Adam:
    """Adam (Kingma & Ba 2015) over a buffer [K, P] with one learning rate per replicate; agrees with `torch.optim.Adam`.

    The buffer is updated in place. What has no gradient in an update keeps its value, its moments and its count of updates:
    where losses alternate, a parameter of one of them does not drift on momentum while the other is reduced.
    """

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    _buffers = ("flat", "first", "second")

    def __init__(self, flat: Tensor, learning_rate: Sequence[float]) -> None:
        self.flat = flat
        self.learning_rate = [float(rate) for rate in learning_rate]
        self.first = torch.zeros_like(flat)
        self.second = torch.zeros_like(flat)
        self.steps: Counter[int] = Counter()
        """Start of a parameter in the buffer → updates of it so far."""

    def update(self, gradients: Mapping[int, Tensor]) -> None:
        """Apply gradients [K, *shape], by where in the buffer their parameters start."""
        self.steps.update(gradients.keys())
        if self.flat.is_cpu and self.flat.dtype == torch.float32:
            self._update_rows(gradients)
        else:
            for start, gradient in self._runs(gradients):
                self._update_run(start, gradient)

    def _shares(self, step: int) -> tuple[float, float]:
        """What of the gradient and of the first moment makes the direction of a parameter's `step`-th update."""
        return 0.0, 1 / (1 - self.beta1**step)

    def _root(self, step: int) -> float:
        """What the root of the second moment is divided by."""
        return math.sqrt(1 - self.beta2**step)

    def _update_rows(self, gradients: Mapping[int, Tensor]) -> None:
        """One pass over parameters, gradient and moments per replicate and gradient, without gathering the gradients."""
        from affect.systems import ladder_kernels  # late: the compiler is slow to load

        buffers = [buffer.numpy() for buffer in (self.flat, self.first, self.second)]
        for start, gradient in gradients.items():
            rows = gradient.reshape(len(self.flat), -1).contiguous().numpy()
            stop, step = start + rows.shape[1], self.steps[start]
            now, ahead = self._shares(step)
            numbers = (1 - self.beta1, 1 - self.beta2, 1 / self._root(step), self.epsilon)
            rest1, rest2, inverse, epsilon = np.array(numbers, np.float32)
            for k, rate in enumerate(self.learning_rate):
                p, m, v = (buffer[k, start:stop] for buffer in buffers)
                weights = np.float32(rate * now), np.float32(rate * ahead)
                ladder_kernels.nadam(p, rows[k], m, v, rest1, rest2, inverse, epsilon, *weights)

    def _runs(self, gradients: Mapping[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Neighbours that were updated equally often, side by side [K, P']: a few large operations instead of many."""
        run: list[Tensor] = []
        first = stop = -1
        for start, gradient in gradients.items():
            if run and (start != stop or self.steps[start] != self.steps[first]):
                yield first, torch.cat(run, dim=1)
                run = []
            first = first if run else start
            run.append(gradient.reshape(len(self.flat), -1))
            stop = start + run[-1].shape[1]
        if run:
            yield first, torch.cat(run, dim=1)

    def _update_run(self, start: int, gradient: Tensor) -> None:
        """The same as torch operations on a part of the buffer."""
        step, part = self.steps[start], slice(start, start + gradient.shape[1])
        now, ahead = self._shares(step)
        flat, first, second = (buffer[:, part] for buffer in (self.flat, self.first, self.second))
        rate = torch.tensor(self.learning_rate, device=flat.device)[:, None]
        first.lerp_(gradient, 1 - self.beta1)
        second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        denominator = second.sqrt().mul_(1 / self._root(step)).add_(self.epsilon)
        flat.sub_((gradient * now).add_(first, alpha=ahead).div_(denominator).mul_(rate))

    def select(self, rows: Tensor) -> None:
        """Go on with these replicates alone; the buffer is a new one."""
        self.learning_rate = [self.learning_rate[row] for row in rows.tolist()]
        self.flat, self.first, self.second = (buffer[rows] for buffer in (self.flat, self.first, self.second))

    def state(self) -> dict[str, Any]:
        """The parameters too, for they are what it updates."""
        buffers = {name: getattr(self, name) for name in self._buffers}
        return {**buffers, "learning_rate": self.learning_rate, "steps": dict(self.steps)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Into the buffers that there are."""
        for name in self._buffers:
            getattr(self, name).copy_(state[name])
        self.learning_rate = list(state["learning_rate"])
        self.steps = Counter(state["steps"])

    def freeze(self, row: int) -> None:
        """Stop replicate `row`: its parameters and moments become zero and stay so."""
        self.learning_rate[row] = 0.0
        for buffer in (self.flat, self.first, self.second):
            buffer[row] = 0.0


class NAdam(Adam):
    """NAdam (Dozat 2016): Adam with Nesterov momentum on a schedule; agrees with `torch.optim.NAdam`."""

    momentum_decay = 4e-3

    def __init__(self, flat: Tensor, learning_rate: Sequence[float]) -> None:
        super().__init__(flat, learning_rate)
        self._products = [1.0]
        """Step → product of the momenta up to it."""

    def _momentum(self, step: int) -> float:
        return self.beta1 * (1 - 0.5 * 0.96 ** (step * self.momentum_decay))

    def _shares(self, step: int) -> tuple[float, float]:
        while len(self._products) <= step:
            self._products.append(self._products[-1] * self._momentum(len(self._products)))
        momentum, following, product = self._momentum(step), self._momentum(step + 1), self._products[step]
        return (1 - momentum) / (1 - product), following / (1 - product * following)
