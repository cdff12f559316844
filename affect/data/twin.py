"""The embedded corpus `podcast-twin`: synthetic numbers in the shape of a large podcast speech corpus.

Every constant below was chosen once, by the test CCC of ridge regression (arousal and dominance .6 to .7, valence .2 to
.35) and a look at one plain network, and frozen before any system of a study was run on the twin: results on it say
whether the engine works, never whether a paper holds.

The numbers are meant to be the same on every machine: factors and loadings are multiples of 1/32 and 1/64, small
enough for their products to be summed without rounding in float32 whatever the order, and all else is elementwise
IEEE arithmetic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data import checks
from affect.data.corpus import PARTITIONS, PROTOCOLS, Corpus, TargetInfo, open_corpus
from affect.data.manifest import MANIFEST
from affect.data.writer import ViewSource, refuse_existing, write_corpus
from affect.errors import UserError
from affect.streams import stream
from affect.study import CorpusFacts

HELP = "podcast-twin: synthetic numbers in the shape of a large podcast speech corpus, made by seed"
EXAMPLE = "affect prepare twin --scale demo --seed 0 --out corpora/podcast-twin-demo"
DETAIL = (
    "Three correlated attributes on 1..7 rated by five noisy raters, correlated features with heavy tails, constant "
    "columns and outliers, speaker-independent partitions and a shift between them. No speech was recorded."
)
VERSION = 1
"""Of the generator: any change to the numbers is a new version, and a new fingerprint."""
TARGETS = ("arousal", "valence", "dominance")
GROUPS = "speaker"
LOW, HIGH = 1.0, 7.0
BLOCK = 2048
"""Rows generated at a time; each block has its own noise stream."""


@dataclass(frozen=True)
class TwinSize:
    """How large a twin is: rows per partition, named speakers of the labelled partitions, voices without a name."""

    rows: tuple[int, int, int, int]
    speakers: tuple[int, int, int]
    voices: int
    columns: int


SIZES = {
    "full": TwinSize((18_346, 3_753, 7_341, 175_196), (276, 20, 50), 2_000, 6_373),
    "demo": TwinSize((2_400, 600, 1_200, 4_800), (60, 12, 24), 200, 128),
}
NAMES = {"podcast-twin": "full", "podcast-twin-demo": "demo"}
"""Name of the corpus → scale."""
VIEW = "hld"
FEATURES = "synthetic functionals of low-level descriptors"
FINGERPRINTS = {
    "podcast-twin": "53c001fe84b916d67d3ad0376d388f9affc26d3e39a43bb02a7a08238d335f5d",
    "podcast-twin-demo": "a00df419de638ac3c19c543b9deacf9384e59d76041d0fe63839feeee8d39afd",
}
"""Name of the corpus → fingerprint of this version with seed 0: what goes by that name."""

# The population. Order of the attributes: arousal, valence, dominance.
CORRELATION = np.array([[1.0, 0.15, 0.87], [0.15, 1.0, 0.3], [0.87, 0.3, 1.0]])
ROW_SD, SPEAKER_SD, DOMAIN_SD = 0.85, 0.4, 0.3
CENTRE, SPREAD = np.array([4.1, 4.1, 4.2]), np.array([1.0, 1.0, 0.9])
RATERS, RATER_SD = 5, np.array([1.0, 1.1, 1.1])
DOMAINS = 8
DOMAIN_MIX = (
    (6.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 1.0),
    (2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0),
    (1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0),
    (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
)
"""Partition × domain: training speech comes from other shows than the test part; unlabelled speech from all of them."""

# The factors behind the features.
AROUSED, DOMINANT, VALENT, GATED, SPEAKER, DOMAIN, CONTENT = 8, 6, 2, 4, 8, 6, 14
FACTORS = AROUSED + DOMINANT + VALENT + GATED + SPEAKER + DOMAIN + CONTENT
GAIN_SD, STRAY_SD, VALENCE_STRAY_SD, GATED_STRAY_SD = 0.45, 2.2, 3.0, 3.5
"""Speakers differ in how strongly they show an attribute; every factor strays from it row by row."""

# The columns.
FAMILY = 24
"""Neighbouring columns are functionals of one descriptor and share half of their loadings."""
LOADED = 6
NOISE_LOW, NOISE_HIGH = 0.6, 1.6
HEAVY, WILD, CONSTANT = 0.2, 0.006, 0.001
"""Shares of columns with heavy tails, with enormous outliers, and with one value only."""
WILD_ROWS = 0.002


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=sorted(SIZES), default="demo", help="(%(default)s; full takes 5.3 GB)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another corpus (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write (corpora/ and the name of the twin, with its seed)")


def prepare(args: argparse.Namespace) -> Corpus:
    name = next(name for name, scale in NAMES.items() if scale == args.scale)
    usual = name if args.seed == 0 else f"{name}-seed-{args.seed}"
    return make_twin(name, args.out or Path("corpora") / usual, args.seed, args.overwrite)


def twin_facts(name: str, protocol: str, targets: Sequence[str] = ()) -> CorpusFacts:
    """What `ensure_twin(name, ...).facts(protocol, targets)` gives, without making the twin."""
    checks.check_targets(targets, TARGETS, name)
    if protocol not in PROTOCOLS:
        raise UserError(f"{name}: protocol {protocol} is not offered; there is {', '.join(PROTOCOLS)}.")
    size = SIZES[NAMES[name]]
    rows = dict(zip(PARTITIONS, size.rows, strict=True))
    return CorpusFacts(
        name=name,
        title=_title(name),
        banner=_banner(name),
        fingerprint=FINGERPRINTS[name],
        synthetic=True,
        groups=GROUPS,
        view=VIEW,
        width=size.columns,
        widths=(size.columns,),
        has_text=False,
        rows=rows,
        pool=rows["train"] + rows["unlabelled"],
        features=FEATURES,
    )


def ensure_twin(name: str, folder: Path) -> Corpus:
    """The twin `name` (`podcast-twin` or `podcast-twin-demo`) in `folder`, made by seed 0 when it is not there.

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
        raise UserError(
            f"{folder}: holds another corpus than {name} ({corpus.manifest.source}); give its folder to use it, or "
            f"run `affect prepare twin --scale {NAMES[name]} --out {folder} --overwrite`."
        )
    return corpus


