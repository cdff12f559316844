"""The console command `affect`: prepare corpora, list them, send studies to a cluster, look at results and reports."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rich.table import Table

from affect.console import COMPLETE, Parser, guarded, stdout
from affect.errors import UserError

A = TypeVar("A")
B = TypeVar("B")

EPILOG = """\
examples:
  affect prepare qcc --root data/qcc_speech_vad --out corpora/qcc    a corpus of real speech
  affect corpora                                                     what there is to run studies on
  affect systems SMVAE                                               its settings, with defaults and presets
  affect report results/ladder_ablation                              tables and figures from stored results alone
  affect submit studies/ladder_ablation.py --results /shared/results a study as a job on a Ray cluster
  affect status results/ladder_ablation                              how far it is, and what leads so far
  affect results list                                                what is stored
  affect results export results/ladder_ablation --csv scores.csv     one line per trial, partition and target

Studies are scripts: python studies/ladder_ablation.py --help
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    args = _parser().parse_args(argv)
    sys.exit(guarded(lambda: args.action(args) or COMPLETE, "affect"))


def _parser() -> Parser:
    from affect.data.prepare import add_corpora_parser, add_prepare_parser

    parser = Parser(
        prog="affect",
        description="A study engine for emotion recognition with few, noisy or missing labels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_prepare_parser(commands, _spread)
    add_corpora_parser(commands)
    systems = commands.add_parser(
        "systems",
        help="list systems, or the settings of some",
        description="What can be fitted, and what can be set of it.",
    )
    systems.add_argument("names", nargs="*", metavar="NAME", help="whose settings to list; default: list the systems")
    systems.set_defaults(action=_systems)
    report = commands.add_parser(
        "report", help="rebuild a report from stored results", description="Rebuild a report; nothing is trained."
    )
    report.add_argument("results", metavar="FOLDER", help="a study's results, such as results/ladder_ablation")
    report.add_argument(
        "--corpus",
        metavar="NAME",
        help="which corpus, where the study was run with several, as `affect status` names it",
    )
    report.add_argument("--reports", default="reports", metavar="DIR", help="folder of report folders")
    report.set_defaults(action=_report)
    status = commands.add_parser(
        "status", help="how far a study is", description="How far a study is, from its results alone."
    )
    status.add_argument("results", metavar="FOLDER", help="a study's results, such as results/ladder_ablation")
    status.set_defaults(action=_status)
    _add_submit(commands)
    _add_results(commands)
    return parser


def _spread(work: Callable[[A], B], items: Sequence[A], what: str) -> Iterator[B]:
    """`affect.data.features.extraction.Spread` on Ray, imported once there is work."""
    from affect.engine.spread import on_ray

    return on_ray(work, items, what, stdout())


def _add_submit(commands: argparse._SubParsersAction[Parser]) -> None:
    from affect.engine.submit import DASHBOARD

    submit = commands.add_parser(
        "submit",
        help="run a study as a job on a Ray cluster",
        description="Send the project to a Ray cluster, run a study there, follow its log and end with its exit status.",
    )
    address = os.environ.get("RAY_API_SERVER_ADDRESS", DASHBOARD)
    submit.add_argument("--address", default=address, metavar="URL", help="the cluster's dashboard (%(default)s)")
    submit.add_argument("--working-dir", type=Path, default=Path(), metavar="DIR", help="what is sent (%(default)s)")
    submit.add_argument("--allow-open-cluster", action="store_true", help="submit although no token is asked for")
    submit.add_argument("--no-follow", action="store_true", help="end once the job is submitted")
    submit.add_argument("study", metavar="STUDY", help="a script in DIR, such as studies/ladder_ablation.py")
    submit.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="...", help="the study's options; places are made absolute"
    )
    submit.set_defaults(action=_submit)


def _add_results(commands: argparse._SubParsersAction[Parser]) -> None:
    results = commands.add_parser("results", help="list studies, or export their scores")
    actions = results.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="trials by study, corpus, protocol, preset, system and status")
    listing.add_argument("uri", nargs="?", default="results", help="folder of result folders; default: results")
    listing.set_defaults(action=_list)
    export = actions.add_parser("export", help="all scores as one CSV file")
    export.add_argument("results", metavar="FOLDER", help="a study's results, such as results/ladder_ablation")
    export.add_argument("--csv", required=True, metavar="FILE", help="file to write; must not exist")
    export.set_defaults(action=_export)


