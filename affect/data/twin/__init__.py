"""Embedded corpora: synthetic numbers in the shape of corpora that only their licensees have.

A twin of each is made when first named, or by `affect prepare twin`, from a seed. To add one: a `Twin`
(`affect.data.twin.base`) in `TWINS`, and the fingerprints of its embedded scales.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from affect.data import checks, leakage
from affect.data.corpus import PARTITIONS, Corpus, open_corpus
from affect.data.manifest import MANIFEST
from affect.data.twin import physiology, speech
from affect.data.twin.base import Scale, Twin
from affect.data.writer import refuse_existing, write_corpus
from affect.errors import UserError
from affect.study import ALL_VIEWS, CorpusFacts

HELP = "synthetic twins, made by seed: numbers in the shape of corpora that only their licensees have"
EXAMPLE = "affect prepare twin --scale demo --seed 0 --out corpora/podcast-twin-demo"
DETAIL = (
    "podcast, iemocap, improv: three correlated attributes, noisy raters, 6373 features (128 at demo scale) with heavy "
    "tails, constant columns and outliers, speaker-independent partitions and a shift between corpora. seed, deap: "
    "EEG and eye movements or peripheral signals of the same emotions, classes, drift by subject and session. All are "
    "made up: nobody spoke, and no signal was recorded."
)
TWINS = {twin.of: twin for twin in (*speech.twins(), *physiology.twins())}
SCALES = ("demo", "full")
NAMES = {twin.name(scale): (twin, scale) for twin in TWINS.values() for scale in reversed(SCALES)}
"""Name of an embedded corpus → its twin and scale."""
FINGERPRINTS = {
    "podcast-twin": "53c001fe84b916d67d3ad0376d388f9affc26d3e39a43bb02a7a08238d335f5d",
    "podcast-twin-demo": "a00df419de638ac3c19c543b9deacf9384e59d76041d0fe63839feeee8d39afd",
    "iemocap-twin": "b6454f40beac5e58c6ff5652d46948cfbc37ac114f91618d563d577256af8121",
    "iemocap-twin-demo": "34e997394b5a9b3a1045156ea7c6a5c85cdf579d83297515efb2c379b03343ae",
    "improv-twin": "80f134f3dff9f7c7fd1c091fb94126c493220a1a358362c58a97c4ae6eb285b3",
    "improv-twin-demo": "c6bd5a44d2a7941044902c7d87813c5acf2231762d7aa283f3e86d70253973a9",
    "seed-twin": "70d820254a3b368ac5bcab2598f42bc09e4ce4cc6ef5e7990c4ca35cf14afc0b",
    "seed-twin-demo": "d10327d6ae5ef5affb814d4295c7ebfd21c074fcb6199fd1b595a5372eeee130",
    "deap-twin": "facb01a234deb15727ddafd33db7a5cec08e39d33f56e1af087ab5c5f53ee352",
    "deap-twin-demo": "e176e2a6cdd356f43450ad81ed98d8caca27fabc36c934614cf861b75c9bec2d",
}
"""Name of the corpus → fingerprint of its twin's version with seed 0: what goes by that name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--of", choices=list(TWINS), default="podcast", help="whose twin (%(default)s)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", choices=SCALES, default="demo", help="(%(default)s; full takes 5.3 GB for podcast)")
    size.add_argument(
        "--fraction",
        type=float,
        metavar="F",
        help="instead of a scale: this fraction of the full scale's rows, with all of its columns and speakers or "
        "recordings as far as there are rows for them",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another corpus (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write (corpora/ and the name of the twin, with its seed)")


def prepare(args: argparse.Namespace) -> Corpus:
    scale: Scale = args.scale
    if args.fraction is not None:
        if not 0 < args.fraction <= 1:
            raise UserError(f"--fraction {args.fraction:g}: leaves the range (0, 1]; 0.1 makes a tenth of the rows.")
        scale = "full" if args.fraction == 1 else args.fraction
    twin = TWINS[args.of]
    name = twin.name(scale)
    usual = name if args.seed == 0 else f"{name}-seed-{args.seed}"
    return _make(twin, scale, args.out or Path("corpora") / usual, args.seed, args.overwrite)


def twin_facts(name: str, protocol: str, targets: Sequence[str] = (), view: str | None = None) -> CorpusFacts:
    """What `ensure_twin(name, ...).facts(protocol, targets, view)` gives, without making the features."""
    twin, scale = NAMES[name]
    targets = tuple(targets or twin.targets)
    checks.check_targets(targets, twin.targets, name)
    if protocol not in twin.protocols:
        raise UserError(f"{name}: protocol {protocol} is not offered; there is {', '.join(twin.protocols)}.")
    draft = twin.draft(scale, 0)
    here = draft.samples[twin.protocols[protocol]].value_counts()
    rows = {partition: int(here.get(partition, 0)) for partition in PARTITIONS}
    found = leakage.of_table(draft.samples, twin.protocols[protocol], twin.groups, twin.protocols)
    view = "+".join(draft.views) if view == ALL_VIEWS else view or next(iter(draft.views))
    checks.check_views(view.split("+"), draft.views, name)
    sources = [draft.views[each] for each in view.split("+")]
    widths = tuple(source.shape[1] for source in sources)
    kinds = [twin.targets[target] for target in targets]
    return CorpusFacts(
        name=name,
        title=twin.title(scale),
        banner=twin.banner(scale),
        fingerprint=FINGERPRINTS[name],
        synthetic=True,
        groups=twin.groups,
        view=view,
        width=sum(widths),
        widths=widths,
        classes=len(kinds[0].classes) if len(kinds) == 1 else 0,
        features=" + ".join(source.features for source in sources),
        has_text=False,
        rows=rows,
        targets=targets,
        findings=(*(sentence for _, sentence in found), *twin.notes),
        kinds=tuple(kind for kind, _ in found),
        pool=rows["train"] + rows["unlabelled"],
    )


def ensure_twin(name: str, folder: Path) -> Corpus:
    """The embedded twin `name` in `folder`, made by seed 0 when it is not there.

    Another corpus in that folder (of another seed, or version of the generator) is refused.
    Safe when several processes ask at once: the first to finish gives the folder its name, the others open it.
    """
    if not (folder / MANIFEST).is_file():
        try:
            return make_twin(name, folder)
        except UserError:
            if not (folder / MANIFEST).is_file():
                raise
    corpus = open_corpus(folder)
    if corpus.manifest.fingerprint != FINGERPRINTS[name]:
        twin, scale = NAMES[name]
        raise UserError(
            f"{folder}: holds another corpus than {name} ({corpus.manifest.source}); give its folder to use it, or "
            f"run `affect prepare twin --of {twin.of} --scale {scale} --out {folder} --overwrite`."
        )
    return corpus


def make_twin(name: str, folder: Path, seed: int = 0, overwrite: bool = False) -> Corpus:
    """Write the embedded twin `name` into `folder`."""
    if name not in NAMES:
        raise UserError(f"{name}: unknown twin; there are {', '.join(NAMES)}.")
    return _make(*NAMES[name], folder, seed, overwrite)


def _make(twin: Twin, scale: Scale, folder: Path, seed: int, overwrite: bool) -> Corpus:
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: must not be negative.")
    refuse_existing(folder, overwrite)
    draft = twin.draft(scale, seed)
    return write_corpus(
        folder,
        name=twin.name(scale),
        title=twin.title(scale),
        banner=twin.banner(scale),
        synthetic=True,
        source=f"generated by affect, twin version {twin.version}, seed {seed}",
        licence="generated numbers, free to use",
        samples=draft.samples,
        targets=twin.targets,
        groups=twin.groups,
        protocols=twin.protocols,
        views=draft.views,
        fingerprint=FINGERPRINTS.get(twin.name(scale), "") if seed == 0 else "",
        counts=twin.counts(scale, draft.samples),
        notes=twin.notes,
        overwrite=overwrite,
    )
