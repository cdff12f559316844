"""What a system is: the contract between the models and the engine.

A *replicate* is one trial as a system sees it: the part of a task it may fit on, its settings and its seed. A system
fits a list of replicates that share their `structure` (one pack); gradient systems train them as one stacked
computation, estimators one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from affect.data.task import FitData, Inputs
from affect.errors import UserError
from affect.stats.metrics import score_columns
from affect.systems.shards import ALONE, Shard
from affect.trial import Settings


@dataclass(frozen=True)
class Hyperparameter:
    """A named setting: its paper default, its admissible values, and whether replicates of a pack may differ in it."""

    default: float | int | str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    structural: bool = False
    """Changes tensor shapes or the number of steps, so it partitions packs."""
    late: bool = False
    """Settings do not hold it while it has its default: there are results from before it existed."""
    part_of: str = ""
    """Settings hold it only where this other setting does not have its default."""
    help: str = ""

    @property
    def admissible(self) -> str:
        """Its values in words; empty where all of its type are."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None:
            return "" if self.high is None else f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"

    def parse(self, name: str, value: Any, system: str) -> float | int | str:
        """`value` (a string from the command line, or a number) as this hyperparameter's type, or a `UserError`."""
        if self.choices:
            if value not in self.choices:
                raise UserError(f"{system}: {name}={value} is not one of {', '.join(self.choices)}.")
            return str(value)
        kind = type(self.default)
        try:
            number: Any = kind(value)
        except (TypeError, ValueError):
            due = "a whole number" if kind is int else "a number"
            raise UserError(f"{system}: {name}={value} is not {due}.") from None
        if isinstance(number, float) and not np.isfinite(number):
            raise UserError(f"{system}: {name}={value} is not finite.")
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            bounds = f"at least {self.low:g}" if self.high is None else f"between {self.low or 0:g} and {self.high:g}"
            raise UserError(f"{system}: {name}={value} must be {bounds}.")
        return number


@dataclass(frozen=True)
class Facts:
    """Sizes of a task, known when planning: what decides shapes and the number of steps."""

    width: int
    targets: tuple[str, ...]
    n_labelled: int
    n_pool: int
    n_development: int
    widths: tuple[int, ...] = ()
    """Columns of each view; `width` is their sum."""
    classes: int = 0
    """Classes of the one target; 0 for continuous targets."""
    epoch_rows: int = 0
    """See `FitData.epoch_rows`."""
    n_complete: int = field(default=0, compare=False)
    """Rows of the pool that have every view, or more where their number depends on the seed; 0: all. Shapes and steps do
    not depend on it."""

    @property
    def n_epoch(self) -> int:
        """Unlabelled rows that make an epoch."""
        return self.epoch_rows or self.n_pool


@dataclass(frozen=True)
class Replicate:
    """One trial of a pack."""

    data: FitData
    settings: Settings
    seed: int


@dataclass(frozen=True)
class Fit:
    """A finished fit of one replicate."""

    status: str
    """`complete`, `diverged`, or `stopped` before its last epoch."""
    predict: Callable[[Inputs], np.ndarray]
    """n samples → predictions [n, T] in the targets' own units (of a class: its number); column t from the snapshot kept
    for target t."""
    epochs: Mapping[str, int] = field(default_factory=dict)
    """Target → kept epoch (1-based; 0 where nothing was chosen)."""
    curves: Sequence[tuple[int, str, str, float]] = ()
    """(epoch, partition, target, value of the task's metric)."""
    learned: Sequence[tuple[int, str, float]] = ()
    """(epoch, name, value) of what a network learned and a reader may want to see, such as the weights of views."""
    impute: Callable[[Inputs], np.ndarray] | None = None
    """n samples → their normalised inputs [n, D] with the views that they lack filled in. None where the system cannot, and
    of a fit that did not end."""


class Fitting(Protocol):
    """A pack in training. Replicates are numbered as they were given, whatever becomes of them."""

    epochs: int
    """Passes that a whole fit takes."""
    epoch: int
    """Passes made."""

    def advance(self) -> None:
        """Make one pass."""

    def best(self) -> np.ndarray:
        """[K, T] best development value so far; NaN where a target has no weight, and for replicates that diverged."""

    def stop(self, replicates: Sequence[int]) -> None:
        """Train these no further. The others go on as if these had never been there."""

    def fits(self) -> list[Fit]:
        """What came of each replicate. A stopped one has no test predictions, only what its curves hold."""

    def state(self) -> dict[str, Any]:
        """All that the epochs to come depend on, as tensors and plain values. The tensors are the fitting's own: to be
        saved before its next epoch."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on, in a pack just begun, from where an equal pack was when it gave its `state`."""


