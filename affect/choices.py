"""The open choices of a study, fixed from its command line. Mistakes are found before anything is written; those in settings
show when a plan is made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from affect.data.corpus import Corpus
from affect.data.leakage import permit
from affect.engine import options
from affect.engine.plan import discards_too_much, task_facts, task_spec, unsuited
from affect.engine.work import open_task
from affect.errors import UserError, meant
from affect.resolved import Resolved
from affect.study import CorpusFacts, Row, Study
from affect.systems import get_system

if TYPE_CHECKING:
    from affect.engine.search import ResolvedSearch


def resolve(study: Study, args: argparse.Namespace) -> Resolved:
    """Fix every open choice before anything is written: a twin is not made yet."""
    from affect.data.prepare import facts_of, is_to_be_made

    scale = study.scales[args.scale]
    if getattr(args, "search_seeds", None) is not None and args.search is None:
        raise UserError(f"--search-seeds {args.search_seeds}: goes with --search N.")
    seeds = scale.seeds if args.seeds is None else args.seeds
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: at least one seed is needed.")
    if args.max_minutes is not None and not args.max_minutes > 0:
        raise UserError(f"--max-minutes {args.max_minutes:g}: must be above zero.")
    device = _device(args)
    options.check(args, device)
    wanted = args.corpus or scale.corpus
    found = facts_of(wanted, args.protocol, study.targets, view=args.view or study.view)
    facts = permit(found, args.protocol, args.allow)
    if not study.targets and len(facts.targets) > 1:
        raise UserError(f"{facts.name}: this study is about one target, and there are {', '.join(facts.targets)}.")
    study = study.on(facts)
    declared = study.scales[args.scale].rows
    if getattr(args, "search", None) is not None:
        declared = tuple(Row(search.system) for search in study.searches)
    rows = tuple(row.under(args.protocol) for row in _rows(declared, args.systems, facts))
    overrides = _overrides(rows, args.set)
    for row in rows:
        for name in overrides:
            if row.factors and any(name in candidate for candidate in row.candidates):
                raise UserError(f"--set {name}={overrides[name]}: this study varies {name} itself; leave it out.")
    fractions = tuple(dict.fromkeys(args.label_fraction or scale.label_fractions))
    resolved = Resolved(
        study=study,
        scale=args.scale,
        corpus=facts,
        rows=rows,
        label_fractions=fractions,
        seeds=seeds,
        selection_seeds=min(scale.selection_seeds, seeds),
        preset=args.preset,
        protocol=args.protocol,
        overrides=overrides,
        device=device,
    )
    suited = tuple(row for row in rows if not unsuited(resolved, row))
    if rows and not suited:
        raise UserError(f"{rows[0].line} {unsuited(resolved, rows[0])}")
    resolved = replace(resolved, rows=suited, left_out=_left_out(resolved, args.systems))
    for fraction in fractions:
        for row in suited:
            if not discards_too_much(resolved, fraction, row):
                task_facts(facts, task_spec(resolved, fraction, row))
    if not is_to_be_made(wanted):
        open_corpus(wanted, resolved)
    return resolved


def searches_of(resolved: Resolved, args: argparse.Namespace) -> list[ResolvedSearch]:
    """The declared searches of the chosen systems, at each label fraction."""
    from affect.engine.search import ResolvedSearch

    for name, value in (("--search", args.search), ("--search-seeds", args.search_seeds)):
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: must be at least 1.")
    if args.seeds is not None:
        raise UserError(f"--seeds {args.seeds}: suggestions are judged on --search-seeds; leave --seeds out.")
    if args.executor != "ray":
        raise UserError(f"--search --executor {args.executor}: a search runs on Ray Tune; leave --executor out.")
    systems = {row.system for row in resolved.rows}
    declared = [search for search in resolved.study.searches if search.system in systems]
    searches = [
        ResolvedSearch(resolved, search, fraction, args.search, args.search_seeds or search.seeds)
        for search in declared
        for fraction in resolved.label_fractions
    ]
    for search in searches:
        search.check()
    return searches


def open_corpus(name_or_folder: str, resolved: Resolved) -> Corpus:
    """The corpus of `resolved`, made where it is a twin that is not there, after a look at its tasks."""
    from affect.data.prepare import find_corpus

    corpus = find_corpus(name_or_folder)
    for task in {task_spec(resolved, fraction, row) for fraction in resolved.label_fractions for row in resolved.rows}:
        open_task(str(corpus.folder.resolve()), task)
    return corpus


def _rows(rows: tuple[Row, ...], names: Sequence[str] | None, facts: CorpusFacts) -> tuple[Row, ...]:
    """The rows named, by their systems or as tables call them, or all; without those that fit on text where the corpus has
    none."""
    if names is None:
        return tuple(row for row in rows if not _lacks_text(row.system, facts))
    systems = list(dict.fromkeys(row.system for row in rows))
    for name in names:
        if name not in systems and all(row.line != name for row in rows):
            raise UserError(
                f"--systems {name}: unknown system; this study has {', '.join(systems)}{meant(name, systems) or '.'}"
            )
        if name in systems and (why := _lacks_text(name, facts)):
            raise UserError(f"--systems {name}: it {why}")
    return tuple(row for row in rows if {row.system, row.line} & {*names})


def _lacks_text(system: str, facts: CorpusFacts) -> str:
    """Why a system lacks the text that it fits on; empty where it does not."""
    return f"fits on text, and {facts.name} has none." if get_system(system).needs_text and not facts.has_text else ""


def _left_out(resolved: Resolved, names: Sequence[str] | None) -> tuple[str, ...]:
    """See `Resolved.left_out`; `names` are of systems, if some alone are to be run."""
    lines: dict[str, dict[str, None]] = {}
    for row in (row.under(resolved.protocol) for row in resolved.study.scales[resolved.scale].rows):
        if names is not None and not {row.system, row.line} & {*names}:
            continue
        if why := _lacks_text(row.system, resolved.corpus) or unsuited(resolved, row):
            lines.setdefault(why, {})[row.line] = None
    return tuple(
        f"{', '.join(found)} {'are left out: each' if len(found) > 1 else 'is left out: it'} {why}"
        for why, found in lines.items()
    )


def _overrides(rows: Sequence[Row], pairs: Sequence[str]) -> dict[str, float | int | str]:
    known = {
        name: (system.name, hp)
        for system in (get_system(row.system) for row in reversed(rows))
        for name, hp in system.hyperparameters.items()
    }
    overrides = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise UserError(f"--set {pair}: write NAME=VALUE, as in --set learning_rate=5e-4.")
        if name not in known:
            names = ", ".join(sorted(known))
            raise UserError(
                f"--set {pair}: no chosen system has a setting {name}; there is {names}{meant(name, known) or '.'}"
            )
        system, hyperparameter = known[name]
        overrides[name] = hyperparameter.parse(name, value, system)
    return overrides


def _device(args: argparse.Namespace) -> str:
    import torch

    here = torch.cuda.is_available()
    if args.device == "cuda" and not here:
        if not args.address or args.executor == "inline":
            raise UserError("--device cuda: torch finds no GPU on this machine.")
        if args.plan:
            raise UserError("--plan --device cuda: costs are measured on this machine, where torch finds no GPU.")
    return ("cuda" if here else "cpu") if args.device == "auto" else str(args.device)
