"""Benchmarks: speed as ratios within one run. `python -m tests.bench --help`, from the project's folder.

Nothing here fails when a target is missed, and no test is timed: figures belong to the machine that they were taken on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before numpy or torch are loaded: one thread per process, unless a benchmark says otherwise.
os.environ["OMP_NUM_THREADS"] = "1"

from rich.console import Console

from tests.bench.figures import Item, plain, show

BUSY = 0.5
"""Load average above which figures are said to be taken on a busy machine."""


def _short_trials(args: argparse.Namespace) -> Item:
    from tests.bench import short_trials

    return short_trials.bench(args.repeats)


def _overhead(args: argparse.Namespace) -> Item:
    from tests.bench import overhead

    return overhead.bench(args.minutes)


def _arrangements(args: argparse.Namespace) -> Item:
    from tests.bench import arrangements, ladder

    return arrangements.bench(ladder.subject(), args.repeats, args.seconds)


def _one_step(args: argparse.Namespace) -> Item:
    from tests.bench import one_step

    return one_step.bench(args.repeats)


def _large_corpus(args: argparse.Namespace) -> Item:
    from tests.bench import large_corpus

    return large_corpus.bench(args.repeats)


def _planning(args: argparse.Namespace) -> Item:
    from tests.bench import planning

    return planning.bench(args.repeats)


def _searching(args: argparse.Namespace) -> Item:
    from tests.bench import searching

    return searching.bench()


def _large_gate(args: argparse.Namespace) -> Item:
    from tests.bench import large_gate

    return large_gate.bench()


def _generative_arrangements(args: argparse.Namespace) -> Item:
    from tests.bench import arrangements, generative

    return arrangements.bench(generative.subject(), args.repeats, args.seconds)


def _m2_step(args: argparse.Namespace) -> Item:
    from tests.bench import m2_step

    return m2_step.bench(args.repeats)


def _recordings(args: argparse.Namespace) -> Item:
    from tests.bench import recordings

    return recordings.bench()


ITEMS: dict[str, tuple[Callable[[argparse.Namespace], Item], str]] = {
    "a": (_short_trials, "64 short trials, the engine against Ray Tune"),
    "b": (_overhead, "a study's wall time against its bare training loops"),
    "c": (_arrangements, "the small ladder: chosen arrangement, plain loops, other arrangements"),
    "d": (_one_step, "one wide ladder step against its matrix products"),
    "e": (_large_corpus, "opening a large corpus"),
    "f": (_planning, "planning 100,000 trials, a report from 1,000,000 rows"),
    "g": (_searching, "searches: what Tune and Optuna cost beyond training"),
    "h": (_large_gate, "writing a large corpus and looking for leaks in it (5.1 GB of disk)"),
    "i": (_generative_arrangements, "SMVAE: chosen arrangement, plain loops, other arrangements"),
    "j": (_m2_step, "one M2 step against its matrix products and a plain loop"),
    "k": (_recordings, "features of 600 recordings, all cores against one"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen benchmarks; 0 whether or not targets are met, 1 when a benchmark could not be run."""
    args = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    load = os.getloadavg()[0]
    if load > BUSY:
        console.print(f"The load average is {load:.1f}: other processes are at work, figures will suffer.\n")
    found: dict[str, Any] = {"machine": _machine(load), "items": {}}
    broken = False
    for key in dict.fromkeys(args.only):
        bench, _ = ITEMS[key]
        try:
            item = bench(args)
        except Exception:
            broken = True
            found["items"][key] = {"error": traceback.format_exc().splitlines()[-1]}
            console.print(f"({key}) could not be run:")
            console.print(traceback.format_exc(), markup=False, highlight=False)
        else:
            show(item, console)
            found["items"][key] = plain(item)
        if args.json:
            args.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(broken)


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {key}  {help_}" for key, (_, help_) in ITEMS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Speed as ratios within one run, both sides interleaved, medians.",
        epilog=f"benchmarks:\n{about}\n\nOn two cores everything takes about half an hour.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--only",
        nargs="+",
        choices=list(ITEMS),
        default=list(ITEMS),
        metavar="ITEM",
        help="some of a b c d e f g h i j k",
    )
    add("--repeats", type=_count, default=3, metavar="N", help="rounds of every comparison (%(default)s)")
    add(
        "--seconds", type=float, default=5.0, metavar="S", help="(c), (i) time of each side in each round (%(default)g)"
    )
    add(
        "--minutes",
        type=float,
        default=5.0,
        metavar="M",
        help="(b) length of the study; less is a preview (%(default)g)",
    )
    add("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rounds")
    return number


def _machine(load: float) -> dict[str, Any]:
    packages = ("torch", "ray", "numpy", "pandas", "pyarrow")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "load_average": load,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
