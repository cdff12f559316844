"""The command line of a study script: `main(STUDY)` fixes the open choices, runs what is missing, writes the report."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pandas as pd
from rich.console import Console

from affect.console import COMPLETE, FAILED, UNFINISHED, Parser, guarded, stdout
from affect.data.corpus import Corpus
from affect.data.leakage import permit
from affect.data.manifest import STOPPING
from affect.engine import job, options
from affect.engine.evidence import evidence
from affect.engine.files import check_folder, make_folder
from affect.engine.plan import discards_too_much, plan, task_facts, task_spec
from affect.engine.preview import preview, preview_searches
from affect.engine.progress import display, duration
from affect.engine.provenance import provenance
from affect.engine.run import Summary, run
from affect.engine.store import Store
from affect.engine.work import open_task, workplace
from affect.errors import UserError, meant
from affect.resolved import Resolved, SearchRecord
from affect.study import ALL_VIEWS, CorpusFacts, Row, Study
from affect.systems import get_system

if TYPE_CHECKING:
    from affect.engine.search import ResolvedSearch

EPILOG = """\
examples:
  %(prog)s                                    the demo: minutes, on a corpus that comes with the project
  %(prog)s --plan                             what would run, for how long, and what the seeds can resolve
  %(prog)s --corpus corpora/qcc --label-fraction 1.0 0.1 0.02 --seeds 10
  %(prog)s --systems STL MTL --set learning_rate=5e-4 --set epochs=50
  %(prog)s --scale full --max-minutes 60      as far as an hour goes; run it again to go on
  %(prog)s --address ray-head:6379 --results /shared/results    on a Ray cluster
  %(prog)s --executor train --workers-per-trial 2     two workers share each trial, which is saved as it trains

