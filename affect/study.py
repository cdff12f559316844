"""Declarations: what a study is, before anything runs. Pure data, no Ray, no training, no files.

A study script writes a `Study`; the command line fixes the open choices and yields a `Resolved` study; the engine
plans trials from it and the report lays out the rows that those trials left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

Settings = Mapping[str, Any]
"""Hyperparameter name → value."""

ALL_VIEWS = "all"
"""Stands for the names of all views that a protocol may use, joined by `+`."""


@dataclass(frozen=True)
class Row:
    """One row of a table: a system and the candidate settings between which development data choose, per target.

    Each candidate overrides the preset. A single candidate per target means that there is nothing to choose.
    """

    system: str
    candidates: tuple[Settings, ...] = ({},)
    floor: bool = False
    """Reference rows (ridge, SVR): shown below a rule, outside every family of comparisons."""
    factors: Mapping[str, float | int | str] = field(default_factory=dict)
    """What sets this row apart from others of the same system in a grid (`{"λ": 0.1}`); figures have them as axes."""
    label: str = ""
    """What tables call it, before its factors, where that is not the system's name."""
    only: int | None = None
    """The one view that it sees of those that the study works on, counted from 0; all of them by default."""
    per_view: bool = False
    """Stands for one row per view of those that the study works on, each of which sees that one alone."""
    transductive: bool = False
    """The unlabelled rows that it fits on are those of the test part, instead of the training part's."""
    missing: float = 0.0
    """Share of training rows that lack the last view."""
    discard: bool = False
    """Whether it leaves out the rows that lack a view, instead of fitting on them too."""

    @property
    def competes(self) -> bool:
        """Whether it is one of a table's own rows, neither a floor nor a point of a grid."""
        return not self.floor and not self.factors

    @property
    def name(self) -> str:
        """What tables call it: distinct within a study."""
        factors = (
            f"{name} {value}" if isinstance(value, str) else f"{name} {value:g}" for name, value in self.factors.items()
        )
        return ", ".join((self.label or self.system, *factors))


def grid(
    system: str, settings: Callable[..., Settings], factors: Mapping[str, Sequence[float | int | str]]
) -> tuple[Row, ...]:
    """A row for every combination of `factors`, in which `settings(value of the first, ...)` is set.

    `grid("MTL", lambda rate: {"learning_rate": rate}, {"rate": (1e-4, 1e-3)})` has two rows.
    """
    combinations = product(*factors.values())
    return tuple(
        Row(system, (settings(*values),), factors=dict(zip(factors, values, strict=True))) for values in combinations
    )


@dataclass(frozen=True)
class Search:
    """A search of one system's settings: Optuna suggests, development data judge.

    A suggestion is trained on every search seed. At each rung it goes on only if it is among the best
    1/`reduction` of all suggestions that have come so far (ASHA); the last rung is the system's own number of epochs.
    The best `refits` of those that went all the way are refitted on `refit_seeds` fresh seeds, beside the hand-set
    configuration.
    """

    system: str
    space: Callable[[Any], Settings] | None
    """Define-by-run: an `optuna.Trial` → the settings it suggests. Not needed to report."""
    rungs: tuple[int, ...] = (10, 30)
    """Epochs after which suggestions are compared; none: every suggestion goes all the way."""
    reduction: int = 3
    refits: int = 5
    refit_seeds: int = 5
    path_seeds: int = 2
    """Fresh seeds on which the ablation path is walked: each change alone, then one after another."""
    together: tuple[tuple[str, ...], ...] = ()
    """Settings that have a meaning only jointly (α and β): one factor of the ablation path."""
    control: bool = False
    """Whether a second search that stops nothing follows, for as many optimiser steps as the first took."""


@dataclass(frozen=True)
class Scale:
    """How much of a study is run: `demo` answers in minutes, `full` is the paper's size."""

    corpus: str
    """Embedded synthetic corpus used when no corpus is named."""
    rows: tuple[Row, ...]
    seeds: int
    selection_seeds: int = 1
    """Candidates are compared on development data over the first so many seeds."""
    label_fractions: tuple[float, ...] = (1.0,)
    """Shares of the training labels."""


@dataclass(frozen=True)
class Mark:
    """A symbol set beside a cell that is significantly better than the row `baseline`."""

    symbol: str
    baseline: str
    worse: bool = False
    """Set beside cells that are significantly worse instead: `baseline` is the row that a paper proposes."""


@dataclass(frozen=True)
class Table:
    """A table: rows × (partition, target); for the kind `fractions` rows × label fraction; for `factor` the lines of a figure
    of the kind `factor_lines` × label fraction and value of the factor; for `corpus` the sizes of the corpus."""

    name: str
    title: str
    source: str
    """Paper and table number."""
    partitions: tuple[str, ...] = ("development", "test")
    published: str | None = None
    """File in reports/published with the paper's values; `{corpus}` in it stands for the corpus (of a twin, whose twin)."""
    kind: str = "targets"
    factor: str = ""
    """For the kind `factor`."""
    errors: str = ""
    """For the kind `factor`: the rows over which imputation errors are shown, instead of the study's metric."""


