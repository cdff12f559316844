"""A declared search with every open choice fixed: its identity, its budget, and what is stored of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import optuna
import pandas as pd

from affect.engine import suggestions
from affect.engine.plan import preset_of, settings_of, task_facts, task_spec
from affect.engine.waves import COMPLETE, DIVERGED, STOPPED
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row, Search, Space
from affect.systems import get_system
from affect.systems.base import System
from affect.trial import Settings, TaskSpec, Trial

WAVES_PER_SLOT = 8
"""A search of N suggestions is cut into about so many waves per worker: fewer would give Optuna too little to learn
from between them, more would leave stacks and ASHA with too few to share."""
LARGEST_WAVE = 16
LEARNING = 1.8
"""So many times 1/reduction of the suggestions go on at a rung, for Optuna's later ones are better than those that they are
compared with: 36 of 100 passed two rungs of reduction 3 on QCC, rather than 11."""
ENDS = (COMPLETE, STOPPED, DIVERGED)
"""Statuses of rows of a search, the worst last."""


@dataclass(frozen=True)
class ResolvedSearch:
    """A search with every open choice fixed."""

    resolved: Resolved
    declared: Search
    fraction: float
    total: int
    """Suggestions to bring to an end."""
    seeds: int
    """Search seeds; refits use the ones that follow."""
    steps: int | None = None
    """Of a control, which stops nothing: optimiser steps to spend instead."""

    @property
    def control(self) -> bool:
        return self.steps is not None

    @property
    def epochs(self) -> int:
        """Of a suggestion that goes all the way."""
        return int(self.settings_of({}).get("epochs", 1))

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which suggestions are compared: those declared that lie before the end."""
        return () if self.control else tuple(rung for rung in self.declared.rungs if rung < self.epochs)

    @property
    def system(self) -> System:
        return get_system(self.declared.system)

    @property
    def task(self) -> TaskSpec:
        return task_spec(self.resolved, self.fraction, Row(self.declared.system))

    @cached_property
    def name(self) -> str:
        """Names the journal, and the search in every row: in it is all that decides what a suggestion is worth, and which is
        first and never stopped."""
        identity = {
            "cell": self.trials_of({})[0].cell,
            "space": outline(self.declared.space)[0],
            "rungs": self.rungs,
            "reduction": self.declared.reduction,
            "seeds": self.seeds,
            "spared": self.hand_set(),
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
        kind = "-control" if self.control else ""
        return f"{self.resolved.corpus.name}-{self.declared.system}-{self.fraction:g}{kind}-{digest}"

    def settings_of(self, suggested: Settings) -> dict[str, float | int | str]:
        """Every hyperparameter: `--set` wins over what is suggested, that over what the study sets for the corpus."""
        return settings_of(self.system, self.resolved, suggested)

    def full_settings_of(self, suggested: Settings) -> dict[str, float | int | str]:
        """`settings_of`, with the default of every hyperparameter that settings leave out."""
        settings = self.settings_of(suggested)
        return {name: settings.get(name, hp.default) for name, hp in self.system.hyperparameters.items()}

    def hand_set(self) -> dict[str, Any]:
        """Answers to what the space asks that make the hand-set configuration, as nearly as what it offers allows. What
        neither a setting nor `Search.start` answers is missing."""
        settings = self.full_settings_of({})
        recorder = _Recorder({**settings, **(self.declared.start(settings) if self.declared.start else {})})
        if self.declared.space is not None:
            self.declared.space(recorder)
        return recorder.answers

    def changed(self, suggested: Settings) -> list[str]:
        """Names of the hyperparameters that `suggested` takes away from their hand-set values."""
        before, after = self.full_settings_of({}), self.full_settings_of(suggested)
        return [name for name in after if not _same(before[name], after[name])]

    def check(self) -> None:
        """UserError for what would only show once suggestions are trained."""
        self.trials_of({})
        searched = outline(self.declared.space)[1]
        for name in sorted(searched & {*self.resolved.overrides, "epochs"}):
            told = self.resolved.overrides.get(name)
            what = f"--set {name}={told}" if told is not None else f"--search of {self.declared.system}"
            raise UserError(f"{what}: the search of {self.declared.system} chooses {name} itself; leave it out.")

    def trials_of(self, suggested: Settings) -> tuple[Trial, ...]:
        first = Trial(
            system=self.system.name,
            version=self.system.version,
            preset=preset_of(self.system, self.resolved),
            settings=self.settings_of(suggested),
            task=self.task,
            seed=0,
            device=self.resolved.device,
        )
        return tuple(first.with_seeds(range(self.seeds)))

    def steps_of(self, settings: Settings, epochs: int) -> int:
        """Optimiser steps that `epochs` epochs of a suggestion take, over all search seeds."""
        facts = task_facts(self.resolved.corpus, self.task)
        return self.seeds * math.ceil(self.system.steps(self.settings_of(settings), facts) * epochs / self.epochs)

    def spent(self, study: optuna.Study) -> int:
        """Optimiser steps of all suggestions that came to an end."""
        frame = suggestions.history(study)
        return sum(self.steps_of(s, e) for s, e in zip(frame["settings"].map(json.loads), frame["epochs"], strict=True))

    @cached_property
    def _whole(self) -> int:
        return self.steps_of({}, self.epochs)

    def lacking(self, study: optuna.Study) -> int:
        """How many more suggestions to ask for, those that are running taken for whole ones."""
        if self.steps is not None:
            left = self.steps - self.spent(study)
            return max(0, math.ceil(left / self._whole) - len(suggestions.running(study)))
        return max(0, self.total - suggestions.finished(study) - len(suggestions.running(study)))

    @property
    def expected_share(self) -> float:
        """Of its epochs that a suggestion is expected to train."""
        marks, going_on = [0, *self.rungs, self.epochs], min(1.0, LEARNING / self.declared.reduction)
        share = sum((b - a) * going_on**k for k, (a, b) in enumerate(pairwise(marks)))
        return share / self.epochs

    def wave(self, slots: int) -> int:
        """Suggestions per wave."""
        total = self.total if self.steps is None else math.ceil(self.steps / self._whole)
        return max(self._fewest, min(LARGEST_WAVE, math.ceil(total / (WAVES_PER_SLOT * slots))))

    def next_wave(self, slots: int, lacking: int) -> int:
        """Suggestions of the next wave when so many are lacking. The last ones are shared out among the workers, of which
        one would train a whole wave by itself while the others wait."""
        shared = max(self._fewest, math.ceil(lacking / slots))
        return min(lacking, self.wave(slots), shared)

    @property
    def _fewest(self) -> int:
        """The smallest wave to cut: while no others are known, ASHA lets one of fewer go on whatever it is worth."""
        return self.declared.reduction if self.rungs else 1


class _Recorder:
    """Stands for an Optuna trial and notes what a space asks of it; answers with what is offered nearest to the value
    `given`, or with the lowest or first."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given, self.answers = given, dict[str, Any]()
        self.asked: list[list[Any]] = []

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        self.asked.append(["float", name, low, high, sorted(options.items())])
        return self._answer(name, low, lambda value: _nearest(float(value), low, high, options.get("step")))

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        self.asked.append(["int", name, low, high, sorted(options.items())])
        return int(self._answer(name, low, lambda value: round(_nearest(value, low, high, options.get("step", 1)))))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked.append(["categorical", name, *choices, []])
        if all(isinstance(choice, int | float) for choice in choices):
            return self._answer(name, choices[0], lambda value: min(choices, key=lambda choice: abs(choice - value)))
        if self.given.get(name) in choices:
            return self._answer(name, choices[0], lambda value: value)
        return choices[0]

    def _answer(self, name: str, otherwise: Any, offered: Callable[[Any], Any]) -> Any:
        if name not in self.given:
            return otherwise
        self.answers[name] = offered(self.given[name])
        return self.answers[name]


def _nearest(value: float, low: float, high: float, step: float | None) -> float:
    value = min(max(value, low), high)
    return low + min(round((value - low) / step), math.floor((high - low) / step)) * step if step else value


def _same(a: float | int | str, b: float | int | str) -> bool:
    """But for what rounding leaves of a value that a space computes."""
    return a == b if isinstance(a, str) or isinstance(b, str) else math.isclose(a, b, rel_tol=1e-9)


def outline(space: Space | None) -> tuple[list[list[Any]], set[str]]:
    """What a space asks Optuna for, ranges and all, and the settings that it makes of the answers."""
    if space is None:
        return [], set()
    recorder = _Recorder({})
    settings = space(recorder)
    return recorder.asked, set(settings)


def stored_statuses(search: ResolvedSearch, rows: pd.DataFrame) -> dict[int, tuple[str, frozenset[str]]]:
    """Number → (status, ids of its trials) of the suggestions of `search` whose rows are stored; the worst of its trials
    counts."""
    mine = rows[(rows["search"] == search.name) & rows["status"].isin(ENDS)].drop_duplicates("trial")
    found: dict[int, tuple[str, frozenset[str]]] = {}
    for number, part in mine.groupby(mine["suggestion"].astype(int)):
        found[int(number)] = (max(part["status"].astype(str), key=ENDS.index), frozenset(part["trial"].astype(str)))
    return found


def history_of(search: ResolvedSearch, study: optuna.Study) -> pd.DataFrame:
    """`suggestions.history` with the optimiser steps of each."""
    frame = suggestions.history(study)
    settings = frame["settings"].map(json.loads)
    frame["steps"] = [search.steps_of(s, e) for s, e in zip(settings, frame["epochs"], strict=True)]
    return frame
