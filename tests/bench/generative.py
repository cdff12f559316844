"""SMVAE and M2 as benchmarks (i) and (j) need them: random data of two views, a pack's trainer, plain loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from affect.data.task import FitData, Inputs
from affect.engine.work import Probe
from affect.systems import get_system
from affect.systems.base import resolve_settings
from affect.systems.process import settle
from affect.systems.training import Trainer, facts_of
from affect.systems.vae import GenerativeSystem
from affect.trial import Settings
from tests.bench.arrangements import Subject
from tests.bench.plain import batches
from tests.bench.plain_vae import PlainM2, PlainSMVAE, vae_loss

WIDTHS, HIDDEN, LATENT, CLASSES = (310, 33), (100, 50), 30, 3
"""SEED's two views, P2's networks."""
BATCH = 100
"""Labelled rows of a batch, and as many unlabelled."""
ROWS = 16 * BATCH

Model = TypeVar("Model", bound=nn.Module)


def settings_of(name: str) -> Settings:
    """The networks of P2 for every system, whatever its own default."""
    own = {"hidden": "-".join(map(str, HIDDEN)), "latent": LATENT, "batch_size": BATCH, "units": "softplus"}
    return resolve_settings(get_system(name), "paper", own)


def random_data() -> FitData:
    """Standard normal views and random classes."""
    draw = np.random.default_rng(0)
    arrays = tuple(draw.standard_normal((ROWS, width), dtype=np.float32) for width in WIDTHS)
    y = draw.integers(CLASSES, size=(ROWS, 1)).astype(np.float64)
    zeros, ones = np.zeros(sum(WIDTHS)), np.ones(sum(WIDTHS))
    return FitData(
        train=Inputs(arrays, np.arange(ROWS), zeros, ones),
        labelled=np.arange(ROWS),
        targets=("emotion",),
        y_labelled=y,
        target_mean=np.zeros(1),
        target_std=np.ones(1),
        development=Inputs(arrays, np.arange(BATCH), zeros, ones),
        y_development=y[:BATCH],
        n_train=ROWS,
        classes=CLASSES,
    )


def pack_of(name: str, size: int) -> Trainer:
    """A pack of `size` replicates ready to step, in a process set up as a worker is."""
    settle("cpu")
    system, data, settings = get_system(name), random_data(), settings_of(name)
    assert isinstance(system, GenerativeSystem)
    scalars = system.scalars(settings, data.targets)
    network = system.network(settings, facts_of(data))
    return Trainer(network, [data] * size, range(size), [scalars] * size, BATCH, "cpu")


def plain_m2_steps() -> Callable[[], None]:
    return steps_of(lambda: PlainM2(sum(WIDTHS), HIDDEN, LATENT, CLASSES), vae_loss)


def plain_smvae_steps() -> Callable[[], None]:
    return steps_of(lambda: PlainSMVAE(WIDTHS, HIDDEN, LATENT, CLASSES), vae_loss)


def pyro_m2_steps() -> Callable[[], None]:
    from tests.bench.pyro_m2 import PyroM2, pyro_loss

    return steps_of(lambda: PyroM2(sum(WIDTHS), HIDDEN, LATENT, CLASSES), pyro_loss)


def steps_of(
    make: Callable[[], Model], loss_of: Callable[[Model, Tensor, Tensor, Tensor, float], Tensor]
) -> Callable[[], None]:
    """One model of somebody's own on the same data: a function that makes one step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = make()
    data = random_data()
    x, y = data.train.take(slice(None)), torch.from_numpy(data.y_labelled[:, 0]).long()
    optimiser = torch.optim.Adam(model.parameters(), 3e-4)
    order = batches(len(x), BATCH)

    def step() -> None:
        labelled, pool = next(order), next(order)
        loss = loss_of(model, x[labelled], y[labelled], x[pool], 0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def subject() -> Subject:
    """(i): 20 seeds of SMVAE, half of which a worker would have."""
    sizes = "-".join(map(str, (sum(WIDTHS), *HIDDEN, LATENT)))
    return Subject(
        "i",
        f"SMVAE {sizes}, {BATCH} + {BATCH} rows",
        Probe("SMVAE", settings_of("SMVAE"), facts_of(random_data()), "cpu", 10),
        partial(pack_of, "SMVAE"),
        plain_smvae_steps,
        over_one=2.4,
        over_several=1.3,
    )
