"""The readers behind `affect prepare`, and the corpora that `affect corpora` and `--corpus` find."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from affect.data import twin
from affect.data.corpus import AS_PUBLISHED, PARTITIONS, Corpus, Count, open_corpus
from affect.data.features.extraction import FeatureFolder, Spread, serial
from affect.data.manifest import MANIFEST
from affect.data.readers import deap, emobank, iemocap, mfeat, msp_improv, msp_podcast, qcc, seed, table, wav
from affect.errors import UserError
from affect.study import CorpusFacts

READERS: dict[str, ModuleType] = {
    "table": table,
    "qcc": qcc,
    "emobank": emobank,
    "mfeat": mfeat,
    "msp-podcast": msp_podcast,
    "iemocap": iemocap,
    "msp-improv": msp_improv,
    "seed": seed,
    "deap": deap,
    "twin": twin,
    "wav": wav,
}
"""Name → module with HELP, DETAIL, EXAMPLE, `add_arguments(parser)` and `prepare(args)`, which writes and returns a `Corpus`, a
list of them, or the features of one."""
CORPORA = Path("corpora")


def add_prepare_parser(subparsers: Any, spread: Spread = serial) -> argparse.ArgumentParser:
    """Add the command `prepare` to argparse's subparsers; its `action(args)` writes a corpus and returns 0. Readers that
    have much to do spread it by `spread`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "prepare",
        help="turn data into a corpus folder",
        description="Turn data into a corpus folder. Each reader has its own --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n" + "\n".join(f"  {module.EXAMPLE}" for module in READERS.values()),
    )
    readers = parser.add_subparsers(dest="reader", required=True, metavar="READER")
    for name, module in READERS.items():
        reader = readers.add_parser(
            name, help=module.HELP, description=f"{module.HELP}. {module.DETAIL}", epilog=f"example: {module.EXAMPLE}"
        )
        module.add_arguments(reader)
        reader.add_argument("--overwrite", action="store_true", help="replace what is in that folder")
        reader.set_defaults(action=run_prepare, spread=spread)
    return parser


def add_corpora_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command `corpora` to argparse's subparsers; its `action(args)` prints what there is and returns 0."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "corpora",
        help="list corpora with their rows, views, targets and findings",
        description="List the corpora in a folder, or describe the one that the folder is.",
        epilog="example: affect corpora corpora/qcc",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=CORPORA, help="(%(default)s)")
    parser.set_defaults(action=run_corpora)
    return parser


def run_prepare(args: argparse.Namespace) -> int:
    made = READERS[args.reader].prepare(args)
    several = made if isinstance(made, list) else [made]
    print("\n\n".join(one.describe() if isinstance(one, FeatureFolder) else describe(one) for one in several))
    return 0


def run_corpora(args: argparse.Namespace) -> int:
    folder: Path = args.folder
    single = (folder / MANIFEST).is_file()
    if not single and folder != CORPORA and not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.")
    if single:
        print(describe(open_corpus(folder)), end="\n\n")
        return 0
    for corpus in corpus_folders(folder):
        try:
            print(describe(open_corpus(corpus)), end="\n\n")
        except UserError as error:  # One that is damaged hides none of the others.
            print(f"affect: {error}", file=sys.stderr)
    print(f"Made when first named: {', '.join(twin.NAMES)}.")
    return 0


def corpus_folders(folder: Path = CORPORA) -> list[Path]:
    """The sub-folders of `folder` that look like corpora, by name; none when it does not exist. Nothing is opened."""
    return [file.parent for file in sorted(folder.glob(f"[!.]*/{MANIFEST}"))]


def find_corpus(name_or_folder: str, root: Path = CORPORA) -> Corpus:
    """An embedded twin by its name (made under `root` when absent), or a corpus by its folder or name under `root`."""
    if name_or_folder in twin.NAMES:
        return twin.ensure_twin(name_or_folder, root / name_or_folder)
    for folder in (Path(name_or_folder), root / name_or_folder):
        if (folder / MANIFEST).is_file():
            return open_corpus(folder)
    there = [*(corpus.name for corpus in corpus_folders(root)), *twin.NAMES]
    raise UserError(
        f"{name_or_folder}: unknown corpus; there are {', '.join(dict.fromkeys(there))}, "
        "and any folder written by affect prepare."
    )


def facts_of(
    name_or_folder: str, protocol: str, targets: Sequence[str], root: Path = CORPORA, view: str | None = None
) -> CorpusFacts:
    """Facts of the corpus that `find_corpus` finds; of a twin that is yet to be made, without making it."""
    if is_to_be_made(name_or_folder, root):
        return twin.twin_facts(name_or_folder, protocol, targets, view)
    return find_corpus(name_or_folder, root).facts(protocol, targets, view)


def is_to_be_made(name_or_folder: str, root: Path = CORPORA) -> bool:
    """Whether `find_corpus` would make a twin."""
    return name_or_folder in twin.NAMES and not (root / name_or_folder / MANIFEST).is_file()


def describe(corpus: Corpus) -> str:
    """Some lines about a corpus: rows by partition and protocol, views, targets, groups, findings, fingerprint."""
    manifest = corpus.manifest
    lines = [f"{manifest.name}  ({corpus.folder})", f"  {manifest.banner}", f"  title        {manifest.title}"]
    for protocol, column in manifest.protocols.items():
        counts = corpus.samples[column].value_counts()
        rows = ", ".join(f"{counts[name]:,} {name}" for name in PARTITIONS if name in counts)
        lines.append(f"  {protocol:<12} {rows}")
    for name, view in manifest.views.items():
        only = f" (for {view.protocol})" if view.protocol else ""
        there = corpus.present([name])
        some = "" if there is None else f", {there.sum():,} rows have it"
        lines.append(f"  view         {name} {' x '.join(map(str, view.shape))}: {view.features}{only}{some}")
    for name, target in manifest.targets.items():
        scale = f"one of {', '.join(target.classes)}" if target.classes else f"on {target.low:g}..{target.high:g}"
        lines.append(f"  target       {name} {scale}")
    lines.append(f"  groups       {manifest.groups}")
    for found in manifest.findings:
        whose = "" if found.protocol == AS_PUBLISHED else f"{found.protocol}: "
        leave = f" Stops a study without --allow {found.kind}." if found.stops else ""
        lines.append(f"  finding      {whose}{found.sentence}{leave}")
    lines += [f"  note         {note}" for note in manifest.notes]
    lines += [f"  source       {manifest.source}", f"  licence      {manifest.licence}"]
    lines.append(f"  fingerprint  {manifest.fingerprint[:12]}")
    return "\n".join([*lines, *_fidelity(manifest.counts)])


def _fidelity(counts: Sequence[Count]) -> list[str]:
    """The paper's counts beside this copy's, a line each."""
    if not counts:
        return []
    width = max(len(count.what) for count in counts)
    lines = [f"  {'compared with the paper':<{width}}  {'paper':>9}  {'here':>9}"]
    for count in counts:
        verdict = "" if count.here == count.published else f"  differs. {count.why}".rstrip()
        lines.append(f"  {count.what:<{width}}  {count.published:>9,}  {count.here:>9,}{verdict}")
    return lines
