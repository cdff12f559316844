"""The comparisons behind a claim: what is compared with what, and by which tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from affect.report.analysis import Analysis
from affect.report.cube import PARTITIONS, Floats, mean_over_seeds
from affect.report.learned import learned_of
from affect.report.published import read_published
from affect.stats import LEVEL, bootstrap_interval, fisher_z, holm, resolvable, sign_flip
from affect.study import Claim

NEAR = 0.5
"""Share of a published gain that the mean gain must reach."""


@dataclass(frozen=True)
class Finding:
    """One comparison behind a claim: `system` against `baseline` on one target at one label fraction."""

    target: str
    fraction: float
    system: str
    baseline: str
    mean: float
    baseline_mean: float
    difference: float = float("nan")
    """Mean paired difference over common seeds."""
    low: float = float("nan")
    high: float = float("nan")
    fisher: float = float("nan")
    flip: float = float("nan")
    """p of the sign-flip test; NaN where a declared family has the pair, and so its correction."""
    holm: float = float("nan")
    """Over the family that the study declares or, where the pair is in none, over the claim's own comparisons; NaN where
    the seeds are too few for as many."""
    pairs: int = 0
    holds: bool = False
    published: float = float("nan")
    """Published relative gain, where the claim is about one."""

    @property
    def gain(self) -> float:
        return self.mean / self.baseline_mean - 1 if self.baseline_mean > 0 else float("nan")


@dataclass(frozen=True)
class Scope:
    """Where a claim is checked: label fraction and target, by their places in the cube."""

    claim: Claim
    analysis: Analysis
    f: int
    t: int

    @property
    def fraction(self) -> float:
        return self.analysis.cube.fractions[self.f]

    def values(self, row: str) -> Floats:
        """[N] what the claim is about, of a row."""
        cube, s = self.analysis.cube, self.analysis.cube.systems.index(row)
        if self.claim.errors:
            nothing = np.full(len(cube.seeds), np.nan)
            return cube.errors[self.claim.errors][self.f, s] if self.claim.errors in cube.errors else nothing
        return cube.values[self.f, s, self.t, PARTITIONS.index(self.claim.partition)]

    def mean(self, row: str) -> float:
        return float(mean_over_seeds(self.values(row)))

    def best(self, rows: tuple[str, ...]) -> str:
        """The row with the best mean, the first of equals."""
        means = self.sign * np.array([self.mean(row) for row in rows])
        return rows[int(np.argmax(np.where(np.isnan(means), -np.inf, means)))]

    @property
    def sign(self) -> int:
        """Of what is better: of errors, less is."""
        return -1 if self.claim.errors else 1

    def compare(self, system: str, baseline: str) -> Finding:
        """The comparison of two rows as its family has it or, where none was declared, made here."""
        if self.claim.errors:
            return self.between(system, baseline, self.values(system), self.values(baseline))
        found = self._declared(system, baseline)
        if found is None:
            found = self.between(system, baseline, self.values(system), self.values(baseline))
        if self.analysis.resolved.study.metric != "ccc":
            return found
        cube, p = self.analysis.cube, PARTITIONS.index(self.claim.partition)
        ours, theirs = ((self.f, cube.systems.index(name), self.t, p) for name in (system, baseline))
        return replace(
            found, fisher=float(fisher_z(cube.means[ours], cube.means[theirs], cube.rows[ours], cube.rows[theirs]))
        )

    def _declared(self, system: str, baseline: str) -> Finding | None:
        """The comparison of two rows as a declared family has it: computed once, with all others of the report."""
        for named, other, worse in ((baseline, system, False), (system, baseline, True)):
            family = self.analysis.families.get((self.f, self.claim.partition, named))
            if family is None or family.worse != worse or other not in family.systems:
                continue
            at = family.systems.index(other), self.t
            return replace(
                self._means(system, baseline, self.values(system), self.values(baseline)),
                difference=float(family.difference[at]),
                low=float(family.low[at]),
                high=float(family.high[at]),
                holm=float(family.holm[at]) if family.resolvable else float("nan"),
                pairs=int(family.pairs[at]),
            )
        return None

    def between(self, system: str, baseline: str, ours: Floats, theirs: Floats) -> Finding:
        """The comparison of two series [N] over seeds."""
        d = ours - theirs
        d = d[~np.isnan(d)]
        low, high = bootstrap_interval(d)
        return replace(
            self._means(system, baseline, ours, theirs),
            difference=float(d.mean()) if len(d) else float("nan"),
            low=float(low),
            high=float(high),
            flip=float(sign_flip(self.sign * d)) if len(d) else float("nan"),
            pairs=len(d),
        )

    def _means(self, system: str, baseline: str, ours: Floats, theirs: Floats) -> Finding:
        return Finding(
            target=self.claim.errors or self.analysis.cube.targets[self.t],
            fraction=self.fraction,
            system=system,
            baseline=baseline,
            mean=float(mean_over_seeds(ours)),
            baseline_mean=float(mean_over_seeds(theirs)),
        )


def findings_of(claim: Claim, analysis: Analysis) -> list[list[Finding]]:
    """The comparisons behind `claim`, in groups by label fraction and target of which each must hold."""
    if claim.kind not in KINDS:
        raise ValueError(f"a claim is of kind {', '.join(KINDS)}, not {claim.kind}")
    cube = analysis.cube
    scopes = [Scope(claim, analysis, f, cube.targets.index(t)) for f in _places(claim, analysis) for t in claim.targets]
    groups = [KINDS[claim.kind](scope) for scope in scopes]
    return _judged(claim, analysis, _corrected(groups)) if claim.kind == "beats" else groups


def _places(claim: Claim, analysis: Analysis) -> list[int]:
    """Label fractions, as places in the cube, whose figures are shown: all, or the largest."""
    cube = analysis.cube
    return [cube.main] if claim.fractions else [int(f) for f in np.argsort(cube.fractions)]


def lacking(claim: Claim, analysis: Analysis) -> list[str]:
    """Names in `claim` that no row of this run has."""
    known = set(analysis.cube.systems)
    if claim.factor:
        known |= {row.line for row in analysis.resolved.rows if set(row.factors) == {claim.factor}}
    return [name for name in dict.fromkeys((*claim.systems, *claim.baselines)) if name not in known]


def _line(scope: Scope, name: str) -> dict[float, str]:
    """Value of the claim's factor → row, but for rows that the run leaves out at the label fraction. Of a row without the
    factor, or where the claim has none: NaN → that row."""
    claim, rows, cube = scope.claim, scope.analysis.resolved.rows, scope.analysis.cube
    found = {
        float(row.factors[claim.factor]): row.name
        for row in rows
        if claim.factor and set(row.factors) == {claim.factor} and row.line == name
    }
    if not found:
        return {float("nan"): name}
    wanted = {row: bool(cube.expected[scope.f, cube.systems.index(row), scope.t].any()) for row in found.values()}
    return {x: row for x, row in sorted(found.items()) if wanted[row] and (not claim.at or x in claim.at)}


def _paired(scope: Scope, system: str, baseline: str) -> Iterator[tuple[str, str]]:
    """Rows of two lines that have the factor's value in common."""
    ours, theirs = _line(scope, system), _line(scope, baseline)
    everywhere = next(iter(theirs.values())) if theirs and np.isnan(list(theirs)).all() else None
    for x, row in ours.items():
        if everywhere is not None or x in theirs:
            yield row, everywhere or theirs[x]


