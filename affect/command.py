"""The command line of a study script: `main(STUDY)` fixes the open choices, runs what is missing, writes the report."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import pandas as pd
from rich.console import Console

from affect.choices import open_corpus, resolve, searches_of
from affect.console import COMPLETE, FAILED, UNFINISHED, Parser, guarded, stdout
from affect.data.manifest import STOPPING
from affect.engine import job, options
from affect.engine.evidence import evidence
from affect.engine.files import check_folder, make_folder
from affect.engine.packs import Grouping
from affect.engine.plan import plan, task_facts
from affect.engine.preview import preview, preview_searches
from affect.engine.progress import display, duration
from affect.engine.provenance import provenance
from affect.engine.results import workplace
from affect.engine.run import Summary, run
from affect.engine.store import Store
from affect.errors import UserError
from affect.resolved import Resolved, SearchRecord
from affect.study import ALL_VIEWS, Study

EPILOG = """\
examples:
  %(prog)s                                    the demo: minutes, on a corpus that comes with the project
  %(prog)s --plan                             what would run, for how long, and what the seeds can resolve
  %(prog)s --corpus corpora/mine --label-fraction 1.0 0.1 0.02 --seeds 10
  %(prog)s --systems SYSTEMS --set learning_rate=5e-4 epochs=50
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
    names = list(study.scales)
    systems = list(dict.fromkeys(row.system for row in study.scales[names[0]].rows))
    epilog = EPILOG.replace("SYSTEMS", " ".join(systems[:2]))
    parser = Parser(description=study.title, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    add(
        "--systems",
        nargs="+",
        metavar="NAME",
        help=f"some of the study's systems only, or rows as its tables call them: {', '.join(systems)}",
    )
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
        help="a hyperparameter, in every system that has it; `affect systems NAME` lists them",
    )
    if study.searches:
        group = parser.add_argument_group("search")
        add = group.add_argument
        add("--search", type=int, metavar="N", help="let Optuna suggest N settings per declared search and system")
        add(
            "--search-seeds",
            type=int,
            metavar="N",
            help="seeds that each suggestion is judged on; default: the study's own",
        )
    group = parser.add_argument_group("how it is run")
    add = group.add_argument
    add("--plan", action="store_true", help="print what would run and what it can show, and stop")
    add("--max-minutes", type=float, metavar="M", help="stop at M minutes, cheapest trials first if not all fit")
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
    for sentence in resolved.left_out:
        console.print(sentence, highlight=False, markup=False)
    if getattr(args, "search", None) is not None:
        return _search(resolved, store, args, options.slots_here(args, resolved.device), console)
    if args.plan:
        preview(resolved, store, options.slots_here(args, resolved.device), console)
        return COMPLETE
    summary, frames = _run(resolved, store, args, console)
    folder = write_report(resolved, frames, Path(args.reports), console)
    return _verdict(summary, store, folder, console)


def _run(
    resolved: Resolved, store: Store, args: argparse.Namespace, console: Console
) -> tuple[Summary, dict[str, pd.DataFrame]]:
    """Train what is missing, and read what the report is made of."""
    # Mistakes in settings show when planning; nothing exists on disk before that.
    Grouping(partial(task_facts, resolved.corpus)).groups(plan(resolved, store.rows()).trials)
    executor = options.executor(args, resolved.device)
    corpus = open_corpus(args.corpus or resolved.study.scales[args.scale].corpus, resolved)
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
        old = store.load_request(resolved.request)
    except UserError:  # There is none, or one of another version.
        return ""
    shown = [(r.rows, r.label_fractions, r.seeds, r.overrides, r.scale) for r in (old, resolved)]
    if old.report != resolved.report or shown[0] == shown[1]:
        return ""
    labels = ", ".join(f"{100 * fraction:g} %" for fraction in old.label_fractions)
    systems = len({row.system for row in old.rows})
    return (
        f"This run's report replaces that of an earlier one (systems: {systems}, labels: {labels}, seeds: {old.seeds}); "
        "what was trained for it stays, and the same command as then brings it back."
    )


def _search(resolved: Resolved, store: Store, args: argparse.Namespace, slots: int, console: Console) -> int:
    """Carry out the declared searches of the chosen systems, one after another, and report each."""
    searches = searches_of(resolved, args)
    if args.plan:
        preview_searches(searches, store, slots, console)
        return COMPLETE
    from affect.engine.on_ray import OnRay
    from affect.engine.searcher import Searcher

    executor = OnRay(resolved.device, args.address, allow_open=args.allow_open_cluster)
    corpus = open_corpus(args.corpus or resolved.study.scales[args.scale].corpus, resolved)
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
        on = "the same command goes on." if summary.trained else "none ended in time: give more than --max-minutes did."
        console.print(f"Stopped with at most {summary.left} trials left; {on}", highlight=False)
        return UNFINISHED
    return COMPLETE
