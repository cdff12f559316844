"""What a system is: the contract between the models and the engine.

A *replicate* is one trial as a system sees it: the part of a task it may fit on, its settings and its seed. A system
fits a list of replicates that share their `structure` (one pack); gradient systems train them as one stacked
computation, estimators one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from affect.data.task import FitData, Inputs
from affect.errors import UserError
from affect.study import Settings

Report = Callable[[int, int], None]
"""Called as report(epochs_done, epochs) so that a caller can show progress; knows nothing of Ray."""


@dataclass(frozen=True)
class Hyperparameter:
    """A named setting: its paper default, its admissible values, and whether replicates of a pack may differ in it."""

    default: float | int | str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    structural: bool = False
    """Changes tensor shapes or the number of steps, so it partitions packs."""
    help: str = ""

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
            raise UserError(f"{system}: {name}={value} is not a {kind.__name__}.") from None
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
    """`complete` or `diverged`."""
    predict: Callable[[Inputs], np.ndarray]
    """n samples → predictions [n, T] in the targets' own units; column t from the snapshot kept for target t."""
    epochs: Mapping[str, int] = field(default_factory=dict)
    """Target → kept epoch (1-based; 0 where nothing was chosen)."""
    curves: Sequence[tuple[int, str, str, float]] = ()
    """(epoch, partition, target, value of the task's metric)."""


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

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        """Replicates with equal structure may share a pack."""

    def steps(self, settings: Settings, facts: Facts) -> int:
        """Optimiser steps of one fit (1 for estimators): the unit of cost within a structure."""

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        """Measure the device: pack size with the best throughput (at most `largest`), seconds per step of a replicate."""

    def fit(self, replicates: Sequence[Replicate], *, device: str, report: Report) -> list[Fit]:
        """Fit a pack of one task and structure; entry k belongs to replicate k and does not depend on the others."""


def resolve_settings(system: System, preset: str, *overrides: Settings) -> dict[str, float | int | str]:
    """Every hyperparameter of `system`, defaults < preset < overrides from left to right, checked.

    Overrides naming a hyperparameter that this system does not have are ignored: an override holds for all systems of
    a study, and the command line refuses names that none of them knows.
    """
    if preset not in system.presets:
        raise UserError(f"{system.name} has no preset {preset}; it has {', '.join(system.presets)}.")
    merged: dict[str, Any] = {name: hp.default for name, hp in system.hyperparameters.items()}
    for layer in (system.presets[preset], *overrides):
        merged.update({name: value for name, value in layer.items() if name in merged})
    settings = {name: hp.parse(name, merged[name], system.name) for name, hp in system.hyperparameters.items()}
    system.check(settings)
    return settings