def _beats(scope: Scope) -> list[Finding]:
    claim = scope.claim
    return [
        scope.compare(*rows)
        for baseline in claim.baselines
        for system in claim.systems
        for rows in _paired(scope, system, baseline)
    ]


def _corrected(groups: list[list[Finding]]) -> list[list[Finding]]:
    """With Holm over all comparisons of the claim, of those that are in no declared family."""
    own = [finding for group in groups for finding in group if not np.isnan(finding.flip)]
    enough = resolvable(min((finding.pairs for finding in own), default=0), len(own))
    adjusted = iter(holm(np.array([finding.flip for finding in own])) if own and enough else [float("nan")] * len(own))
    return [[f if np.isnan(f.flip) else replace(f, holm=float(next(adjusted))) for f in group] for group in groups]


def _judged(claim: Claim, analysis: Analysis, groups: list[list[Finding]]) -> list[list[Finding]]:
    """Whether each comparison holds. Significance is the paper's own test where it has one."""
    correlations = analysis.resolved.study.metric == "ccc" and not claim.errors
    sign = -1 if claim.errors else 1

    def holds(found: Finding) -> bool:
        p = found.fisher if correlations else found.holm
        return sign * (found.mean - found.baseline_mean) > 0 and (not claim.significant or p < LEVEL)

    return [[replace(found, holds=holds(found)) for found in group] for group in groups]


