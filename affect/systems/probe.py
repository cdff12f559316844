"""A short measurement that decides how many replicates a pack should hold on this device."""

from __future__ import annotations

import os
import time

import numpy as np
import torch

from affect.data.task import FitData, Inputs
from affect.systems.base import Facts
from affect.systems.training import Network, Scalars, Trainer, batches_per_epoch

SECONDS = 0.15
"""Training time spent on each candidate size."""
WORTH = 1.03
"""A larger pack must be this much faster per replicate to be chosen: small packs spread better and lose less in a crash."""
MEMORY_SHARE = 0.5
"""Of the device's memory (a core's share of it on a CPU) that a pack may take."""


def probe(
    network: Network, scalars: Scalars, facts: Facts, batch_size: int, device: str, largest: int
) -> tuple[int, float]:
    """Pack size with the best throughput, up to `largest`, and seconds per step of one replicate at that size.

    Doubles the pack until memory (parameters, gradients, optimiser state, snapshots, activations) or `largest` is
    reached, or until twice the size no longer pays. A single replicate that does not fit raises `torch.OutOfMemoryError`.
    """
    data = _stand_in(facts, batch_size)
    best_size, best_seconds = 1, float("inf")
    size = 1
    while size <= largest:
        if size > 1 and size * replicate_bytes(network, facts, batch_size) > memory_budget(device):
            break
        try:
            seconds = _seconds_per_step(network, data, scalars, batch_size, device, size) / size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            break
        if best_seconds / seconds >= WORTH:
            best_size, best_seconds = size, seconds
        elif size > 2 * best_size:
            break
        size = 2 * size
    return best_size, best_seconds


def replicate_bytes(network: Network, facts: Facts, batch_size: int) -> int:
    """Float32 bytes of one replicate: parameters, gradient, two moments, a snapshot per target, and the arrays of a
    batch that are alive at once (about eight of the input's and hidden layers' width)."""
    states = network.layout.size * (2 + 2 + len(facts.targets))
    width = max(sum(update.normal) + sum(update.uniform) for update in network.updates)
    return 4 * (states + 8 * batch_size * width)


def memory_budget(device: str) -> int:
    """Bytes that one pack may take."""
    if device.startswith("cuda"):
        return int(MEMORY_SHARE * torch.cuda.get_device_properties(device).total_memory)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(MEMORY_SHARE * total / (os.cpu_count() or 1))


def _seconds_per_step(
    network: Network, data: FitData, scalars: Scalars, batch_size: int, device: str, size: int
) -> float:
    """Median seconds of one step of a pack of `size` replicates."""
    trainer = Trainer(network, [data] * size, range(size), [scalars] * size, batch_size, device)
    trainer.step()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < SECONDS and len(times) < 200):
        start = time.perf_counter()
        trainer.step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _stand_in(facts: Facts, batch_size: int) -> FitData:
    """Random data whose batches have the shapes of the real ones."""
    generator = np.random.default_rng(0)
    labelled = -(-facts.n_labelled // batches_per_epoch(facts.n_labelled, batch_size))
    pool = max(labelled, -(-facts.n_pool // batches_per_epoch(facts.n_pool, batch_size)))
    widths = facts.widths or (facts.width,)
    arrays = tuple(generator.standard_normal((pool, width), dtype=np.float32) for width in widths)
    inputs = Inputs(arrays, np.arange(pool), np.zeros(facts.width), np.ones(facts.width))
    y = generator.standard_normal((labelled, len(facts.targets)))
    if facts.classes:
        y = generator.integers(facts.classes, size=(labelled, 1)).astype(np.float64)
    return FitData(
        train=inputs,
        labelled=np.arange(labelled),
        targets=facts.targets,
        y_labelled=y,
        target_mean=np.zeros(1) if facts.classes else y.mean(0),
        target_std=np.ones(1) if facts.classes else y.std(0),
        development=inputs,
        y_development=np.zeros((pool, len(facts.targets))),
        n_train=pool,
        classes=facts.classes,
    )
