"""How far a study is, from its results folder alone: what `affect status` prints, in any terminal, at any time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from affect.engine.plan import DEVELOPMENT, Plan, plan
from affect.engine.progress import duration
from affect.engine.store import Store
from affect.errors import UserError
from affect.resolved import Resolved, SearchRecord

RECENT = 600.0
"""Seconds before the newest result over which speed is measured."""

NAMED = 3
"""Systems that a line names."""


@dataclass(frozen=True)
class Pace:
    """How fast results came lately."""

    workers: float
    """Packs in work at once, on average."""
    trials_per_minute: float
    seconds: dict[str, float]
    """System → mean seconds of a trial in its pack."""


@dataclass(frozen=True)
class Best:
    """The row of a table that leads on development data."""

    label_fraction: float
    target: str
    system: str
    """Empty while no seed is done in all systems."""
    value: float
    """Mean over the seeds that are done in all systems; NaN without any."""
    seeds: int
    of: int
    lacking: tuple[str, ...]
    """Systems without any seed."""


@dataclass(frozen=True)
class Standing:
    """Trials of a study on one corpus."""

    planned: int
    complete: int
    diverged: int
    failed: int
    """Failed and not settled since: they run again."""
    open: int
    """Queued or running."""
    waiting: int
    """At most so many follow from open choices."""
    seconds_left: float | None
    """None where nothing tells."""
    best: tuple[Best, ...]


def pace(trials: pd.DataFrame, finished: pd.Series) -> Pace | None:
    """The pace of stored `trials` of which the packs' files were `finished` at these times; None without any."""
    packs = trials.drop_duplicates("pack").set_index("pack")[["system", "wall_seconds", "pack_size"]]
    packs = packs.assign(end=finished.reindex(packs.index)).dropna(subset=["end"])
    packs = packs[packs["wall_seconds"] > 0]
    if packs.empty:
        return None
    totals = packs.groupby("system", observed=True)[["wall_seconds", "pack_size"]].sum()
    recent = packs[packs["end"] > packs["end"].max() - RECENT]
    span = max(1e-3, recent["end"].max() - (recent["end"] - recent["wall_seconds"]).min())
    return Pace(
        workers=recent["wall_seconds"].sum() / span,
        trials_per_minute=60 * recent["pack_size"].sum() / span,
        seconds=(totals["wall_seconds"] / totals["pack_size"]).to_dict(),
    )


def standing(resolved: Resolved, trials: pd.DataFrame, found: Pace | None) -> Standing:
    """How far `resolved` is, given all stored `trials` and their pace."""
    wanted = plan(resolved, trials)
    status = trials.drop_duplicates("trial").set_index("trial")["status"]
    counts = status.reindex([trial.id for trial in wanted.trials]).value_counts()
    failed = int(counts.get("failed", 0))
    return Standing(
        planned=len(wanted.trials),
        complete=int(counts.get("complete", 0)),
        diverged=int(counts.get("diverged", 0)),
        failed=failed,
        open=len(wanted.pending) - failed,
        waiting=wanted.waiting,
        seconds_left=_seconds_left(wanted, found),
        best=tuple(_best(resolved, wanted, trials)),
    )


def _seconds_left(wanted: Plan, found: Pace | None) -> float | None:
    """Trials of a system of which none is done yet are taken to last as the others do."""
    if found is None:
        return None
    usual = float(np.mean(list(found.seconds.values())))
    ahead = [(trial.system, 1) for trial in wanted.pending] + [(trial.system, count) for trial, count in wanted.later]
    return sum(found.seconds.get(system, usual) * count for system, count in ahead) / found.workers