def _systems(args: argparse.Namespace) -> None:
    from affect.systems import get_system, registry

    if not args.names:
        table = Table("system", "paper", "what it is")
        for system in registry().values():
            table.add_row(system.name, system.paper, system.description)
        stdout().print(table)
    for system in [get_system(name) for name in args.names]:
        presets = [name for name, values in system.presets.items() if values]
        table = Table(
            "setting", "default", *presets, "admissible", "what it is", title=f"{system.name}: {system.description}"
        )
        for name, hp in system.hyperparameters.items():
            own = [str(system.presets[preset].get(name, "")) for preset in presets]
            table.add_row(name, str(hp.default), *own, hp.admissible, hp.help)
        stdout().print(table)


def _report(args: argparse.Namespace) -> None:
    from affect.command import write_report, write_search_report
    from affect.engine.evidence import evidence, outdated
    from affect.engine.files import check_folder
    from affect.engine.store import Store

    store = Store.at(args.results)
    check_folder(Path(args.reports))
    records = [record for record, _ in store.searches().values()]
    requested = store.requested()
    corpora = sorted({*requested, *({record.corpus for record in records} - {*requested.values()})})
    # The name of a corpus stands for its only request.
    chosen = [name for name in corpora if args.corpus in (None, name)]
    chosen = chosen or [name for name in corpora if requested.get(name) == args.corpus]
    if len(chosen) > 1:
        raise UserError(f"{store.folder}: has several reports; add --corpus {'|'.join(chosen)}.")
    if not chosen:
        known = ", ".join(corpora) or "none yet"
        raise UserError(f"{store.folder}: no results with corpus {args.corpus or 'of any name'}; there is {known}.")
    (name,) = chosen
    corpus = requested.get(name, name)
    if name in requested:
        resolved = store.load_request(name)
        folder = write_report(resolved, evidence(resolved, store), Path(args.reports), stdout())
        for sentence in outdated(resolved, store):
            print(sentence)
        print(f"Report: {folder}")
    for record in records:
        if record.corpus == corpus and record.refits is not None:
            print(f"Report: {write_search_report(record, store, Path(args.reports), stdout())}")
        elif record.corpus == corpus and record.rungs:
            print(f"No report yet of the search {record.name}: it has not come to its refits.")


def _status(args: argparse.Namespace) -> None:
    from affect.engine.status import show
    from affect.engine.store import Store

    show(Store.at(args.results), stdout())


def _submit(args: argparse.Namespace) -> int:
    from affect.engine.submit import submit

    return submit(
        args.study,
        args.arguments,
        address=args.address,
        folder=args.working_dir,
        allow_open=args.allow_open_cluster,
        follow=not args.no_follow,
    )


def _list(args: argparse.Namespace) -> None:
    from affect.engine.store import MARKER, Store
    from affect.engine.uris import open_folder

    folder = open_folder(args.uri)
    studies = [name for name in folder.names("") if (folder / name).has(MARKER)]
    if not studies:
        raise UserError(f"{folder}: no results here.")
    columns = ["corpus", "protocol", "preset", "system", "label_fraction", "status"]
    table = Table("study", *columns[:4], "labels", "status", "trials")
    for study in studies:
        rows = Store(args.uri, study).rows()
        counts = rows.groupby(columns, observed=True)["trial"].nunique()
        for (*names, fraction, status), count in counts.items():
            table.add_row(study, *names, f"{fraction:.4g}", status, str(count))
    stdout().print(table)


def _export(args: argparse.Namespace) -> None:
    from affect.engine.store import Store
    from affect.files import write_whole, writing

    goal = Path(args.csv)
    if goal.exists():
        raise UserError(f"{goal}: exists already; nothing was overwritten.")
    rows = Store.at(args.results).trials()
    if rows.empty:
        raise UserError(f"{args.results}: has no finished trial yet, so {goal} was not written.")
    rows = rows.sort_values(["corpus", "label_fraction", "system", "trial", "partition", "target"])
    with writing(goal):
        write_whole(goal, rows.to_csv(index=False).encode())
    print(f"{len(rows)} rows in {goal}")