@dataclass(frozen=True)
class Figure:
    """A figure: `kind` is one of the renderers in `affect.report.figures`."""

    name: str
    kind: str
    title: str
    source: str
    published: str | None = None
    """File in reports/published with the published relative gains, for the kind `mean_bars`."""
    system: str = ""
    """For the kinds of grids: the system whose rows are drawn; for `learned`, the name of a row."""
    factors: tuple[str, ...] = ()
    """The grid's factors, one for a curve, two for a heat map; rows with other factors are not in the figure. A figure
    of the kind `factor_lines` that names no system draws all that vary the factor, one of the kind `label_fractions`
    without factors all rows."""
    errors: str = ""
    """For `factor_lines`: the rows over which imputation errors are drawn, instead of the study's metric."""


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper as a check on the means over seeds.

    `kind` says what is checked, on each of `targets` in `partition`, at each of `fractions`:
    - `beats`: each of `systems` (or, with `any_of`, one of them) is better than each of `baselines`;
    - `best_row`: the best row of the table, floors aside, is one of `systems`;
    - `relative_gain`: the best of `systems` gains over the first of `baselines` about as much as was published: the
      mean gain is at least half the published one, and the interval of the difference lies above zero;
    - `near`: each of `systems` differs by at most `margin` from each of `baselines` or, if there are none, from the best
      of `systems` and of the grids that they are points of;
    - `closer`: each of `systems` lies closer to the first of `baselines` than to the second;
    - `rises`: what is measured of each of `systems` rises with `factor`, from value to value;
    - `more_labels`: each of `systems` is better with the most labels of the run than with the fewest;
    - `heaviest`: of the weights that each of `systems` learned for views, the one of `view` is the largest.
    """

    sentence: str
    source: str
    systems: tuple[str, ...]
    """Names of rows; the name of rows per view stands for all of them."""
    baselines: tuple[str, ...]
    targets: tuple[str, ...]
    """None stands for all targets of the study."""
    partition: str = "test"
    """`development`, `test`, or `mean` of the two."""
    kind: str = "beats"
    any_of: bool = False
    published: str | None = None
    """File in reports/published with the published relative gains, for the kind `relative_gain`."""
    significant: bool = True
    """For the kind `beats`: whether significance is claimed; otherwise the direction alone is checked."""
    fractions: tuple[float, ...] = (1.0,)
    """Label fractions that it is about; none stands for all that were run."""
    factor: str = ""
    """Systems and baselines name the lines over this factor of a grid, and are compared value by value; rows without it are
    the same at each."""
    at: tuple[float, ...] = ()
    """Values of the factor that it is about; none stands for all."""
    errors: str = ""
    """It is about imputation errors over these rows, of which less is better, instead of the study's metric."""
    margin: float = 0.0
    view: str = ""