def _best(resolved: Resolved, wanted: Plan, trials: pd.DataFrame) -> Iterator[Best]:
    """Per label fraction and target the leader over the seeds that are done in all systems; floors do not compete. As in
    reports, seeds that diverged are left out of a mean, and one seed of a system that draws nothing stands for all."""
    rows = trials[(trials["partition"] == DEVELOPMENT) & trials["value"].notna()]
    values = dict(zip(zip(rows["trial"], rows["target"], strict=True), rows["value"], strict=True))
    pending = {trial.id for trial in wanted.pending}
    competing = {row.name for row in resolved.rows if not row.floor}
    for fraction in resolved.label_fractions:
        for target in resolved.study.targets:
            expected = {k: n for k, n in wanted.expected.items() if k[0] in competing and k[1:] == (fraction, target)}
            seeds = max(expected.values(), key=len, default=())
            done: dict[str, dict[int, float]] = {}
            for key, own in expected.items():
                there = [trial for trial in wanted.finals.get(key, ()) if trial.id not in pending]
                found = {trial.seed: values.get((trial.id, target), np.nan) for trial in there}
                done[key[0]] = dict.fromkeys(seeds, *found.values()) if found and len(own) == 1 else found
            shared = [seed for seed in seeds if all(seed in found for found in done.values())]
            common = pd.DataFrame({name: [found[seed] for seed in shared] for name, found in done.items()})
            means = common.astype("float64").mean().dropna()
            if len(means):
                yield Best(fraction, target, str(means.idxmax()), float(means.max()), len(shared), len(seeds), ())
            elif any(done.values()) and not shared:
                lacking = tuple(name for name, found in done.items() if not found)
                yield Best(fraction, target, "", np.nan, 0, len(seeds), lacking)


def _searches(store: Store, trials: pd.DataFrame) -> Table:
    """Suggestions of every search by how they ended, and the best that went all the way."""
    table = Table(
        "search", "corpus", "labels", "suggestions", "best so far", "best refit, on development data of fresh seeds"
    )
    for record, history in store.searches().values():
        counts = ", ".join(
            f"{count} {status}" for status, count in history["status"].value_counts().sort_index().items()
        )
        best = history.loc[history["status"] == "complete", "value"].max()
        table.add_row(
            record.system + (", control" if "-control-" in record.name else ""),
            record.corpus,
            f"{record.label_fraction:.4g}",
            counts or "none over yet",
            "" if np.isnan(best) else f"{best:.3f}",
            _compared(record, trials),
        )
    return table


def _compared(record: SearchRecord, trials: pd.DataFrame) -> str:
    """The winner of a search beside the hand-set configuration, by development means."""
    if record.refits is None or record.winner is None:
        return ""
    from affect.engine.refits import development_means  # loads Optuna

    try:
        wanted = plan(record.refits, trials)
    except UserError:  # of a version whose systems or settings were others
        return record.winner
    means = development_means(wanted, trials, len(record.refits.study.targets))
    names = (record.winner, record.refits.rows[0].name)
    return "; ".join(f"{name}: {means[name]:.3f}" for name in names if name in means) or record.winner


def _some(names: Sequence[str]) -> str:
    """The first names of a list that may be long."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def show(store: Store, console: Console) -> None:
    """Print how far the study in `store` is, a line for every corpus that it was run with and what departed from the usual."""
    trials = store.trials()
    found = pace(trials, store.finished())
    state = Table("corpus", "planned", "complete", "diverged", "failed", "to run", "after choices", "time left")
    best = Table("corpus", "labels", "target", "leads on development (floors apart)", "mean", "seeds done in all")
    for name in store.requests():
        try:
            at = standing(store.load_request(name), trials, found)
        except UserError as error:  # of another version, or damaged
            store.warn(str(error))
            continue
        left = "none" if not (at.open or at.failed or at.waiting) else "unknown"
        if left != "none" and at.seconds_left is not None:
            left = f"about {duration(at.seconds_left)}"
        counts = (at.planned, at.complete, at.diverged, at.failed, at.open)
        state.add_row(name, *map(str, counts), f"≤ {at.waiting}" if at.waiting else "0", left)
        for b in at.best:
            leads = b.system or ("none yet" + (f": no seed of {_some(b.lacking)}" if b.lacking else ""))
            mean = f"{b.value:.3f}" if b.system else ""
            best.add_row(name, f"{b.label_fraction:.4g}", b.target, leads, mean, f"{b.seeds} of {b.of}")
    searches = _searches(store, trials)
    in_use = store.in_use()
    run = "a run is adding to it now" if in_use else "no run is adding to it now"
    console.print(f"{store.folder}: {run}.", highlight=False, markup=False)
    if state.row_count or not searches.row_count:
        console.print(state)
    if searches.row_count:
        console.print(searches)
    if best.row_count:
        console.print(best)
    if found is not None and in_use:
        speed = f"{found.trials_per_minute:.3g} trials a minute, {found.workers:.1f} packs at once"
        console.print(f"Lately {speed}.", highlight=False)
