"""What follows a search: studies on fresh seeds derived from it, and what their rows say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from affect.engine.plan import Plan
from affect.engine.search import ResolvedSearch
from affect.engine.suggestions import Suggestion
from affect.resolved import Resolved
from affect.study import Mark, Row, Scale, Table


def derived(
    search: ResolvedSearch, rows: tuple[Row, ...], first_seed: int, seeds: int, what: str, **parts: Any
) -> Resolved:
    """`rows` on `seeds` seeds from `first_seed` on as a study of its own, declared with `parts`."""
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
        first_seed=first_seed,
    )


def refits(search: ResolvedSearch, best: Sequence[Suggestion]) -> Resolved:
    """The hand-set configuration and the first of the other suggestions, ranked as in `best`, on fresh seeds."""
    system = search.declared.system
    others = [suggestion for suggestion in best if search.changed(suggestion.settings)][: search.declared.refits]
    hand = Row(system, label=f"{system}, hand-set")
    rows = (hand, *(Row(system, (s.settings,), label=f"{system}, suggestion {s.number}") for s in others))
    return derived(
        search,
        rows,
        search.seeds,
        search.declared.refit_seeds,
        "search",
        marks=(Mark("∗", hand.name),),
        tables=(Table("refits", "The best suggestions refitted on fresh seeds", "not in the paper"),),
        notes=(
            f"Suggestions were judged on development data of {search.seeds} search "
            f"seed{'s' if search.seeds > 1 else ''}; the seeds here are fresh ones. The first suggestion was the hand-set "
            "configuration, as nearly as the search space allows.",
        ),
    )


def winner_of(wanted: Resolved, plan: Plan, rows: pd.DataFrame) -> Row | None:
    """The refitted suggestion with the highest development mean over fresh seeds; None where none has all of its trials."""
    means = development_means(plan, rows, len(wanted.study.targets))
    candidates = [row for row in wanted.rows[1:] if row.name in means]
    return max(candidates, key=lambda row: means[row.name], default=None)


def development_means(plan: Plan, rows: pd.DataFrame, targets: int) -> dict[str, float]:
    """Row → mean development value over all `targets` and seeds; a target that a row gives no weight counts as zero, as
    in the search. Rows that lack a trial are left out."""
    there = rows[(rows["partition"] == "development") & (rows["status"] == "complete")]
    value = dict(zip(zip(there["trial"], there["target"], strict=True), there["value"], strict=True))
    found: dict[str, list[float]] = {}
    for (name, _, target), trials in plan.finals.items():
        found.setdefault(name, []).append(float(np.mean([value.get((t.id, target), math.nan) for t in trials])))
    return {name: sum(means) / targets for name, means in found.items() if not np.isnan(means).any()}