def make_twin(name: str, folder: Path, seed: int = 0, overwrite: bool = False) -> Corpus:
    """Write the twin `name` into `folder`: view `hld` [N, D] float32, targets on 1..7, groups are speakers."""
    if name not in NAMES:
        raise UserError(f"{name}: unknown twin; there are {', '.join(NAMES)}.")
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: must not be negative.")
    refuse_existing(folder, overwrite)
    size = SIZES[NAMES[name]]
    people = _people(size, seed)
    samples, factors = _rows(size, people, seed)
    return write_corpus(
        folder,
        name=name,
        title=_title(name),
        banner=_banner(name),
        synthetic=True,
        source=f"generated by affect, twin version {VERSION}, seed {seed}",
        licence="generated numbers, free to use",
        samples=samples,
        targets={target: TargetInfo(LOW, HIGH) for target in TARGETS},
        groups=GROUPS,
        protocols=dict.fromkeys(PROTOCOLS, "partition"),
        views={
            VIEW: ViewSource(
                (len(samples), size.columns),
                lambda: _features(factors, size.columns, seed),
                features=FEATURES,
            )
        },
        fingerprint=FINGERPRINTS[name] if seed == 0 else "",
        overwrite=overwrite,
    )


def _title(name: str) -> str:
    return f"Synthetic twin of a podcast speech corpus ({NAMES[name]} scale)"


def _banner(name: str) -> str:
    return f"{name}: synthetic numbers, no speech was recorded"


