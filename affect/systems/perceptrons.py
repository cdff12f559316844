"""Stacked multi-layer perceptrons whose input is made of parts, one of which may be a class.

A class is never multiplied as a one-hot vector: its part of the first layer is a table of which rows are looked up. Where
all classes are gone through, the products with the other parts are made once and shared by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from affect.streams import stream
from affect.systems.gaussians import GaussianOutput
from affect.systems.products import affine

CLASS = "y"
"""Name of the part that is a class."""


@dataclass(frozen=True)
class Rows:
    """Which rows the networks of a semi-supervised batch work on: its labelled rows, each with its class, then its
    unlabelled rows with class 0, the same with class 1, and so on. R in all."""

    y: Tensor
    """[K, L] classes of the labelled rows."""
    unlabelled: int
    classes: int

    @property
    def labelled(self) -> int:
        return self.y.shape[1]

    def spread(self, values: Tensor) -> Tensor:
        """Values of the rows of the batch [K, L + U, H] → of these rows [K, R, H]."""
        if not self.unlabelled or self.classes == 1:
            return values
        known, rest = values.split((self.labelled, self.unlabelled), 1)
        return torch.cat((known, rest.repeat(1, self.classes, 1)), 1)

    def look_up(self, table: Tensor) -> Tensor:
        """Row of the table [K, C, H] that belongs to each row's class → [K, R, H]."""
        k, _, width = table.shape
        known = table.gather(1, self.y.unsqueeze(-1).expand(-1, -1, width))
        rest = table.unsqueeze(2).expand(-1, -1, self.unlabelled, -1).reshape(k, -1, width)
        return torch.cat((known, rest), 1)

    def sources(self, copies: int = 1) -> Tensor:
        """[copies · R] which row of the batch each of these rows comes from, of so many copies of them in a row."""
        n, device = self.labelled, self.y.device
        known, rest = torch.arange(n, device=device), torch.arange(n, n + self.unlabelled, device=device)
        return torch.cat((known, rest.repeat(self.classes))).repeat(copies)


def without_classes(x: Tensor) -> Rows:
    """The rows of a batch [K, B, D] once, for networks that know no class."""
    return Rows(torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device), 0, 1)


@dataclass(frozen=True)
class Perceptron:
    """Layout and layers of one network; parameters are named after it."""

    name: str
    parts: Mapping[str, int]
    """Parts of the input and their widths."""
    hidden: tuple[int, ...]
    outputs: int
    units: str
    """`softplus` or `relu`."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """In buffer order."""
        first, *_ = self.hidden
        shapes: dict[str, tuple[int, ...]] = {f"{self.name}.{part}": (w, first) for part, w in self.parts.items()}
        shapes[f"{self.name}.b1"] = (1, first)
        for layer, (a, b) in enumerate(pairwise((*self.hidden, self.outputs)), 2):
            shapes |= {f"{self.name}.w{layer}": (a, b), f"{self.name}.b{layer}": (1, b)}
        return shapes

    def initial(self, seed: int) -> dict[str, Tensor]:
        """Weights U(±√(6/(fan in + fan out))) (Glorot), biases 0."""
        inputs = sum(self.parts.values())
        values = {}
        for name, (a, b) in self.shapes.items():
            fan = inputs if name.removeprefix(f"{self.name}.") in self.parts else a
            draws = stream(seed, "init", name).uniform(-1, 1, (a, b)) * (6 / (fan + b)) ** 0.5
            bias = name.rpartition(".")[2].startswith("b")
            values[name] = torch.zeros(a, b) if bias else torch.from_numpy(draws.astype(np.float32))
        return values

    def enter(
        self,
        p: Mapping[str, Tensor],
        shared: Mapping[str, Tensor],
        rows: Rows | None = None,
        own: Mapping[str, Tensor] | None = None,
        copies: int = 1,
    ) -> Tensor:
        """First pre-activation. `shared` parts [K, B, ·] have one row per row of the batch and `own` parts
        [K, copies · R, ·] one per row of so many copies of `rows`; the class is looked up. Without `rows`: [K, B, H]."""
        value = p[f"{self.name}.b1"]
        for part, x in shared.items():
            value = affine(value, x, p[f"{self.name}.{part}"])
        if rows is not None:
            value = rows.spread(value) if shared else value
            if CLASS in self.parts:
                value = value + rows.look_up(p[f"{self.name}.{CLASS}"])
            if value.shape[1] > 1:
                value = value.repeat(1, copies, 1)
        for part, x in (own or {}).items():
            value = affine(value, x, p[f"{self.name}.{part}"])
        return value

    def climb(self, p: Mapping[str, Tensor], value: Tensor) -> Tensor:
        """First pre-activation → last hidden layer."""
        for layer in range(2, len(self.hidden) + 1):
            value = affine(p[f"{self.name}.b{layer}"], self._activate(value), p[f"{self.name}.w{layer}"])
        return self._activate(value)

    def output(self, p: Mapping[str, Tensor], value: Tensor) -> Tensor:
        """First pre-activation → outputs."""
        weight, bias = self.last(p)
        return affine(bias, self.climb(p, value), weight)

    def log_density(self, p: Mapping[str, Tensor], value: Tensor, x: Tensor, rows: Rows, copies: int = 1) -> Tensor:
        """First pre-activation → log density [K, copies · R] of rows of x [K, B, D] under the Gaussian that is put out."""
        weight, bias = self.last(p)
        return GaussianOutput.apply(self.climb(p, value), weight, bias, x, rows.sources(copies))

    def last(self, p: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weight [K, H, outputs] and bias [K, 1, outputs] of the last layer."""
        layer = len(self.hidden) + 1
        return p[f"{self.name}.w{layer}"], p[f"{self.name}.b{layer}"]

    def _activate(self, value: Tensor) -> Tensor:
        return functional.softplus(value) if self.units == "softplus" else functional.relu(value)
