"""Declarations: what a study is, before anything runs. Pure data, no Ray, no training, no files.

A study script writes a `Study`; the command line fixes the open choices and yields a study that is `Resolved`; the engine
plans trials from it and the report lays out the rows that those trials left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from affect.trial import Settings

Space = Callable[[Any], Settings]
"""Define-by-run: an `optuna.Trial` → the settings that it suggests."""
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
    """Share of training rows from which the last view is hidden, of those that have all in the corpus."""
    discard: bool = False
    """Whether it leaves out the rows that lack a view, instead of fitting on them too."""
    tuned: tuple[Settings, ...] = ()
    """Candidates under the protocol `leak_free`, where a study tunes all rows alike; none: `candidates`, as ever."""

    def under(self, protocol: str) -> Row:
        """This row with the candidates that it has under `protocol`, and no others."""
        tuned = self.tuned and protocol == "leak_free"
        return replace(self, candidates=self.tuned if tuned else self.candidates, tuned=())

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
        return ", ".join((self.line, *factors))

    @property
    def line(self) -> str:
        """What it is called without its factors: rows of one grid are points of one line."""
        return self.label or self.system


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

    The first suggestion is the hand-set configuration, as nearly as `space` allows, and goes all the way. A suggestion is
    trained on every search seed. At each rung every other goes on only if it is among the best 1/`reduction` of all
    suggestions that have come so far (ASHA); the last rung is the system's own number of epochs.
    The best `refits` of those that went all the way are refitted on `refit_seeds` fresh seeds, beside the hand-set
    configuration.
    """

    system: str
    space: Space | None
    """Not needed to report."""
    rungs: tuple[int, ...] = (10, 30)
    """Epochs after which suggestions are compared; none: every suggestion goes all the way."""
    reduction: int = 3
    seeds: int = 1
    """Search seeds where the command line says nothing: a search learns what is good for them, and a single one misleads."""
    refits: int = 5
    refit_seeds: int = 5
    path_seeds: int = 2
    """Fresh seeds on which the ablation path is walked: each change alone, then one after another."""
    together: tuple[tuple[str, ...], ...] = ()
    """Settings that have a meaning only jointly (α and β): one factor of the ablation path."""
    start: Callable[[Settings], Settings] | None = None
    """Settings → what `space` asks for that has no setting's name; the hand-set configuration is suggested by it."""
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
      of `systems` and of the grids that they are points of; of no meaning where these hardly know more than nothing;
    - `closer`: each of `systems` lies closer to the first of `baselines` than to the second;
    - `rises`: what is measured of each of `systems` rises with `factor` by more than chance (first to last value, interval
      above zero), and nowhere falls from one value to the next by more than chance (interval below zero);
    - `more_labels`: each of `systems` is better with the most labels of the run than with the fewest;
    - `heaviest`: of the weights that each of `systems` learned for views, the one of `view` is the largest, the interval of
      its difference from each other above zero.
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
    """Corpus name, or corpus name and protocol (`emobank+leak_free`), which wins → overrides used with it for every system
    alike (chosen on development data; named in reports)."""
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
            label = row.line
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
    lacking: tuple[int, ...] = ()
    """How many training inputs lack each of the views; empty where none does."""
    classes: int = 0
    """Classes of the study's target; 0 where its targets are continuous."""
    features: str = ""
    """Name of the feature set of the view; empty where that was not recorded."""
    targets: tuple[str, ...] = ()
    """Those of the study or, where it names none, all that the corpus has."""

    def labelled(self, fraction: float) -> int:
        """How many labels a fraction leaves."""
        return round(fraction * self.rows["train"])