Watch = Callable[[Fitting], None]
"""Called with a pack before its first epoch and after each: to show progress, or to save and restore its state."""


class AtOnce:
    """A pack of fits without epochs; follows `Fitting`. `fit(replicate)` has no say over when it ends."""

    epochs = 1

    def __init__(self, replicates: Sequence[Replicate], fit: Callable[[Replicate], Fit]) -> None:
        self.epoch = 0
        self._replicates = replicates
        self._fit = fit
        self._stopped: set[int] = set()
        self._fits: list[Fit] = []

    def advance(self) -> None:
        self._fits = [self._fit(replicate) for replicate in self._replicates]
        self.epoch = 1

    def best(self) -> np.ndarray:
        """The development values of the fits, which have no curve of their own."""
        values = np.full((len(self._replicates), len(self._replicates[0].data.targets)), np.nan)
        for row, replicate, fit in zip(values, self._replicates, self._fits, strict=True):
            if fit.status == "complete":
                data = replicate.data
                row[:] = score_columns(data.metric, data.y_development, fit.predict(data.development))
        return values

    def stop(self, replicates: Sequence[int]) -> None:
        self._stopped.update(replicates)

    def fits(self) -> list[Fit]:
        return [replace(fit, status="stopped") if k in self._stopped else fit for k, fit in enumerate(self._fits)]

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing: there is no state between beginning and end."""


class System(Protocol):
    """One row of a table. Registered by name in `affect.systems`."""

    @property
    def name(self) -> str:
        """The row's name, as in the paper's table."""

    @property
    def paper(self) -> str:
        """Short name of the paper it comes from."""

    @property
    def description(self) -> str:
        """One line for listings."""

    @property
    def version(self) -> int:
        """Raised whenever the meaning of a result changes; part of every trial's id."""

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Every setting it has, in the order in which results list them."""

    @property
    def presets(self) -> Mapping[str, Settings]:
        """Preset name → values that differ from the hyperparameters' defaults."""

    @property
    def needs_text(self) -> bool:
        """Whether it fits on the corpus' text column instead of a numeric view."""

    @property
    def seeded(self) -> bool:
        """False where a fit depends on the seed through the labelled subset alone."""

    def check(self, settings: Settings) -> None:
        """Raise `UserError` for settings that contradict each other (α+β>1)."""

    def scored_targets(self, settings: Settings, targets: Sequence[str]) -> tuple[str, ...]:
        """The targets for which a fit with these settings has a meaning (weight above zero)."""

    def may_lack(self, settings: Settings, views: int) -> Collection[int]:
        """Which of the views (0-based) rows to fit on may lack. It would take others for seen: zeros, the training means."""

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        """Replicates with equal structure may share a pack."""

    def steps(self, settings: Settings, facts: Facts) -> int:
        """Optimiser steps of one fit (1 for estimators): the unit of cost within a structure."""

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """Measure the device: pack size with the best throughput (at most `largest`), seconds per step of a replicate."""

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        """Start a pack of one task and structure. No replicate's result depends on the others.

        `shard`: the workers that share the batches, each of which begins and advances the same pack. What cannot be
        shared is done by each of them alike."""


def fit_pack(
    system: System,
    replicates: Sequence[Replicate],
    *,
    device: str,
    shard: Shard = ALONE,
    watch: Watch = lambda fitting: None,
) -> list[Fit]:
    """Train a pack to its last epoch; entry k belongs to replicate k."""
    fitting = system.begin(replicates, device=device, shard=shard)
    watch(fitting)
    while fitting.epoch < fitting.epochs:
        fitting.advance()
        watch(fitting)
    return fitting.fits()


def resolve_settings(system: System, preset: str, *overrides: Settings) -> dict[str, float | int | str]:
    """The hyperparameters of `system`, defaults < preset < overrides from left to right, checked.

    Overrides naming a hyperparameter that this system does not have are ignored: an override holds for all systems of
    a study, and the command line refuses names that none of them knows.
    """
    if preset not in system.presets:
        raise UserError(f"{system.name} has no preset {preset}; it has {', '.join(system.presets)}.")
    merged: dict[str, Any] = {name: hp.default for name, hp in system.hyperparameters.items()}
    for layer in (system.presets[preset], *overrides):
        merged.update({name: value for name, value in layer.items() if name in merged})
    known = system.hyperparameters
    settings = {name: hp.parse(name, merged[name], system.name) for name, hp in known.items()}
    usual = {name for name, value in settings.items() if value == known[name].default}
    unheld = {name for name, hp in known.items() if (hp.late and name in usual) or hp.part_of in usual}
    settings = {name: value for name, value in settings.items() if name not in unheld}
    system.check(settings)
    return settings