@dataclass(frozen=True)
class People:
    """Speakers and voices [P]: partition, domain, attribute offsets, gain, offsets of the speaker factors."""

    partition: np.ndarray
    domain: np.ndarray
    attributes: np.ndarray
    gain: np.ndarray
    voice: np.ndarray


def _people(size: TwinSize, seed: int) -> People:
    draw = stream(seed, "twin", VERSION, "people")
    counts = (*size.speakers, size.voices)
    partition = np.repeat(np.arange(len(PARTITIONS)), counts)
    mix = [np.array(weights) / sum(weights) for weights in DOMAIN_MIX]
    domain = np.concatenate([draw.choice(DOMAINS, count, p=p) for count, p in zip(counts, mix, strict=True)])
    spread = SPEAKER_SD * np.linalg.cholesky(CORRELATION)
    return People(
        partition=partition,
        domain=domain,
        attributes=draw.standard_normal((len(partition), 3)) @ spread.T,
        gain=np.clip(1 + GAIN_SD * draw.standard_normal(len(partition)), 0.1, 2.5),
        voice=draw.standard_normal((len(partition), SPEAKER)),
    )


def _rows(size: TwinSize, people: People, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The sample table and the factors [N, FACTORS] float32 of every row."""
    draw = stream(seed, "twin", VERSION, "rows")
    person = np.concatenate([_deal(np.flatnonzero(people.partition == p), n, draw) for p, n in enumerate(size.rows)])
    shift = DOMAIN_SD * stream(seed, "twin", VERSION, "domains").standard_normal((DOMAINS, 3))
    place = stream(seed, "twin", VERSION, "rooms").standard_normal((DOMAINS, DOMAIN))
    spread = ROW_SD * np.linalg.cholesky(CORRELATION)
    domain = people.domain[person]
    z = draw.standard_normal((len(person), 3)) @ spread.T + people.attributes[person] + shift[domain]

    # A rater who hears too much arousal hears too much dominance as well.
    halo = np.linalg.cholesky(CORRELATION)
    opinions = (CENTRE + SPREAD * z)[:, None] + RATER_SD * (draw.standard_normal((len(z), RATERS, 3)) @ halo.T)
    labels = np.clip(np.round(opinions), LOW, HIGH).sum(axis=1) / RATERS
    named = people.partition < 3
    speaker = np.array([f"speaker-{i + 1:03d}" if known else None for i, known in enumerate(named)], object)[person]
    partition = np.repeat(np.array(PARTITIONS, object), size.rows)
    samples = pd.DataFrame(
        {
            "id": [f"clip-{row:06d}" for row in range(1, len(z) + 1)],
            "subject": speaker,
            "group": speaker,
            "partition": partition,
            **{target: np.where(partition == "unlabelled", np.nan, labels[:, t]) for t, target in enumerate(TARGETS)},
        }
    )
    return samples, _factors(z, people, person, place[domain], draw)


def _deal(people: np.ndarray, rows: int, draw: np.random.Generator) -> np.ndarray:
    """[rows] of `people`, each at least once, some far more often than others."""
    shares = draw.gamma(1.5, size=len(people))
    counts = 1 + np.floor((rows - len(people)) * shares / shares.sum()).astype(int)
    counts[: rows - counts.sum()] += 1
    return draw.permutation(np.repeat(people, counts))


def _factors(
    z: np.ndarray, people: People, person: np.ndarray, room: np.ndarray, draw: np.random.Generator
) -> np.ndarray:
    """[N, FACTORS] float32, multiples of 1/32 within ±8."""
    a, v, d = z.T
    gain = people.gain[person]
    voice = people.voice[person]
    content = draw.standard_normal((len(z), CONTENT))
    stray = draw.standard_normal((len(z), AROUSED + DOMINANT + VALENT + GATED))
    shown_a = _saturate(gain * a)[:, None]
    shown_d = _saturate(gain * d)[:, None]
    # Aroused speech: saturating, with a bend where content or the voice pushes it over the top.
    bends = np.linspace(-1.0, 1.0, AROUSED)
    aroused = 2 * _saturate(1.4 * shown_a + bends + 0.35 * voice) + 0.5 * shown_a * content[:, :AROUSED]
    bends = np.linspace(-0.8, 0.8, DOMINANT)
    dominant = 2 * _saturate(1.4 * shown_d + bends + 0.35 * voice[:, :DOMINANT]) + 0.5 * shown_d * content[:, :DOMINANT]
    # Valence shows faintly by itself, and otherwise only together with arousal or with what is said.
    valent = np.repeat(v[:, None], VALENT, axis=1)
    gated = np.stack([v * a, v * content[:, 8], v * np.abs(a), v * content[:, 9]], axis=1)
    signal = np.concatenate([aroused, dominant, valent, gated], axis=1)
    sd = np.repeat([STRAY_SD, STRAY_SD, VALENCE_STRAY_SD, GATED_STRAY_SD], [AROUSED, DOMINANT, VALENT, GATED])
    factors = np.concatenate([signal + sd * stray, voice, room, content], axis=1)
    return (np.round(np.clip(factors, -8, 8) * 32) / 32).astype(np.float32)


def _saturate(x: np.ndarray) -> np.ndarray:
    return 1.5 * x / (1 + np.abs(x))


def _features(factors: np.ndarray, columns: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of the view: exact mixtures of factors, noise, then what makes columns awkward."""
    draw = stream(seed, "twin", VERSION, "columns")
    families = -(-columns // FAMILY)
    shared = _loadings(families, draw)[:, np.arange(columns) // FAMILY]
    loadings = (np.round((shared + _loadings(columns, draw)) * 64) / 64).astype(np.float32)
    noise = draw.uniform(NOISE_LOW, NOISE_HIGH, columns).astype(np.float32)
    scale = (10 ** draw.uniform(-2.0, 3.0, columns)).astype(np.float32)
    offset = (scale * draw.normal(0, 3, columns)).astype(np.float32)
    order = draw.permutation(columns)
    few = [max(2, round(share * columns)) for share in (HEAVY, WILD, CONSTANT)]
    heavy, wild, constant = np.split(order[: sum(few)], np.cumsum(few)[:-1])
    scale[constant] = 0
    quantiles = _gaussian_quantiles()
    for start in range(0, len(factors), BLOCK):
        yield _block(factors[start : start + BLOCK], loadings, noise, scale, offset, heavy, wild, quantiles,
                     stream(seed, "twin", VERSION, "noise", start // BLOCK))  # fmt: skip


def _block(
    factors: np.ndarray,
    loadings: np.ndarray,
    noise: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    heavy: np.ndarray,
    wild: np.ndarray,
    quantiles: np.ndarray,
    draw: np.random.Generator,
) -> np.ndarray:
    block = factors @ loadings
    count = block.size
    raw = draw.bit_generator.random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
    stray = quantiles[raw].reshape(block.shape)
    stray *= noise
    block += stray
    block[:, heavy] *= np.abs(block[:, heavy])
    block *= scale
    block += offset
    hit = draw.random((len(block), len(wild))) < WILD_ROWS
    size = (10 ** draw.uniform(6, 11, hit.shape)).astype(np.float32)
    block[:, wild] = np.where(hit, block[:, wild] * size, block[:, wild])
    return block


def _loadings(columns: int, draw: np.random.Generator) -> np.ndarray:
    """[FACTORS, columns]: LOADED factors each, weights within ±1."""
    chosen = np.argsort(draw.random((FACTORS, columns)), axis=0) < LOADED
    return np.where(chosen, np.clip(0.4 * draw.standard_normal((FACTORS, columns)), -1, 1), 0.0)


def _gaussian_quantiles() -> np.ndarray:
    """[65536] float32: the normal quantiles that two random bytes pick from, on a grid that every machine agrees on."""
    from scipy.special import ndtri

    return (np.round(ndtri((np.arange(65536) + 0.5) / 65536) * 4096) / 4096).astype(np.float32)
