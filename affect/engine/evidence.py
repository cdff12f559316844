"""From a plan and the stored rows to the frames that a report is made of."""

from __future__ import annotations

from typing import Any

import pandas as pd

from affect.engine.plan import Plan, candidates_of, plan
from affect.engine.results import SHOWN_SEED
from affect.engine.store import Store
from affect.resolved import Resolved
from affect.systems import get_system
from affect.trial import Trial

CELL = ["system", "label_fraction", "target"]
SCORES = ["trial", "pack", "partition", "target", "metric", "value", "n", "epoch", "status"]
VALUES = ["partition", "seed", "value", "n", "epoch", "status"]
LEARNED = ["system", "label_fraction", "seed", "epoch", "kept", "name", "value"]
IMPUTED = ["system", "sample", "feature", "truth", "prediction"]
ERRORS = ["system", "label_fraction", "seed", "rows", "value"]


def evidence(resolved: Resolved, store: Store) -> dict[str, pd.DataFrame]:
    """The frames of `resolved` that `affect.report` wants.

    Only the trials behind a table's numbers are in them: what was run to choose a candidate is not, unless the
    chosen one is refitted by the very same trial.
    """
    rows = store.rows()
    wanted = plan(resolved, rows)
    options = _options(resolved, wanted)
    finals = _finals(wanted)
    scores = _plain(rows[[*SCORES]])
    values = _plain(finals.merge(scores, on=["trial", "target"]))
    points = _plain(store.curves(values["pack"].unique()))
    curves = finals.merge(points, on=["trial", "target"])
    kept = values.loc[values["partition"] == "development", ["trial", *CELL, "seed", "epoch"]]
    learned = kept.drop(columns="target").rename(columns={"epoch": "kept"})
    learned = learned.merge(points[points["metric"] == "learned"], on="trial").rename(columns={"target": "name"})
    errors = finals.drop(columns="target").merge(scores[scores["metric"] == "nmse"], on="trial")
    return {
        "values": values[[*CELL, *VALUES]].sort_values([*CELL, "partition", "seed"], ignore_index=True),
        "choices": pd.DataFrame(
            [(*key, _settings(resolved, trials[0]), options[key[0], key[2]]) for key, trials in wanted.finals.items()],
            columns=[*CELL, "settings", "options"],
        ),
        "expected": pd.DataFrame(
            [(*key, seed) for key, seeds in wanted.expected.items() for seed in seeds], columns=[*CELL, "seed"]
        ),
        "curves": curves[[*CELL, "partition", "seed", "epoch", "value"]].sort_values(
            [*CELL, "partition", "seed", "epoch"], ignore_index=True
        ),
        "learned": _ordered(learned, LEARNED),
        "errors": _ordered(errors.rename(columns={"target": "rows"}), ERRORS),
        "imputed": _imputed(resolved, errors, store),
    }


def _imputed(resolved: Resolved, errors: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The imputed rows that were kept, where a figure shows some: of the largest label fraction and, of each line, the
    smallest share of missing views."""
    missing = {row.name: row.missing for row in resolved.rows if row.missing}
    smallest = min(missing.values(), default=0.0)
    wanted = errors[(errors["label_fraction"] == max(resolved.label_fractions)) & (errors["seed"] == SHOWN_SEED)]
    wanted = wanted[wanted["system"].map(missing) == smallest]
    if not any(figure.kind == "imputed" for figure in resolved.study.figures):
        wanted = wanted[:0]
    kept = _plain(store.predictions(wanted["pack"].unique()))
    kept = kept[kept["partition"] == "train"].drop(columns="partition").rename(columns={"target": "feature"})
    kept["feature"] = [int(feature.rpartition(" ")[2]) for feature in kept["feature"]]
    return _ordered(wanted[["system", "trial"]].drop_duplicates().merge(kept, on="trial"), IMPUTED)


def outdated(resolved: Resolved, store: Store) -> list[str]:
    """A sentence for each system of which numbers are missing while results of another version of it are there."""
    rows = store.rows()
    rows = rows[rows["corpus"] == resolved.corpus.name]
    found: dict[str, list[int]] = {}
    for row in resolved.rows:
        versions = rows.loc[rows["system"] == row.system, "system_version"].unique().tolist()
        found[row.system] = sorted(set(versions) - {get_system(row.system).version})
    if not any(found.values()):
        return []
    lacking = {trial.system for trial in plan(resolved, rows).pending}
    return [
        f"{system}: there are results of version {', '.join(map(str, versions))}, which are not shown; "
        f"it is at version {get_system(system).version} now. Run the study again."
        for system, versions in found.items()
        if versions and system in lacking
    ]


def _options(resolved: Resolved, wanted: Plan) -> dict[tuple[str, str], int]:
    """(Row, target) → how many distinct candidates score the target."""
    planned = {system for system, _, _ in wanted.finals}
    return {
        (row.name, target): sum(target in candidate.targets for candidate in candidates)
        for row in resolved.rows
        if row.name in planned
        for candidates in [candidates_of(get_system(row.system), row, resolved)]
        for target in resolved.study.targets
    }


def _settings(resolved: Resolved, trial: Trial) -> dict[str, Any]:
    """Of a trial; with the preset it has, where a study has several, for a system may lack the one that was asked for."""
    preset = {"preset": trial.preset} if len(resolved.study.presets) > 1 else {}
    return {**preset, **trial.settings}


def _finals(wanted: Plan) -> pd.DataFrame:
    """One row per number of a table and seed: the trial that it comes from."""
    rows = [(*key, trial.seed, trial.id) for key, trials in wanted.finals.items() for trial in trials]
    return pd.DataFrame(rows, columns=[*CELL, "seed", "trial"])


def _ordered(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return frame[columns].sort_values(columns, ignore_index=True)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Dictionary columns as strings: what is grouped later must not remember values that are no longer there."""
    return frame.astype({name: "str" for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)})
