"""(d) One step of the wide ladder on one thread against its own large matrix products, and where the rest goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from affect.data.task import Inputs
from affect.systems.products import multiply
from tests.bench.figures import Item, Line, Target, compared
from tests.bench.ladder import BATCH, pack_of
from tests.bench.processes import Ready, alone

WIDTH, HIDDEN = 6373, 256
UPDATES = 2


def bench(repeats: int) -> Item:
    """At least 20 rounds of one step, then its products, then one step in parts."""
    rounds = max(20, 10 * repeats)
    found: dict[str, list[float]] = alone(_measured, rounds)
    step, products = found["step"], found["products"]
    parts = {name: median(found[name]) for name in ("gather", "noise", "optimiser", "loss and gradient")}
    parts["elementwise, forward and backward"] = parts.pop("loss and gradient") - median(products)
    whole = median(found["in parts"])
    ratios = [a / b for a, b in zip(step, products, strict=True)]
    return Item(
        "d",
        f"one ladder step {WIDTH}-{HIDDEN}-{HIDDEN}-3, {BATCH} + {BATCH} rows, one thread: time / time of its products",
        (
            compared("step : fourteen large products", "s", step, products, ratios, Target(2.0, "at most")),
            Line("  fourteen products : step", median(products), "s", whole, median(products) / whole),
            *(Line(f"  {name} : step", value, "s", whole, value / whole) for name, value in parts.items()),
        ),
        (
            "Products, per update: two forward, decoder, two weight gradients, decoder's weight gradient, gradient of its "
            "input; each of 256 rows.",
            "'elementwise' is the loss and its gradient less the fourteen products: small products, the layers' own "
            "arithmetic, and what autograd adds.",
        ),
    )


def products() -> Callable[[], None]:
    """A function that makes the fourteen products, and nothing else."""
    draw = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    clean, noisy = matrix(BATCH, WIDTH), matrix(BATCH, WIDTH)
    w, v = matrix(WIDTH, HIDDEN), matrix(HIDDEN, WIDTH)
    estimate, wide = matrix(BATCH, HIDDEN), matrix(BATCH, WIDTH)
    narrow_clean, narrow_noisy = matrix(BATCH, HIDDEN), matrix(BATCH, HIDDEN)

    def run() -> None:
        for _ in range(UPDATES):
            multiply(clean, w)
            multiply(noisy, w)
            multiply(estimate, v)
            multiply(estimate.T, wide)
            multiply(wide, v.T)
            multiply(clean.T, narrow_clean)
            multiply(noisy.T, narrow_noisy)

    return run


def _measured(ready: Ready, rounds: int) -> dict[str, list[float]]:
    trainer, of_products = pack_of(WIDTH, 1), products()
    found: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 3):
        step = {"step": timed(trainer.step), "products": timed(of_products), **in_parts(trainer)}
        if turn >= 3:
            for name, seconds in step.items():
                found[name].append(seconds)
    return dict(found)


def timed(action: Callable[[], Any]) -> float:
    """Seconds that `action` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def in_parts(trainer: Any) -> dict[str, float]:
    """Seconds of one step by part."""
    spent: dict[str, float] = defaultdict(float)
    with (
        clocked(Inputs, "take", spent),
        clocked(type(trainer.optimiser), "update", spent),
        clocked(type(next(iter(trainer.sources.values()))), "next", spent),
    ):
        whole = timed(trainer.step)
    return {
        "in parts": whole,
        "gather": spent["take"],
        "noise": spent["next"] - spent["take"],
        "optimiser": spent["update"],
        "loss and gradient": whole - spent["next"] - spent["update"],
    }


@contextmanager
def clocked(owner: type, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add the time that method `name` of `owner` takes to `spent[name]`."""
    original = getattr(owner, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - started

    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, original)
