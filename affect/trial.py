"""What is trained: tasks and trials, and what their identities are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

Settings = Mapping[str, Any]
"""Hyperparameter name → value."""

HELD_BACK = 2
"""Version of what tasks with missing views, discarded rows or the test part's inputs give a fit, apart from others, whose
ids do not have it. 2: discarded rows are each seed's own, a pass is as long as that of a task that holds nothing back, and a
view that rows lack is normalised with those that have it."""


@dataclass(frozen=True)
class TaskSpec:
    """What is to be learnt; with the seed (which draws the labelled subset) it fixes a `Task` exactly."""

    corpus: str
    """Content fingerprint of the corpus."""
    view: str
    """Name of a view, or names joined by `+` for systems that see several side by side."""
    targets: tuple[str, ...]
    metric: str
    protocol: str
    label_fraction: float
    fold: int = 0
    selection: str = "best_development"
    transductive: bool = False
    """Whether fits get the inputs of the test part, and no unlabelled training rows."""
    missing: float = 0.0
    """Share of training rows from which the last view is hidden, of those that have all, drawn by the seed, alike among
    labelled and other rows."""
    discard: bool = False
    """Whether fits get no row that lacks a view."""
    version: int = 1
    """Version of the task's own meaning: normalisation, clipping, label subset; raised when any of them changes."""

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(self.view.split("+"))

    @cached_property
    def text(self) -> str:
        """Canonical JSON: all trials of a task hash it. What ids are older than is spelt out where it is not usual."""
        named = asdict(self)
        for name, usual in (("version", 1), ("missing", 0.0), ("discard", False)):
            if named[name] == usual:
                del named[name]
        if self.missing or self.transductive:
            named["held_back"] = HELD_BACK
        return _JSON.encode(named)


@dataclass(frozen=True)
class Trial:
    """Cell × fold × seed. `id` is the SHA-256 of all that determines the result."""

    system: str
    version: int
    preset: str
    settings: Settings
    """Every hyperparameter, defaults included, in the system's declared order."""
    task: TaskSpec
    seed: int
    device: str
    """Device class: `cpu` or `cuda`."""

    @cached_property
    def cell(self) -> str:
        """SHA-256 of everything but the seed: trials of one cell share it."""
        head = _JSON.encode([self.system, self.version, self.preset, self.device])
        text = "\n".join((head, _JSON.encode(dict(self.settings)), self.task.text))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def id(self) -> str:
        return hashlib.sha256(f"{self.cell}/{self.seed}".encode()).hexdigest()

    def with_seeds(self, seeds: Iterable[int]) -> list[Trial]:
        """This trial under other seeds. The cell is hashed once for all: plans hold 100,000 trials."""
        trials = [replace(self, seed=seed) for seed in seeds]
        for trial in trials:
            trial.__dict__["cell"] = self.cell
        return trials
