"""Twins of speech corpora: three correlated attributes, noisy raters, factors that show the attributes, one feature space.

Columns and their loadings are the same in all of them, so that what was learnt on one can be tried on another. What
differs: scales and raters, how many speakers there are, the rooms that they speak in, and how strongly each factor shows
its attribute there (acted speech is no podcast).

Every constant below was chosen once and frozen before any system of a study was run on the twins. Podcast: by the test
CCC of ridge regression (arousal and dominance .6 to .7, valence .2 to .35) and a look at one plain network. The acted
ones: by ridge regression alone, within the corpus (IEMOCAP's: arousal .55 to .7, valence .3 to .45, dominance .4 to .55;
IMPROV's: .5 to .65, .25 to .4, .35 to .55) and trained on the podcast twin (above 0 and well below that).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from affect.data.corpus import PROTOCOLS, TargetInfo
from affect.data.twin.base import Draft, Scale, Twin, on_grid, partition_names, saturate
from affect.data.twin.columns import Columns, features, mixture
from affect.data.writer import ViewSource
from affect.streams import stream

VERSION = 1
TARGETS = ("arousal", "valence", "dominance")
GROUPS = "speaker"
VIEW = "hld"
DEMO_COLUMNS, FULL_COLUMNS = 128, 6_373


@dataclass(frozen=True)
class Size:
    """How large a twin is: rows per partition, named speakers of the labelled partitions, voices without a name."""

    rows: tuple[int, int, int, int]
    speakers: tuple[int, int, int]
    voices: int
    columns: int

    def part(self, fraction: float) -> Size:
        """A fraction of the rows of each partition, at least one, with as many of the speakers as that allows."""
        train, development, test, unlabelled = (round(fraction * n) or min(n, 1) for n in self.rows)
        speakers = tuple(min(n, rows) for n, rows in zip(self.speakers, (train, development, test), strict=True))
        a, b, c = speakers
        return Size((train, development, test, unlabelled), (a, b, c), min(self.voices, unlabelled), self.columns)


@dataclass(frozen=True)
class Population:
    """Who speaks, where, how it shows, and who rates it. Attributes in the order arousal, valence, dominance."""

    demo: Size
    full: Size
    correlation: tuple[float, float, float]
    """Of arousal and valence, arousal and dominance, valence and dominance."""
    low: float
    high: float
    centre: tuple[float, float, float]
    spread: tuple[float, float, float]
    raters: int
    rater_sd: tuple[float, float, float]
    domain_mix: tuple[tuple[float, ...], ...]
    """Partition × domain: the weight of each domain (a show, a studio) among its speakers."""
    stray_sd: tuple[float, float, float, float]
    """How far factors stray, row by row: those of arousal, dominance and valence, and the gated ones."""
    gain_sd: float = 0.45
    """Speakers differ in how strongly they show an attribute."""
    row_sd: float = 0.85
    speaker_sd: float = 0.4
    domain_sd: float = 0.3
    room_sd: float = 1.0
    """How far rooms lie from the middle of all rooms."""
    expression_sd: float = 0.0
    """How differently from podcasts single factors show their attribute."""
    dyads: bool = False
    """Speakers talk in pairs, a session each."""
    stream: str = ""
    """Under which all but the columns is drawn; that of podcasts is older than the others and has none."""

    def draw(self, seed: int, *names: str | int) -> np.random.Generator:
        return stream(seed, "twin", VERSION, *filter(None, [self.stream]), *names)

    @property
    def cholesky(self) -> np.ndarray:
        """[3, 3] of the attributes' correlations."""
        av, ad, vd = self.correlation
        return np.linalg.cholesky(np.array([[1.0, av, ad], [av, 1.0, vd], [ad, vd, 1.0]]))


