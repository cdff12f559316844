"""Studies and searches with every open choice fixed: what a run works from, and what its report reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from affect.study import CorpusFacts, Row, Study
from affect.trial import Settings


@dataclass(frozen=True)
class Resolved:
    """A study with every open choice fixed: what `plan` and the report work from."""

    study: Study
    scale: str
    corpus: CorpusFacts
    rows: tuple[Row, ...]
    label_fractions: tuple[float, ...]
    seeds: int
    selection_seeds: int
    preset: str
    protocol: str
    overrides: Settings
    """`--set` over the study's settings for this corpus."""
    device: str
    first_seed: int = 0
    left_out: tuple[str, ...] = ()
    """A sentence for every reason why rows of the study, that would be run on another corpus, are not."""

    @property
    def report(self) -> str:
        """Where its report lies among reports: the study's name and, below it, what departs from the study's own."""
        own = next(iter(self.study.scales.values())).corpus
        apart = [name for name in (self.corpus.name,) if name != own] + self._departures
        return "/".join([self.study.name, *(["-".join(apart)] if apart else [])])

    @property
    def corpus_settings(self) -> Settings:
        """What the study sets for the corpus, under this protocol where it says so."""
        own, corpus = self.study.settings, self.corpus.name
        return own.get(f"{corpus}+{self.protocol}", own.get(corpus, {}))

    @property
    def request(self) -> str:
        """What it is called among the requests of its study: the corpus, and what departs from the study's own, by a
        character that no corpus' name has."""
        return "+".join([self.corpus.name, *self._departures])

    @property
    def _departures(self) -> list[str]:
        chosen = (self.protocol, self.study.protocols[0]), (self.preset, self.study.presets[0])
        return [choice for choice, usual in chosen if choice != usual]

    @property
    def seed_range(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    def family(self, baseline: str) -> tuple[str, ...]:
        """The rows whose comparisons with `baseline`, on every target, are one family: all that the study declares
        at this scale, floors and grids aside, run or not. To run fewer must not make a mark cheaper."""
        declared = (row.name for row in (*self.study.scales[self.scale].rows, *self.rows) if row.competes)
        return tuple(name for name in dict.fromkeys(declared) if name != baseline)


@dataclass(frozen=True)
class SearchRecord:
    """A search as it was carried out: what its report needs beside rows and the history of its suggestions."""

    name: str
    corpus: str
    system: str
    label_fraction: float
    search_seeds: int
    rungs: tuple[int, ...]
    reduction: int
    refits: Resolved | None = None
    """None while suggestions are lacking."""
    importances: Mapping[str, float] = field(default_factory=dict)
    """Parameter → its share in what sets the better suggestions apart."""
    hand_set: float | None = None
    """What the hand-set configuration came to on the search seeds; None where the space offers it only nearly, or where it
    came to nothing."""
    control: str | None = None
    """Name of the search that stopped nothing."""
    winner: str | None = None
    """Row of `refits` that is best on development data."""
    path: Resolved | None = None
    """The ablation path, a row per step."""
