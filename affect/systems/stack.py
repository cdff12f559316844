"""Stacked parameters: K replicates of one network in a single buffer [K, P], and the optimiser that updates it.

A layer is a view [K, *shape] of the buffer, the optimiser is a few passes over it, a snapshot is a copy of one row.
No operation mixes replicates, so one that diverges harms no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    The buffer is updated in place.
    """

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    _buffers = ("flat", "first", "second")

    def __init__(self, flat: Tensor, learning_rate: Sequence[float]) -> None:
        self.flat = flat
        self.learning_rate = [float(rate) for rate in learning_rate]
        self.first = torch.zeros_like(flat)
        self.second = torch.zeros_like(flat)
        self.steps = 0

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Apply gradients [K, *shape], in layout order."""
        self.steps += 1
        root = math.sqrt(1 - self.beta2**self.steps)
        now, ahead = self._shares()
        if self.flat.is_cpu and self.flat.dtype == torch.float32:
            self._update_rows(gradients, root, now, ahead)
        else:
            self._update_all(gradients, root, now, ahead)

    def _shares(self) -> tuple[float, float]:
        """What of the gradient and of the first moment makes the direction of this step."""
        return 0.0, 1 / (1 - self.beta1**self.steps)

    def _update_rows(self, gradients: Sequence[Tensor], root: float, now: float, ahead: float) -> None:
        """One pass over parameters, gradient and moments per replicate and gradient, without gathering the gradients."""
        from affect.systems import ladder_kernels  # late: the compiler is slow to load

        rest1, rest2, inverse, epsilon = np.array((1 - self.beta1, 1 - self.beta2, 1 / root, self.epsilon), np.float32)
        steps = [(np.float32(rate * now), np.float32(rate * ahead)) for rate in self.learning_rate]
        buffers = [buffer.numpy() for buffer in (self.flat, self.first, self.second)]
        start = 0
        for gradient in gradients:
            rows = gradient.reshape(len(self.flat), -1).contiguous().numpy()
            stop = start + rows.shape[1]
            for k, step in enumerate(steps):
                p, m, v = (buffer[k, start:stop] for buffer in buffers)
                ladder_kernels.nadam(p, rows[k], m, v, rest1, rest2, inverse, epsilon, *step)
            start = stop

    def _update_all(self, gradients: Sequence[Tensor], root: float, now: float, ahead: float) -> None:
        """The same as torch operations on the whole buffer."""
        gradient = torch.cat([g.reshape(len(self.flat), -1) for g in gradients], dim=1)
        rate = torch.tensor(self.learning_rate, device=self.flat.device)[:, None]
        self.first.lerp_(gradient, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        denominator = self.second.sqrt().mul_(1 / root).add_(self.epsilon)
        self.flat.sub_((gradient * now).add_(self.first, alpha=ahead).div_(denominator).mul_(rate))

    def select(self, rows: Tensor) -> None:
        """Go on with these replicates alone; the buffer is a new one."""
        self.learning_rate = [self.learning_rate[row] for row in rows.tolist()]
        self.flat, self.first, self.second = (buffer[rows] for buffer in (self.flat, self.first, self.second))

    def state(self) -> dict[str, Any]:
        """The parameters too, for they are what it updates."""
        buffers = {name: getattr(self, name) for name in self._buffers}
        return {**buffers, "learning_rate": self.learning_rate, "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Into the buffers that there are."""
        for name in self._buffers:
            getattr(self, name).copy_(state[name])
        self.learning_rate = list(state["learning_rate"])
        self.steps = state["steps"]

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
        self.product = 1.0

    def _shares(self) -> tuple[float, float]:
        momentum, following = (
            self.beta1 * (1 - 0.5 * 0.96 ** (step * self.momentum_decay)) for step in (self.steps, self.steps + 1)
        )
        self.product *= momentum
        return (1 - momentum) / (1 - self.product), following / (1 - self.product * following)

    def state(self) -> dict[str, Any]:
        return super().state() | {"product": self.product}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.product = state["product"]
