"""The ladder network as benchmarks (c) and (d) need it: random data of given width, a pack's trainer, a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from affect.data.task import FitData, Inputs
from affect.engine.work import Probe
from affect.systems import get_system
from affect.systems.base import Facts, resolve_settings
from affect.systems.ladder import ATTRIBUTES, LadderSystem
from affect.systems.process import settle
from affect.systems.training import Trainer
from affect.trial import Settings
from tests.bench.arrangements import Subject
from tests.bench.plain import PlainLadder, batches, ladder_step

SYSTEM = "Lad+UL+MTL"
BATCH = 256
ROWS = 16 * BATCH
"""Labelled and pool rows: sixteen batches of exactly 256."""
SMALL = 46
"""Width of the small ladder, that of (c)."""


def facts_for(width: int) -> Facts:
    """Sizes of a task whose batches hold 256 labelled and 256 unlabelled rows."""
    return Facts(width, ATTRIBUTES, ROWS, ROWS, BATCH)


def paper_settings() -> Settings:
    """The paper's settings of the ladder with unlabelled data."""
    return resolve_settings(get_system(SYSTEM), "paper", {"batch_size": BATCH})


def random_data(width: int) -> FitData:
    """Standard normal inputs and targets."""
    draw = np.random.default_rng(0)
    array = draw.standard_normal((ROWS, width), dtype=np.float32)
    y = draw.standard_normal((ROWS, len(ATTRIBUTES)))
    inputs = Inputs((array,), np.arange(ROWS), np.zeros(width), np.ones(width))
    development = Inputs((array,), np.arange(BATCH), np.zeros(width), np.ones(width))
    return FitData(
        train=inputs,
        labelled=np.arange(ROWS),
        targets=ATTRIBUTES,
        y_labelled=y,
        target_mean=y.mean(0),
        target_std=y.std(0),
        development=development,
        y_development=y[:BATCH],
        n_train=ROWS,
    )


def pack_of(width: int, size: int) -> Trainer:
    """A pack of `size` replicates ready to step, in a process set up as a worker is."""
    settle("cpu")
    system = get_system(SYSTEM)
    assert isinstance(system, LadderSystem)
    settings, facts = paper_settings(), facts_for(width)
    scalars = system.scalars(settings, facts.targets)
    data = random_data(width)
    return Trainer(system.network(settings, facts), [data] * size, range(size), [scalars] * size, BATCH, "cpu")


def plain_steps(width: int) -> Callable[[], None]:
    """One plain model on the same data: a function that makes one step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = random_data(width)
    x, y = data.train.take(slice(None)), torch.from_numpy(data.y_labelled).float()
    model = PlainLadder(width)
    optimiser = torch.optim.NAdam(model.parameters(), 5e-5)
    order = batches(len(x), BATCH)

    def step() -> None:
        labelled, pool = next(order), next(order)
        ladder_step(model, optimiser, x[labelled], y[labelled], x[pool])

    return step


def subject() -> Subject:
    """(c): the small ladder, of which a worker would have up to 64 trials."""
    return Subject(
        "c",
        f"ladder {SMALL}-256-256-3, {BATCH} + {BATCH} rows",
        Probe(SYSTEM, paper_settings(), facts_for(SMALL), "cpu", 64),
        partial(pack_of, SMALL),
        partial(plain_steps, SMALL),
        over_one=2.8,
        over_several=1.5,
    )
