"""(j) One step of M2 on one thread: against its own products, a plain loop, Pyro, and what public code was seen to take."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from affect.systems.products import multiply
from tests.bench.figures import Item, Line, Target, compared
from tests.bench.generative import BATCH, CLASSES, HIDDEN, LATENT, WIDTHS, pack_of, plain_m2_steps, pyro_m2_steps
from tests.bench.one_step import in_parts
from tests.bench.processes import Ready, alone

PUBLIC = {"semi-supervised-pytorch": 5.9e-3, "Pyro, unlabelled rows alone": 8.6e-3}
"""CPU seconds that a step of public M2s of these sizes took on one thread of a comparable core. The first is on no index of
packages, so it cannot be installed to be run here; Pyro is run."""


def bench(repeats: int) -> Item:
    """At least 100 rounds of one step, its products and a plain loop's step."""
    found: dict[str, list[float]] = alone(_measured, max(100, 50 * repeats))
    step = found["step"]

    def against(what: str, name: str, target: Target | None = None) -> Line:
        return compared(what, "s", step, found[name], [a / b for a, b in zip(step, found[name], strict=True)], target)

    public = [
        Line(
            f"step : {name}, seen elsewhere",
            median(step),
            "s",
            seconds,
            median(step) / seconds,
            None,
            Target(1, "at most"),
        )
        for name, seconds in PUBLIC.items()
    ]
    whole = median(found["in parts"])
    parts = [
        Line(f"  {name} : step", median(found[name]), "s", whole, median(found[name]) / whole)
        for name in ("gather", "noise", "optimiser", "loss and gradient")
    ]
    sizes = "-".join(map(str, (sum(WIDTHS), *HIDDEN, LATENT)))
    return Item(
        "j",
        f"one M2 step {sizes}, {BATCH} + {BATCH} rows, {CLASSES} classes, one thread",
        (
            against("step : its products", "products"),
            against("step : a plain eager loop", "plain"),
            against("step : Pyro, all rows", "pyro", Target(1, "at most")),
            *public,
            *parts,
        ),
        (
            "CPU seconds of the process, as the public figures are; the parts below are wall seconds.",
            "Products: of every layer forward, for its weights, and for its input where something learns from that.",
        ),
    )


def products() -> Callable[[], None]:
    """A function that makes the products of a step, and nothing else."""
    both, all_ = 2 * BATCH, (1 + CLASSES) * BATCH
    wide, (first, second) = sum(WIDTHS), HIDDEN
    layers = [
        *((both, wide, first, False), (both, first, second, True), (both, second, CLASSES, True)),
        *((both, wide, first, False), (all_, first, second, True), (all_, second, 2 * LATENT, True)),
        *((all_, LATENT, second, True), (all_, second, first, True), (all_, first, 2 * wide, True)),
    ]
    draw = torch.Generator().manual_seed(0)
    matrices = [
        (torch.randn(n, a, generator=draw), torch.randn(a, b, generator=draw), torch.randn(n, b, generator=draw), deep)
        for n, a, b, deep in layers
    ]

    def run() -> None:
        for x, w, g, deep in matrices:
            multiply(x, w)
            multiply(x.T, g)
            if deep:
                multiply(g, w.T)

    return run


def _measured(ready: Ready, rounds: int) -> dict[str, list[float]]:
    plain, pyro, trainer, of_products = plain_m2_steps(), pyro_m2_steps(), pack_of("M2", 1), products()
    found: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 10):
        step = {"step": _busy(trainer.step), "products": _busy(of_products), "plain": _busy(plain), "pyro": _busy(pyro)}
        step |= in_parts(trainer)
        if turn >= 10:
            for name, seconds in step.items():
                found[name].append(seconds)
    return dict(found)


def _busy(action: Callable[[], Any]) -> float:
    """CPU seconds that `action` takes."""
    started = time.process_time()
    action()
    return time.process_time() - started