Results are added to RESULTS/<study>; the same command goes on where it was stopped, however it was stopped.
Exit status: 0 complete, 1 some trials failed, 2 a mistake in the input, 3 stopped by --max-minutes with work left, 130
interrupted.
"""


def main(study: Study, argv: Sequence[str] | None = None) -> NoReturn:
    """Run `study` as a program: never returns."""
    args = _parser(study).parse_args(argv)
    sys.exit(guarded(lambda: _main(study, args), _parser(study).prog))


def _parser(study: Study) -> Parser:
    parser = Parser(description=study.title, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(study.scales)
    group = parser.add_argument_group("what is run")
    add = group.add_argument
    add("--corpus", metavar="NAME|FOLDER", help="a prepared corpus (`affect corpora`); default: the scale's own")
    usual = "all of them" if study.view == ALL_VIEWS else study.view or "the first"
    add("--view", metavar="NAME", help=f"which of the corpus' views; several as in eeg+eye, or all. Default: {usual}")
    add("--scale", choices=names, default=names[0], help="demo answers in minutes, full is the paper's size")
    shares = ", ".join(
        f"{' '.join(f'{f:g}' for f in scale.label_fractions)} ({name})" for name, scale in study.scales.items()
    )
    add(
        "--label-fraction", type=float, nargs="+", metavar="F", help=f"share of training labels kept; default: {shares}"
    )
    add("--seeds", type=int, metavar="N", help="seeds per cell; default: the scale's")
    add("--systems", nargs="+", metavar="NAME", help="some of the study's systems only")
    add("--preset", choices=study.presets, default=study.presets[0], help="whose settings")
    add("--protocol", choices=study.protocols, default=study.protocols[0], help="whose partitions")
    add(
        "--allow",
        action="extend",
        nargs="+",
        default=[],
        choices=STOPPING,
        metavar="KIND",
        help=f"findings in the corpus in spite of which leak_free is run: {', '.join(STOPPING)}",
    )
    add(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter, in every system that has it",
    )
    if study.searches:
        group = parser.add_argument_group("search")
        add = group.add_argument
        add("--search", type=int, metavar="N", help="let Optuna suggest N settings per declared search and system")
        add("--search-seeds", type=int, metavar="N", help="seeds that each suggestion is judged on; default: 1")
    group = parser.add_argument_group("how it is run")
    add = group.add_argument
    add("--plan", action="store_true", help="print what would run and what it can show, and stop")
    add("--max-minutes", type=float, metavar="M", help="start nothing that would end later, stop at M minutes")
    options.add_arguments(parser)
    group = parser.add_argument_group("where it goes")
    add = group.add_argument
    add("--results", default="results", metavar="URI", help="folder of result folders, or s3://...; default: results")
    add("--reports", default="reports", metavar="DIR", help="folder of report folders; default: reports")
    return parser


def _main(study: Study, args: argparse.Namespace) -> int:
    console = stdout()
    job.refuse_lost({"--results": args.results, "--reports": args.reports, "--checkpoints": args.checkpoints})
    store = Store(args.results, study.name)
    check_folder(Path(args.reports))
    resolved = resolve(study, args)
    store.refuse_mixture(resolved.corpus)
    if getattr(args, "search", None) is not None:
        return _search(resolved, store, args, options.slots_here(args, resolved.device), console)
    if args.plan:
        preview(resolved, store, options.slots_here(args, resolved.device), console)
        return COMPLETE
    summary, frames = _run(resolved, store, args, console)
    folder = write_report(resolved, frames, Path(args.reports), console)
    return _verdict(summary, store, folder, console)


def resolve(study: Study, args: argparse.Namespace) -> Resolved:
    """Fix every open choice, and find every mistake, before anything is written: a twin is not made yet."""
    from affect.data.prepare import facts_of, is_to_be_made

    scale = study.scales[args.scale]
    if getattr(args, "search_seeds", None) is not None and args.search is None:
        raise UserError(f"--search-seeds {args.search_seeds}: goes with --search N.")
    seeds = scale.seeds if args.seeds is None else args.seeds
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: at least one seed is needed.")
    if args.max_minutes is not None and not args.max_minutes > 0:
        raise UserError(f"--max-minutes {args.max_minutes:g}: must be above zero.")
    # Names are compared with all that the study has, before the corpus leaves some out.
    declared = scale.rows
    if getattr(args, "search", None) is not None:
        declared = tuple(Row(search.system) for search in study.searches)
    _overrides(_rows(declared, args.systems), args.set)
    device = _device(args)
    options.check(args, device)
    wanted = args.corpus or scale.corpus
    found = facts_of(wanted, args.protocol, study.targets, view=args.view or study.view)
    facts = permit(found, args.protocol, args.allow)
    if not study.targets and len(facts.targets) > 1:
        raise UserError(f"{facts.name}: this study is about one target, and there are {', '.join(facts.targets)}.")
    study = study.on(facts)
    if getattr(args, "search", None) is None:
        declared = study.scales[args.scale].rows
    rows = _rows(declared, args.systems, facts)
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
    for fraction in fractions:
        for row in rows:
            if not discards_too_much(resolved, fraction, row):
                task_facts(facts, task_spec(resolved, fraction, row))
    if not is_to_be_made(wanted):
        _open_corpus(wanted, resolved)
    return resolved


def _open_corpus(name_or_folder: str, resolved: Resolved) -> Corpus:
    """The corpus of `resolved`, made where it is a twin that is not there, after a look at its tasks."""
    from affect.data.prepare import find_corpus

    corpus = find_corpus(name_or_folder)
    for task in {task_spec(resolved, fraction, row) for fraction in resolved.label_fractions for row in resolved.rows}:
        open_task(str(corpus.folder.resolve()), task)
    return corpus


def _rows(rows: tuple[Row, ...], names: Sequence[str] | None, facts: CorpusFacts | None = None) -> tuple[Row, ...]:
    """The rows named, or all; without those that fit on text where the corpus (once known) has none."""
    if facts is not None and not facts.has_text:
        rows = tuple(row for row in rows if not get_system(row.system).needs_text)
    if names is None:
        return rows
    known = list(dict.fromkeys(row.system for row in rows))
    for name in names:
        if name not in known:
            raise UserError(
                f"--systems {name}: unknown system; this study has {', '.join(known)}{meant(name, known) or '.'}"
            )
    return tuple(row for row in rows if row.system in names)


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
            raise UserError(f"--set {pair}: no chosen system has a {name}; there is {names}{meant(name, known) or '.'}")
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


def _run(
    resolved: Resolved, store: Store, args: argparse.Namespace, console: Console
) -> tuple[Summary, dict[str, pd.DataFrame]]:
    """Train what is missing, and read what the report is made of."""
    # Mistakes in settings show when planning; nothing exists on disk before that.
    plan(resolved, store.rows())
    executor = options.executor(args, resolved.device)
    corpus = _open_corpus(args.corpus or resolved.study.scales[args.scale].corpus, resolved)
    place = workplace(resolved, corpus.folder, provenance())
    with store.locked():
        make_folder(Path(args.reports))
        console.print(resolved.corpus.banner, highlight=False, markup=False)
        if sentence := _replaced(resolved, store):
            console.print(sentence, highlight=False, markup=False)
        store.save_request(resolved)
        with display(console) as shown:
            summary = run(resolved, store, executor, place, shown, args.max_minutes)
        damaged = store.quarantined
        frames = evidence(resolved, store)
        if store.quarantined > damaged:
            # Damage inside a file shows when it is read. Once: a disk that goes on failing is not ours to mend.
            left = None if args.max_minutes is None else max(0.0, args.max_minutes - summary.seconds / 60)
            with display(console) as shown:
                summary = summary.followed_by(run(resolved, store, executor, place, shown, left))
            frames = evidence(resolved, store)
    for note in summary.plan.notes:
        console.print(note, highlight=False, markup=False)
    return summary, frames


def _replaced(resolved: Resolved, store: Store) -> str:
    """A sentence where the report of this run takes the place of one that shows something else."""
    try:
        old = store.load_request(resolved.corpus.name)
    except UserError:  # There is none, or one of another version.
        return ""
    shown = [(r.rows, r.label_fractions, r.seeds, r.overrides, r.scale) for r in (old, resolved)]
    if old.report != resolved.report or shown[0] == shown[1]:
        return ""
    labels = ", ".join(f"{100 * fraction:g} %" for fraction in old.label_fractions)
    return (
        f"This run's report replaces that of an earlier one (rows: {len(old.rows)}, labels: {labels}, seeds: {old.seeds}); "
        "what was trained for it stays, and the same command as then brings it back."
    )


def _search(resolved: Resolved, store: Store, args: argparse.Namespace, slots: int, console: Console) -> int:
    """Carry out the declared searches of the chosen systems, one after another, and report each."""
    searches = _searches(resolved, args)
    if args.plan:
        preview_searches(searches, store, slots, console)
        return COMPLETE
    from affect.engine.on_ray import OnRay
    from affect.engine.searcher import Searcher

    executor = OnRay(resolved.device, args.address, allow_open=args.allow_open_cluster)
    corpus = _open_corpus(args.corpus or resolved.study.scales[args.scale].corpus, resolved)
    place = workplace(resolved, corpus.folder, provenance())
    deadline = math.inf if args.max_minutes is None else time.monotonic() + 60 * args.max_minutes
    failed = False
    with store.locked(), executor.connected():
        make_folder(Path(args.reports))
        console.print(resolved.corpus.banner, highlight=False, markup=False)
        for search in searches:
            with display(console) as shown:
                outcome = Searcher(store, place, executor, shown, deadline)(search)
            for line in outcome.failed:
                console.print(f"failed: {line}", highlight=False, markup=False)
            if outcome.record.refits is not None:
                folder = write_search_report(outcome.record, store, Path(args.reports), console)
                console.print(f"Report: {folder}", highlight=False, markup=False)
            failed = failed or bool(outcome.failed)
            if not outcome.finished:
                over = len(store.searches()[search.name][1])
                left = f"{over} of {search.total} suggestions for {search.declared.system} are done"
                console.print(f"Stopped with work left: {left}; the same command goes on.", highlight=False)
                return FAILED if failed else UNFINISHED
    return FAILED if failed else COMPLETE


def _searches(resolved: Resolved, args: argparse.Namespace) -> list[ResolvedSearch]:
    from affect.engine.search import ResolvedSearch

    seeds = 1 if args.search_seeds is None else args.search_seeds
    for name, value in (("--search", args.search), ("--search-seeds", seeds)):
        if value < 1:
            raise UserError(f"{name} {value}: must be at least 1.")
    if args.seeds is not None:
        raise UserError(f"--seeds {args.seeds}: suggestions are judged on --search-seeds; leave --seeds out.")
    if args.executor != "ray":
        raise UserError(f"--search --executor {args.executor}: a search runs on Ray Tune; leave --executor out.")
    systems = {row.system for row in resolved.rows}
    declared = [search for search in resolved.study.searches if search.system in systems]
    searches = [
        ResolvedSearch(resolved, search, fraction, args.search, seeds)
        for search in declared
        for fraction in resolved.label_fractions
    ]
    for search in searches:
        search.check()
    return searches


def write_search_report(record: SearchRecord, store: Store, reports: Path, console: Console) -> Path:
    """Build the report of a search from what is stored, print its first table, and return its folder."""
    from affect.report.build import build_report
    from affect.report.evidence import Evidence, SearchEvidence

    assert record.refits is not None
    stored = store.searches()
    control = stored.get(record.control or "")
    found = SearchEvidence(
        record,
        stored[record.name][1],
        None if control is None else control[1],
        None if record.path is None else evidence(record.path, store)["values"],
    )
    folder = reports / record.refits.study.name / f"search-{record.name}"
    build_report(Evidence(record.refits, **evidence(record.refits, store), search=found), folder)
    console.print((folder / "refits.md").read_text(encoding="utf-8"), highlight=False, markup=False)
    return folder


def write_report(resolved: Resolved, frames: Mapping[str, pd.DataFrame], reports: Path, console: Console) -> Path:
    """Build the report from stored `evidence`, print its first table, and return its folder."""
    from affect.report.build import build_report
    from affect.report.evidence import Evidence

    folder = reports / resolved.report
    build_report(Evidence(resolved, **frames), folder)
    for table in resolved.study.tables[:1]:
        console.print((folder / f"{table.name}.md").read_text(encoding="utf-8"), highlight=False, markup=False)
    return folder


def _verdict(summary: Summary, store: Store, folder: Path, console: Console) -> int:
    settled = len(summary.plan.trials) - len(summary.plan.pending)
    say = f"{settled} trials in {store.folder}, {summary.trained} of them new ({duration(summary.seconds)})."
    console.print(say, highlight=False, markup=False)
    for trial, message in summary.failed:
        place = f"{trial.system}, labels {trial.task.label_fraction:g}, seed {trial.seed}"
        console.print(f"failed: {place} (trial {trial.id[:12]}): {message}", highlight=False, markup=False)
    for (system, fraction, target), trials in summary.blocked.items():
        names = ", ".join(trial.id[:12] for trial in trials)
        line = f"blocked: {system}, labels {fraction:g}, {target}: no candidate is chosen while these fail: {names}"
        console.print(line, highlight=False, markup=False)
    console.print(f"Report: {folder}", highlight=False, markup=False)
    if summary.failed:
        console.print("Failed trials run again with the same command.")
        return FAILED
    if summary.left:
        console.print(f"Stopped with at most {summary.left} trials left; the same command goes on.", highlight=False)
        return UNFINISHED
    return COMPLETE
