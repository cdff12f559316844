"""What `--plan` prints: cells, trials, packs, what workers would take, what exists, and what the seeds can resolve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from affect.engine.executors import Inline
from affect.engine.packs import partition
from affect.engine.plan import Plan, plan
from affect.engine.progress import duration
from affect.engine.sizes import Sizes
from affect.engine.store import Store
from affect.resolved import Resolved
from affect.stats import LEVEL, resolvable, seeds_needed, smallest_p

if TYPE_CHECKING:
    from affect.engine.search import ResolvedSearch  # Optuna is slow to load


def preview(resolved: Resolved, store: Store, slots: int, console: Console) -> None:
    """Print the plan of `resolved`. Writes nothing; costs are measured in this process."""
    wanted = plan(resolved, store.rows())
    sizes = Sizes(resolved, lambda: slots)
    with console.status("Training some steps of each kind of trial, to tell what they take"):
        sizes.learn(wanted.pending, wanted.later, Inline().measure)
    console.print(_work(resolved, wanted, sizes, slots))
    for note in wanted.notes:
        console.print(note, highlight=False)
    for line in resolution(resolved):
        console.print(line, highlight=False)


def preview_searches(searches: Sequence[ResolvedSearch], store: Store, slots: int, console: Console) -> None:
    """Print what searches would take. Writes nothing; costs are measured in this process, with the hand-set settings."""
    from affect.engine import path
    from affect.engine.search import outline

    sizes = Sizes(searches[0].resolved, lambda: slots)
    hand_set = [search.trials_of({})[0] for search in searches]
    sizes.learn([], [(trial, search.total) for trial, search in zip(hand_set, searches, strict=True)], Inline().measure)
    known = store.searches()
    table = Table(
        title=f"{searches[0].resolved.study.title}: {searches[0].resolved.corpus.banner}", title_justify="left"
    )
    for name in (
        "search of",
        "labels",
        "suggestions",
        "done",
        "a wave",
        "seeds",
        "compared after",
        "refits",
        "worker time",
    ):
        table.add_column(name, justify="left" if name == "search of" else "right")
    total = 0.0
    for search, trial in zip(searches, hand_set, strict=True):
        each = sizes(sizes.group_of(trial)).seconds
        over = len(known[search.name][1]) if search.name in known else 0
        declared = search.declared
        suggested = max(0, search.total - over) * search.seeds * search.expected_share * (2 if declared.control else 1)
        after = (declared.refits + 1) * declared.refit_seeds + 2 * len(path.factors(search)) * declared.path_seeds
        if search.name in known and known[search.name][0].path is not None:
            after = 0
        seconds = each * (suggested + after)
        total += seconds
        table.add_row(
            declared.system + (" and control" if declared.control else ""),
            f"{search.fraction:.4g}",
            str(search.total),
            str(over),
            str(search.wave(slots)),
            str(search.seeds),
            ", ".join(map(str, search.rungs)) + " epochs" if search.rungs else "never",
            f"{declared.refits} + hand-set, {declared.refit_seeds} seeds",
            duration(seconds),
        )
    names = {search.declared.system: ", ".join(sorted(outline(search.declared.space)[1])) for search in searches}
    table.caption = f"about {duration(total / slots)} on {slots} workers, refits and ablation path included"
    console.print(table)
    for system, searched in names.items():
        console.print(f"The search of {system} varies {searched}.", highlight=False)
    if any(search.declared.control for search in searches):
        console.print(
            "A control is the same search with nothing stopped, for as many optimiser steps.", highlight=False
        )
    for declared in {search.declared.refit_seeds: search.declared for search in searches}.values():
        family = declared.refits * len(searches[0].resolved.study.targets)
        enough = "enough" if resolvable(declared.refit_seeds, family) else "too few for marks"
        console.print(
            f"With {_count(declared.refit_seeds, 'refit seed')} the winner's own comparison with hand-set can reach p = "
            f"{smallest_p(declared.refit_seeds):.2g}; for {_count(family, 'comparison')} under Holm they are {enough}.",
            highlight=False,
        )


def _work(resolved: Resolved, wanted: Plan, sizes: Sizes, slots: int) -> Table:
    corpus = resolved.corpus
    table = Table(title=f"{resolved.study.title}: {corpus.banner}", title_justify="left")
    for name in (
        "system",
        "labels",
        "cells",
        "trials",
        "stored",
        "to run",
        "packs",
        "after choices",
        "worker time",
    ):
        table.add_column(name, justify="left" if name == "system" else "right", no_wrap=True)
    packs = partition(wanted.pending, sizes.group_of, sizes, slots)
    total = 0.0
    for system in dict.fromkeys(row.system for row in resolved.rows):
        for fraction in resolved.label_fractions:
            mine = [t for t in wanted.trials if (t.system, t.task.label_fraction) == (system, fraction)]
            own = [p for p in packs if (p.system, p.trials[0].task.label_fraction) == (system, fraction)]
            later = [(t, n) for t, n in wanted.later if (t.system, t.task.label_fraction) == (system, fraction)]
            to_run = sum(len(pack.trials) for pack in own)
            seconds = sum(pack.seconds for pack in own)
            seconds += sum(sizes(sizes.group_of(trial)).seconds * count for trial, count in later)
            total += seconds
            table.add_row(
                system,
                f"{fraction:.4g}",
                str(len({trial.cell for trial in mine})),
                str(len(mine)),
                str(len(mine) - to_run),
                str(to_run),
                str(len(own)),
                f"≤ {sum(count for _, count in later)}" if later else "0",
                duration(seconds) if seconds else "none",
            )
    workers = f"{slots} worker{'s' if slots != 1 else ''}"
    left = f"about {duration(total / slots)} on {workers}" if total else "nothing left to run"
    table.caption = f"{len(wanted.pending)} trials to run now, at most {wanted.waiting} after choices: {left}"
    return table


def resolution(resolved: Resolved) -> list[str]:
    """What the seeds of `resolved` can show, before any time is spent."""
    seeds, study = resolved.seeds, resolved.study
    smallest = smallest_p(seeds)
    lines = [f"With {_count(seeds, 'seed')} the smallest one-sided p of a paired test is {smallest:.2g}."]
    compared = [row.name for row in resolved.rows if not row.floor]
    for baseline in study.baselines:
        if baseline not in compared:
            lines.append(f"No comparison with {baseline}, which is not among the systems.")
            continue
        if len(compared) == 1:
            lines.append(f"No comparison with {baseline}, which is the only system that is no floor.")
            continue
        family = len(resolved.family(baseline)) * len(study.targets)
        comparisons, seeds_then = _count(family, "declared comparison"), _count(seeds_needed(family), "seed")
        verdict = "enough" if resolvable(seeds, family) else "too few: the paired test can earn no mark"
        lines.append(
            f"Against {baseline}: {comparisons} per partition under Holm need {seeds_then} "
            f"for p < {LEVEL:g}; {seeds} {'is' if seeds == 1 else 'are'} {verdict}."
        )
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