def _best_row(scope: Scope) -> list[Finding]:
    competing = [row.name for row in scope.analysis.resolved.rows if row.competes]
    others = tuple(name for name in competing if name not in scope.claim.systems)
    if not others:
        return []
    found = scope.compare(scope.best(scope.claim.systems), scope.best(others))
    return [replace(found, holds=found.mean > found.baseline_mean)]


def _relative_gain(scope: Scope) -> list[Finding]:
    found = scope.compare(scope.best(scope.claim.systems), scope.claim.baselines[0])
    published = _published_gain(scope.claim, found.target)
    return [replace(found, holds=found.low > 0 and found.gain >= NEAR * published, published=published)]


def _published_gain(claim: Claim, target: str) -> float:
    """NaN where the file that the claim names has no gain over its baseline for the target."""
    published = read_published(claim.published)
    gain = None
    if published is not None and published.gains_baseline == claim.baselines[0]:
        gain = published.gains.get(target)
    return float("nan") if gain is None else gain


def _near(scope: Scope) -> list[Finding]:
    claim = scope.claim
    baselines = claim.baselines or (scope.best(_grid_of(scope)),)
    pairs = [rows for b in baselines for s in claim.systems if s != b for rows in _paired(scope, s, b)]
    found = [scope.compare(*rows) for rows in pairs]
    return [replace(f, holds=abs(f.mean - f.baseline_mean) <= claim.margin) for f in found]


def _grid_of(scope: Scope) -> tuple[str, ...]:
    """The claim's systems with all rows of the grids that they are points of."""
    rows = scope.analysis.resolved.rows
    grids = {(row.system, frozenset(row.factors)) for row in rows if row.factors and row.name in scope.claim.systems}
    points = (row.name for row in rows if (row.system, frozenset(row.factors)) in grids)
    return tuple(dict.fromkeys((*scope.claim.systems, *points)))


def _closer(scope: Scope) -> list[Finding]:
    near, far = scope.claim.baselines
    found = []
    for system in scope.claim.systems:
        far_rows = dict(_paired(scope, system, far))
        for row, close in _paired(scope, system, near):
            if row in far_rows:
                pair = [scope.compare(row, close), scope.compare(row, far_rows[row])]
                distances = [abs(f.mean - f.baseline_mean) for f in pair]
                found += [replace(f, holds=distances[0] < distances[1]) for f in pair]
    return found


def _rises(scope: Scope) -> list[Finding]:
    """From a line's first point to its last by more than chance, and from point to point nowhere down by more than that."""
    found = []
    for line in (list(_line(scope, system).values()) for system in scope.claim.systems):
        if len(line) > 2:
            steps = [scope.compare(later, earlier) for earlier, later in pairwise(line)]
            found += [replace(f, holds=f.high >= 0) for f in steps]
        if len(line) > 1:
            whole = scope.compare(line[-1], line[0])
            found.append(replace(whole, holds=whole.low > 0))
    return found


def _more_labels(scope: Scope) -> list[Finding]:
    order = np.argsort(scope.analysis.cube.fractions)
    if scope.f != order[-1] or len(order) < 2:
        return []
    fewest = replace(scope, f=int(order[0]))
    rows = [row for system in scope.claim.systems for row in _line(scope, system).values()]
    found = [scope.between(row, f"with {fewest.fraction:g}", scope.values(row), fewest.values(row)) for row in rows]
    return [replace(f, holds=scope.sign * (f.mean - f.baseline_mean) > 0) for f in found]


def _heaviest(scope: Scope) -> list[Finding]:
    """Weights at the epoch that was kept, larger than each other by more than chance."""
    views = scope.analysis.resolved.corpus.view.split("+")
    if scope.claim.view not in views:
        return []
    found = []
    for system in scope.claim.systems:
        frame = learned_of(scope.analysis, system, scope.fraction)
        frame = frame[frame["epoch"] == frame["kept"]]
        table = frame.pivot(index="seed", columns="name", values="value").astype(float)
        names = [f"weight view {v + 1}" for v in range(len(views))]
        if not set(names) <= set(table.columns):
            continue
        own = names[views.index(scope.claim.view)]
        for other in names:
            if other != own:
                pair = scope.between(f"{system}, {own}", other, table[own].to_numpy(), table[other].to_numpy())
                found.append(replace(pair, holds=pair.low > 0))
    return found


KINDS: Mapping[str, Callable[[Scope], list[Finding]]] = {
    "beats": _beats,
    "best_row": _best_row,
    "relative_gain": _relative_gain,
    "near": _near,
    "closer": _closer,
    "rises": _rises,
    "more_labels": _more_labels,
    "heaviest": _heaviest,
}
