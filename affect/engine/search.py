"""A declared search from first suggestion to refits: what is asked for, what is stored, and what is trained afterwards."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
import pandas as pd

from affect.engine import suggestions
from affect.engine.plan import Plan, task_facts, task_spec
from affect.engine.suggestions import Suggestion
from affect.study import Mark, Resolved, Row, Scale, Search, Settings, Table, TaskSpec, Trial
from affect.systems import get_system
from affect.systems.base import System, resolve_settings

WAVES_PER_SLOT = 5
"""A search of N suggestions is cut into about so many waves per worker: fewer would give Optuna too little to learn
from between them, more would leave stacks and ASHA with too few to share."""
LARGEST_WAVE = 16
SETTLED = (suggestions.COMPLETE, suggestions.STOPPED, suggestions.DIVERGED)


@dataclass(frozen=True)
class ResolvedSearch:
    """A search with every open choice fixed."""

    resolved: Resolved
    declared: Search
    fraction: float
    total: int
    """Suggestions to bring to an end; of a control, 0: it has its budget in steps."""
    seeds: int
    """Search seeds; refits use the ones that follow."""
    steps: int = 0
    """Of a control: optimiser steps to spend."""

    @property
    def control(self) -> bool:
        return self.steps > 0

    @property
    def rungs(self) -> tuple[int, ...]:
        return () if self.control else self.declared.rungs

    @property
    def system(self) -> System:
        return get_system(self.declared.system)

    @property
    def task(self) -> TaskSpec:
        return task_spec(self.resolved, self.fraction)

    @cached_property
    def name(self) -> str:
        """Names the journal, and the search in every row: all that decides what a suggestion is worth is in it."""
        space = self.declared.space
        identity = {
            "cell": self.trials_of({})[0].cell,
            "space": None if space is None else f"{space.__module__}.{space.__qualname__}",
            "rungs": self.rungs,
            "reduction": self.declared.reduction,
            "seeds": self.seeds,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
        kind = "-control" if self.control else ""
        return f"{self.resolved.corpus.name}-{self.declared.system}-{self.fraction:g}{kind}-{digest}"

    def settings_of(self, suggested: Settings) -> dict[str, float | int | str]:
        """Every hyperparameter: `--set` wins over what is suggested, that over what the study sets for the corpus."""
        base = self.resolved.study.settings.get(self.resolved.corpus.name, {})
        return resolve_settings(self.system, self.resolved.preset, base, suggested, self.resolved.overrides)

    def trials_of(self, suggested: Settings) -> tuple[Trial, ...]:
        first = Trial(
            system=self.system.name,
            version=self.system.version,
            preset=self.resolved.preset,
            settings=self.settings_of(suggested),
            task=self.task,
            seed=0,
            device=self.resolved.device,
        )
        return tuple(first.with_seeds(range(self.seeds)))

    def steps_of(self, settings: Settings, epochs: int) -> int:
        """Optimiser steps that `epochs` epochs of a suggestion take, over all search seeds."""
        full = self.settings_of(settings)
        steps = self.system.steps(full, task_facts(self.resolved.corpus, self.task.targets, self.fraction))
        return self.seeds * math.ceil(steps * epochs / int(full.get("epochs", 1)))

    def spent(self, study: optuna.Study) -> int:
        """Optimiser steps of all suggestions so far, those that are running taken for whole ones."""
        frame = suggestions.history(study)
        over = sum(self.steps_of(s, e) for s, e in zip(frame["settings"].map(json.loads), frame["epochs"], strict=True))
        return over + len(suggestions.running(study)) * self._whole

    @cached_property
    def _whole(self) -> int:
        return self.steps_of({}, int(self.settings_of({}).get("epochs", 1)))

    def lacking(self, study: optuna.Study) -> int:
        """How many more suggestions to ask for."""
        if self.control:
            return max(0, math.ceil((self.steps - self.spent(study)) / self._whole))
        return max(0, self.total - suggestions.finished(study) - len(suggestions.running(study)))

    @property
    def expected_share(self) -> float:
        """Of its epochs that a suggestion is expected to train: each rung lets one in `reduction` go on."""
        epochs = int(self.settings_of({}).get("epochs", 1))
        marks = [0, *(rung for rung in self.rungs if rung < epochs), epochs]
        share = sum((b - a) / self.declared.reduction**k for k, (a, b) in enumerate(pairwise(marks)))
        return share / epochs

    def wave(self, slots: int) -> int:
        """Suggestions per wave."""
        total = self.total or math.ceil(self.steps / self._whole)
        fewest = self.declared.reduction if self.rungs else 1  # with fewer, ASHA lets one go on whatever it is worth
        return max(fewest, min(LARGEST_WAVE, math.ceil(total / (WAVES_PER_SLOT * slots))))


def stored_statuses(rows: pd.DataFrame, name: str) -> dict[int, str]:
    """Number → status of the suggestions of search `name` whose rows are stored; the worst of its trials counts."""
    mine = rows[(rows["search"] == name) & rows["status"].isin(SETTLED)]
    found: dict[int, str] = {}
    for number, status in zip(mine["suggestion"].astype(int), mine["status"].astype(str), strict=True):
        found[number] = max(found.get(number, status), status, key=SETTLED.index)
    return found


def history_of(search: ResolvedSearch, study: optuna.Study) -> pd.DataFrame:
    """`suggestions.history` with the optimiser steps of each."""
    frame = suggestions.history(study)
    settings = frame["settings"].map(json.loads)
    frame["steps"] = [search.steps_of(s, e) for s, e in zip(settings, frame["epochs"], strict=True)]
    return frame


def derived(search: ResolvedSearch, rows: tuple[Row, ...], seeds: int, what: str, **parts: Any) -> Resolved:
    """`rows` on the first `seeds` fresh seeds as a study of its own, declared with `parts`."""
    origin = search.resolved
    study = replace(
        origin.study,
        title=f"{origin.study.title}: {what} of {search.declared.system}",
        scales={origin.scale: Scale(origin.corpus.name, rows, seeds)},
        **{"marks": (), "tables": (), "figures": (), "claims": (), "searches": ()} | parts,
    )
    return replace(
        origin,
        study=study,
        rows=rows,
        label_fractions=(search.fraction,),
        seeds=seeds,
        selection_seeds=1,
        first_seed=search.seeds,
    )


def refits(search: ResolvedSearch, best: Sequence[Suggestion]) -> Resolved:
    """The best suggestions and the hand-set configuration on fresh seeds, compared with the latter."""
    system = search.declared.system
    hand = Row(system, label=f"{system}, hand-set")
    rows = (hand, *(Row(system, (s.settings,), label=f"{system}, suggestion {s.number}") for s in best))
    return derived(
        search,
        rows,
        search.declared.refit_seeds,
        "search",
        marks=(Mark("∗", hand.name),),
        tables=(Table("refits", "The best suggestions refitted on fresh seeds", "not in the paper"),),
        notes=(
            f"Suggestions were judged on development data of {search.seeds} search "
            f"seed{'s' if search.seeds > 1 else ''}; the seeds here are fresh ones.",
        ),
    )


def winner_of(wanted: Resolved, plan: Plan, rows: pd.DataFrame) -> Row | None:
    """The refitted suggestion with the highest development mean over fresh seeds; None where none has all of its trials."""
    means = development_means(plan, rows)
    candidates = [row for row in wanted.rows[1:] if row.name in means]
    return max(candidates, key=lambda row: means[row.name], default=None)


def development_means(plan: Plan, rows: pd.DataFrame) -> dict[str, float]:
    """Row → mean development value over targets and seeds; rows that lack a trial are left out."""
    there = rows[(rows["partition"] == "development") & (rows["status"] == "complete")]
    value = dict(zip(zip(there["trial"], there["target"], strict=True), there["value"], strict=True))
    found: dict[str, list[float]] = {}
    for (name, _, target), trials in plan.finals.items():
        found.setdefault(name, []).extend(value.get((trial.id, target), math.nan) for trial in trials)
    return {name: float(np.mean(values)) for name, values in found.items() if not np.isnan(values).any()}