PODCAST = Population(
    demo=Size((2_400, 600, 1_200, 4_800), (60, 12, 24), 200, DEMO_COLUMNS),
    full=Size((18_346, 3_753, 7_341, 175_196), (276, 20, 50), 2_000, FULL_COLUMNS),
    correlation=(0.15, 0.87, 0.3),
    low=1.0,
    high=7.0,
    centre=(4.1, 4.1, 4.2),
    spread=(1.0, 1.0, 0.9),
    raters=5,
    rater_sd=(1.0, 1.1, 1.1),
    # Training speech comes from other shows than the test part; unlabelled speech from all of them.
    domain_mix=(
        (6.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 1.0),
        (2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0),
        (1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0),
        (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    ),
    stray_sd=(2.2, 2.2, 3.0, 3.5),
)
STUDIO = ((1.0,),) * 4
"""Acted corpora have one domain: the studio."""
IEMOCAP = Population(
    demo=Size((1_260, 420, 420, 0), (6, 2, 2), 0, DEMO_COLUMNS),
    full=Size((6_317, 2_105, 2_105, 0), (6, 2, 2), 0, FULL_COLUMNS),
    correlation=(0.1, 0.65, 0.2),
    low=1.0,
    high=5.0,
    centre=(3.1, 2.8, 3.2),
    spread=(0.85, 0.95, 0.8),
    raters=2,
    rater_sd=(0.5, 0.55, 0.7),
    domain_mix=STUDIO,
    stray_sd=(1.0, 2.2, 2.4, 3.0),
    gain_sd=0.2,
    speaker_sd=0.25,
    room_sd=1.5,
    expression_sd=0.8,
    dyads=True,
    stream="iemocap",
)
IMPROV = Population(
    demo=Size((1_120, 280, 280, 0), (8, 2, 2), 0, DEMO_COLUMNS),
    full=Size((5_626, 1_406, 1_406, 0), (8, 2, 2), 0, FULL_COLUMNS),
    correlation=(0.2, 0.7, 0.25),
    low=1.0,
    high=5.0,
    centre=(2.9, 3.0, 3.0),
    spread=(0.7, 0.85, 0.6),
    raters=5,
    rater_sd=(0.9, 0.9, 0.9),
    domain_mix=STUDIO,
    stray_sd=(2.2, 2.6, 3.8, 4.5),
    gain_sd=0.2,
    speaker_sd=0.25,
    room_sd=1.5,
    expression_sd=0.8,
    dyads=True,
    stream="improv",
)

# The factors behind the features.
AROUSED, DOMINANT, VALENT, GATED, SPEAKER, DOMAIN, CONTENT = 8, 6, 2, 4, 8, 6, 14
SIGNAL = (AROUSED, DOMINANT, VALENT, GATED)
FACTORS = sum(SIGNAL) + SPEAKER + DOMAIN + CONTENT


def twins() -> tuple[Twin, ...]:
    """The twins of speech corpora."""
    return (
        _twin(
            "podcast",
            "podcast speech corpus",
            PODCAST,
            {"train": 18_346, "development": 3_753, "test": 7_341, "unlabelled": 175_196},
        ),
        _twin(
            "iemocap",
            "corpus of acted dialogues",
            IEMOCAP,
            {"rows": 10_527},
            "Sessions 1 to 3 are for training, session 4 for development, session 5 for the test; the paper rotates them.",
        ),
        _twin(
            "improv",
            "corpus of improvised dialogues",
            IMPROV,
            {},
            "Sessions 1 to 4 are for training, session 5 for development, session 6 for the test; the paper rotates them.",
            "The paper prints no number of turns; the full scale has 8,438.",
        ),
    )


def _twin(of: str, kind: str, population: Population, published: dict[str, int], *notes: str) -> Twin:
    return Twin(
        of=of,
        kind=kind,
        disclaimer="no speech was recorded",
        version=VERSION,
        groups=GROUPS,
        targets={target: TargetInfo(population.low, population.high) for target in TARGETS},
        protocols=dict.fromkeys(PROTOCOLS, "partition"),
        draft=partial(draft, population),
        published=published,
        notes=notes,
    )


def draft(population: Population, scale: Scale, seed: int) -> Draft:
    """A speech twin: view `hld` [N, D] float32, three attributes, groups are speakers."""
    sizes: dict[Scale, Size] = {"demo": population.demo, "full": population.full}
    size = sizes.get(scale) or population.full.part(float(scale))
    samples, factors = rows(population, size, seed)
    mixed = mixture(Columns(size.columns), FACTORS, stream(seed, "twin", VERSION, "columns"))
    view = ViewSource(
        (len(samples), size.columns),
        lambda: features(factors, mixed, lambda block: population.draw(seed, "noise", block)),
        features="synthetic functionals of low-level descriptors",
    )
    return Draft(samples, {VIEW: view})


@dataclass(frozen=True)
class People:
    """Speakers and voices [P]: partition, domain, attribute offsets, gain, offsets of the speaker factors."""

    partition: np.ndarray
    domain: np.ndarray
    attributes: np.ndarray
    gain: np.ndarray
    voice: np.ndarray


def _people(population: Population, size: Size, seed: int) -> People:
    draw = population.draw(seed, "people")
    counts = (*size.speakers, size.voices)
    partition = np.repeat(np.arange(len(counts)), counts)
    mix = [np.array(weights) / sum(weights) for weights in population.domain_mix]
    domain = np.concatenate([draw.choice(len(p), count, p=p) for count, p in zip(counts, mix, strict=True)])
    spread = population.speaker_sd * population.cholesky
    return People(
        partition=partition,
        domain=domain,
        attributes=draw.standard_normal((len(partition), 3)) @ spread.T,
        gain=np.clip(1 + population.gain_sd * draw.standard_normal(len(partition)), 0.1, 2.5),
        voice=draw.standard_normal((len(partition), SPEAKER)),
    )


def rows(population: Population, size: Size, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The sample table and the factors [N, FACTORS] float32 of every row."""
    people = _people(population, size, seed)
    domains = len(population.domain_mix[0])
    draw = population.draw(seed, "rows")
    person = np.concatenate([_deal(np.flatnonzero(people.partition == p), n, draw) for p, n in enumerate(size.rows)])
    shift = population.domain_sd * population.draw(seed, "domains").standard_normal((domains, 3))
    place = population.room_sd * population.draw(seed, "rooms").standard_normal((domains, DOMAIN))
    spread = population.row_sd * population.cholesky
    domain = people.domain[person]
    z = draw.standard_normal((len(person), 3)) @ spread.T + people.attributes[person] + shift[domain]

    # A rater who hears too much arousal hears too much dominance as well.
    noise = draw.standard_normal((len(z), population.raters, 3)) @ population.cholesky.T
    opinions = (np.array(population.centre) + np.array(population.spread) * z)[:, None] + population.rater_sd * noise
    labels = np.clip(np.round(opinions), population.low, population.high).sum(axis=1) / population.raters
    names = [_speaker(i, population.dyads) if p < 3 else None for i, p in enumerate(people.partition)]
    speaker = np.array(names, object)[person]
    partition = partition_names(size.rows)
    samples = pd.DataFrame(
        {
            "id": [f"clip-{row:06d}" for row in range(1, len(z) + 1)],
            "subject": speaker,
            "group": speaker,
            "partition": partition,
            **{target: np.where(partition == "unlabelled", np.nan, labels[:, t]) for t, target in enumerate(TARGETS)},
        }
    )
    expression = 1 + population.expression_sd * population.draw(seed, "expression").standard_normal(sum(SIGNAL))
    return samples, _factors(z, people, person, place[domain], expression, population.stray_sd, draw)


def _speaker(index: int, dyads: bool) -> str:
    return f"session-{index // 2 + 1}-speaker-{'ab'[index % 2]}" if dyads else f"speaker-{index + 1:03d}"


def _deal(people: np.ndarray, rows: int, draw: np.random.Generator) -> np.ndarray:
    """[rows] of `people`, each at least once, some far more often than others."""
    shares = draw.gamma(1.5, size=len(people))
    counts = 1 + np.floor((rows - len(people)) * shares / shares.sum()).astype(int)
    counts[: rows - counts.sum()] += 1
    return draw.permutation(np.repeat(people, counts))


def _factors(
    z: np.ndarray,
    people: People,
    person: np.ndarray,
    room: np.ndarray,
    expression: np.ndarray,
    stray_sd: tuple[float, ...],
    draw: np.random.Generator,
) -> np.ndarray:
    """[N, FACTORS] float32 on the grid."""
    a, v, d = z.T
    gain = people.gain[person]
    voice = people.voice[person]
    content = draw.standard_normal((len(z), CONTENT))
    stray = draw.standard_normal((len(z), sum(SIGNAL)))
    shown_a = saturate(gain * a)[:, None]
    shown_d = saturate(gain * d)[:, None]
    # Aroused speech: saturating, with a bend where content or the voice pushes it over the top.
    bends = np.linspace(-1.0, 1.0, AROUSED)
    aroused = 2 * saturate(1.4 * shown_a + bends + 0.35 * voice) + 0.5 * shown_a * content[:, :AROUSED]
    bends = np.linspace(-0.8, 0.8, DOMINANT)
    dominant = 2 * saturate(1.4 * shown_d + bends + 0.35 * voice[:, :DOMINANT]) + 0.5 * shown_d * content[:, :DOMINANT]
    # Valence shows faintly by itself, and otherwise only together with arousal or with what is said.
    valent = np.repeat(v[:, None], VALENT, axis=1)
    gated = np.stack([v * a, v * content[:, 8], v * np.abs(a), v * content[:, 9]], axis=1)
    signal = np.concatenate([aroused, dominant, valent, gated], axis=1)
    sd = np.repeat(stray_sd, SIGNAL)
    return on_grid(np.concatenate([expression * signal + sd * stray, voice, room, content], axis=1))