@dataclass(frozen=True)
class Study:
    """A frozen declaration of cells, seeds, budget, baselines, and the tables, figures and claims it feeds."""

    name: str
    title: str
    paper: str
    """The paper that is reproduced, as one cites it; its short name (P1) is what sources of tables and claims begin with."""
    targets: tuple[str, ...]
    """None stands for the one target that the corpus has."""
    metric: str
    scales: Mapping[str, Scale]
    marks: tuple[Mark, ...]
    presets: tuple[str, ...] = ("paper",)
    protocols: tuple[str, ...] = ("as_published", "leak_free")
    settings: Mapping[str, Settings] = field(default_factory=dict)
    """Corpus name → overrides used with it for every system alike (chosen on development data; named in reports)."""
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    claims: tuple[Claim, ...] = ()
    searches: tuple[Search, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know of the method: sentences printed under "What was run"."""
    view: str | None = None
    """The view, or views joined by `+`, that it works on where none is named: the corpus' first, or `ALL_VIEWS`."""
    view_names: Mapping[str, str] = field(default_factory=dict)
    """View → what the paper's tables call it, where that is another name."""

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(mark.baseline for mark in self.marks)

    def on(self, corpus: CorpusFacts) -> Study:
        """This study with what it leaves to the corpus: its targets, rows per view, and what claims say of both."""
        names = [self.view_names.get(view, view) for view in corpus.view.split("+")]

        def fixed(row: Row) -> list[Row]:
            if not row.per_view:
                return [row]
            label = row.label or row.system
            return [replace(row, per_view=False, only=v, label=f"{label} ({name})") for v, name in enumerate(names)]

        scales: dict[str, Scale] = {}
        known: dict[str, tuple[str, ...]] = {}
        for name, scale in self.scales.items():
            known |= {row.name: tuple(each.name for each in fixed(row)) for row in scale.rows if row.per_view}
            scales[name] = replace(scale, rows=tuple(each for row in scale.rows for each in fixed(row)))
        targets = self.targets or corpus.targets

        def spelt(rows: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(each for row in rows for each in known.get(row, (row,)))

        claims = tuple(
            replace(
                claim, systems=spelt(claim.systems), baselines=spelt(claim.baselines), targets=claim.targets or targets
            )
            for claim in self.claims
        )
        return replace(self, targets=targets, scales=scales, claims=claims)


HELD_BACK = 2
"""Version of what tasks with missing views, discarded rows or the test part's inputs give a fit, apart from others, whose
ids do not have it. 2: discarded rows are each seed's own, a pass is as long as that of a task that holds nothing back, and a
view that rows lack is normalised with those that have it."""


@dataclass(frozen=True)
class TaskSpec:
    """What is to be learnt; with the seed (which draws the labelled subset) it fixes a `Task` exactly."""

    corpus: str
    """Content fingerprint of the corpus."""
    view: str
    """Name of a view, or names joined by `+` for systems that see several side by side."""
    targets: tuple[str, ...]
    metric: str
    protocol: str
    label_fraction: float
    fold: int = 0
    selection: str = "best_development"
    transductive: bool = False
    """Whether fits get the inputs of the test part, and no unlabelled training rows."""
    missing: float = 0.0
    """Share of training rows that lack the last view, drawn by the seed, alike among labelled and other rows."""
    discard: bool = False
    """Whether fits get no row that lacks a view."""
    version: int = 1
    """Version of the task's own meaning: normalisation, clipping, label subset; raised when any of them changes."""

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(self.view.split("+"))

    @cached_property
    def text(self) -> str:
        """Canonical JSON: all trials of a task hash it. What ids are older than is spelt out where it is not usual."""
        named = asdict(self)
        for name, usual in (("version", 1), ("missing", 0.0), ("discard", False)):
            if named[name] == usual:
                del named[name]
        if self.missing or self.transductive:
            named["held_back"] = HELD_BACK
        return _JSON.encode(named)


@dataclass(frozen=True)
class Trial:
    """Cell × fold × seed. `id` is the SHA-256 of all that determines the result."""

    system: str
    version: int
    preset: str
    settings: Settings
    """Every hyperparameter, defaults included, in the system's declared order."""
    task: TaskSpec
    seed: int
    device: str
    """Device class: `cpu` or `cuda`."""

    @cached_property
    def cell(self) -> str:
        """SHA-256 of everything but the seed: trials of one cell share it."""
        head = _JSON.encode([self.system, self.version, self.preset, self.device])
        text = "\n".join((head, _JSON.encode(dict(self.settings)), self.task.text))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def id(self) -> str:
        return hashlib.sha256(f"{self.cell}/{self.seed}".encode()).hexdigest()

    def with_seeds(self, seeds: Iterable[int]) -> list[Trial]:
        """This trial under other seeds. The cell is hashed once for all: plans hold 100,000 trials."""
        trials = [replace(self, seed=seed) for seed in seeds]
        for trial in trials:
            trial.__dict__["cell"] = self.cell
        return trials


@dataclass(frozen=True)
class CorpusFacts:
    """What planning and reports need to know of a corpus without opening its arrays."""

    name: str
    title: str
    banner: str
    """One line naming the corpus and its caveats, printed above every result."""
    fingerprint: str
    synthetic: bool
    groups: str
    """What the `group` column is (`speaker`, `document`, ...) or `unknown`."""
    view: str
    """The view, or views joined by `+`, that the study works on."""
    width: int
    """Number of features, of all these views."""
    has_text: bool
    rows: Mapping[str, int]
    """Partition → rows (unlabelled) or rows with a label for every target of the study (train, development, test)."""
    findings: tuple[str, ...] = ()
    """Sentences: what was found in the data, then what its reader noted."""
    kinds: tuple[str, ...] = ()
    """Kinds of the first so many `findings`, followed by ` (allowed)` where `--allow` named one that stops a study."""
    pool: int = 0
    """Training inputs: rows of the training partition, labelled or not, and unlabelled rows. 0: not counted."""
    widths: tuple[int, ...] = ()
    """Features of each of the views."""
    classes: int = 0
    """Classes of the study's target; 0 where its targets are continuous."""
    features: str = ""
    """Name of the feature set of the view; empty where that was not recorded."""
    targets: tuple[str, ...] = ()
    """Those of the study or, where it names none, all that the corpus has."""


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

    @property
    def report(self) -> str:
        """Where its report lies among reports: the study's name and, below it, what departs from the study's own."""
        own = next(iter(self.study.scales.values())).corpus, self.study.protocols[0], self.study.presets[0]
        chosen = self.corpus.name, self.protocol, self.preset
        apart = [choice for choice, usual in zip(chosen, own, strict=True) if choice != usual]
        return "/".join([self.study.name, *(["-".join(apart)] if apart else [])])

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
    control: str | None = None
    """Name of the search that stopped nothing."""
    winner: str | None = None
    """Row of `refits` that is best on development data."""
    path: Resolved | None = None
    """The ablation path, a row per step."""
