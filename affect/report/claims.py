"""The ledger of a paper's claims: each sentence as a check, its verdict, and the figures behind it, always shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.cube import PARTITIONS
from affect.report.document import Block, Cell, Grid, Heading, Paragraph
from affect.report.published import read_published
from affect.stats import LEVEL, bootstrap_interval, fisher_z, seeds_needed
from affect.study import Claim

REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "reproduced", "not reproduced", "not testable here"
NEAR = 0.5
"""Share of a published gain that the mean gain must reach."""


@dataclass(frozen=True)
class Finding:
    """One comparison behind a claim: `system` against `baseline` on one target."""

    target: str
    system: str
    baseline: str
    mean: float
    baseline_mean: float
    difference: float = float("nan")
    """Mean paired difference over common seeds."""
    low: float = float("nan")
    high: float = float("nan")
    fisher: float = float("nan")
    holm: float = float("nan")
    """NaN where the pair is in no declared family or the seeds are too few for the family."""
    pairs: int = 0
    holds: bool = False
    published: float = float("nan")
    """Published relative gain, where the claim is about one."""

    @property
    def gain(self) -> float:
        return self.mean / self.baseline_mean - 1 if self.baseline_mean > 0 else float("nan")


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    verdict: str
    """`NOT_TESTABLE`, or one of the others with the corpus that it holds for: `reproduced on qcc`."""
    reason: str
    findings: tuple[Finding, ...]


def judge(claim: Claim, analysis: Analysis) -> Verdict:
    """Check `claim` with the largest label fraction.

    Where significance is claimed it is the paper's own: one-tailed Fisher z on the means. The seeds must be enough for
    one paired comparison to reach the same level; the corpus must be real and all labels must be in use.
    """
    cube = analysis.cube
    absent = [name for name in dict.fromkeys((*claim.systems, *claim.baselines)) if name not in cube.systems]
    if absent:
        return Verdict(claim, NOT_TESTABLE, f"Not run: {', '.join(absent)}.", ())
    unknown = [target for target in claim.targets if target not in cube.targets]
    if unknown:
        return Verdict(claim, NOT_TESTABLE, f"No such target in this run: {', '.join(unknown)}.", ())
    groups = [_findings(claim, analysis, t) for t in map(cube.targets.index, claim.targets)]
    findings = tuple(finding for group in groups for finding in group)
    if reason := _untestable(claim, analysis, findings):
        return Verdict(claim, NOT_TESTABLE, reason, findings)
    holds = all(_holds(claim, group) for group in groups)
    verdict = f"{REPRODUCED if holds else NOT_REPRODUCED} on {analysis.resolved.corpus.name}"
    return Verdict(claim, verdict, _reason(claim, findings), findings)


def ledger(verdicts: list[Verdict], analysis: Analysis) -> list[Block]:
    """The claims with their verdicts, then each with its figures."""
    name = analysis.resolved.corpus.name
    fraction = numbers.labels(analysis.cube.fractions[analysis.cube.main])
    rows = [
        (Cell(str(i)), Cell(verdict.claim.sentence), Cell(verdict.claim.source), Cell(verdict.verdict, strong=True))
        for i, verdict in enumerate(verdicts, 1)
    ]
    blocks: list[Block] = [
        Paragraph(
            f"Checked on {name}, {fraction}, settings as listed in this report: where corpus or settings are not the "
            f"paper's own, a verdict says what holds on {name} and no more. Significance is the paper's own "
            f"(one-tailed Fisher z on the means, p < {LEVEL:g}); the paired figures stand beside it. Figures are shown "
            "whatever the verdict."
        ),
        Grid("claims", "Claims of the paper", ("No.", "Claim", "Source", "Verdict"), tuple(rows), labels=3),
    ]
    for i, verdict in enumerate(verdicts, 1):
        blocks += [
            Heading(3, f"Claim {i}: {verdict.verdict}"),
            Paragraph(f"{verdict.claim.sentence} ({verdict.claim.source}). {verdict.reason}"),
        ]
        if verdict.findings:
            blocks.append(_grid(i, verdict))
    return blocks


def _findings(claim: Claim, analysis: Analysis, t: int) -> list[Finding]:
    if claim.kind == "beats":
        pairs = [(system, baseline) for baseline in claim.baselines for system in claim.systems]
        found = [_finding(analysis, claim.partition, t, *pair) for pair in pairs]
        return [
            replace(f, holds=f.mean > f.baseline_mean and (not claim.significant or f.fisher < LEVEL)) for f in found
        ]
    best = _best(analysis, claim.partition, t, claim.systems)
    if claim.kind == "best_row":
        others = [s for s in analysis.cube.systems if s not in analysis.floors and s not in claim.systems]
        if not others:
            return []
        finding = _finding(analysis, claim.partition, t, best, _best(analysis, claim.partition, t, others))
        return [replace(finding, holds=finding.mean > finding.baseline_mean)]
    if claim.kind == "relative_gain":
        finding = _finding(analysis, claim.partition, t, best, claim.baselines[0])
        published = _published_gain(claim, finding.target)
        return [replace(finding, holds=finding.low > 0 and finding.gain >= NEAR * published, published=published)]
    raise ValueError(f"a claim is of kind beats, best_row or relative_gain, not {claim.kind}")


def _published_gain(claim: Claim, target: str) -> float:
    """NaN where the file that the claim names has no gain over its baseline for the target."""
    published = read_published(claim.published)
    gain = None
    if published is not None and published.gains_baseline == claim.baselines[0]:
        gain = published.gains.get(target)
    return float("nan") if gain is None else gain


def _best(analysis: Analysis, partition: str, t: int, systems: tuple[str, ...] | list[str]) -> str:
    cube = analysis.cube
    means = cube.means[cube.main, [cube.systems.index(s) for s in systems], t, PARTITIONS.index(partition)]
    return systems[int(np.argmax(np.where(np.isnan(means), -np.inf, means)))]


def _finding(analysis: Analysis, partition: str, t: int, system: str, baseline: str) -> Finding:
    """The comparison as its family has it or, where no family was declared, made here without Holm."""
    cube, p = analysis.cube, PARTITIONS.index(partition)
    ours, theirs = ((cube.main, cube.systems.index(name), t, p) for name in (system, baseline))
    bare = Finding(cube.targets[t], system, baseline, float(cube.means[ours]), float(cube.means[theirs]))
    family = analysis.families.get((cube.main, partition, baseline))
    if family is not None and system in family.systems:
        place = family.systems.index(system), t
        return replace(
            bare,
            difference=float(family.difference[place]),
            low=float(family.low[place]),
            high=float(family.high[place]),
            fisher=float(family.fisher[place]),
            holm=float(family.holm[place]) if family.resolvable else float("nan"),
            pairs=int(family.pairs[place]),
        )
    d = cube.values[ours] - cube.values[theirs]
    d = d[~np.isnan(d)]
    low, high = bootstrap_interval(d)
    return replace(
        bare,
        difference=float(d.mean()) if len(d) else float("nan"),
        low=float(low),
        high=float(high),
        fisher=float(fisher_z(cube.means[ours], cube.means[theirs], cube.rows[ours], cube.rows[theirs])),
        pairs=len(d),
    )


def _untestable(claim: Claim, analysis: Analysis, findings: tuple[Finding, ...]) -> str:
    """Why no verdict can be given, or an empty string."""
    needed = seeds_needed(1, LEVEL)
    fewest = min((finding.pairs for finding in findings), default=0)
    if analysis.resolved.corpus.synthetic:
        return "The corpus is synthetic: no claim can be judged on it."
    if analysis.cube.fractions[analysis.cube.main] != 1:
        return "The claim is about all labels, which this run does not use."
    if not findings:
        return "Nothing to compare with was run."
    if claim.kind == "relative_gain" and (lacking := [f.target for f in findings if np.isnan(f.published)]):
        return f"No published gain over {claim.baselines[0]} for {', '.join(lacking)}."
    if fewest < needed:
        return f"Too few seeds: one paired comparison can reach p < {LEVEL:g} with {needed}, and there are {fewest}."
    return ""


def _holds(claim: Claim, findings: list[Finding]) -> bool:
    """Whether the claim holds on one target: with `any_of`, one system must beat every baseline."""
    if not claim.any_of:
        return all(finding.holds for finding in findings)
    return any(all(f.holds for f in findings if f.system == system) for system in claim.systems)


def _reason(claim: Claim, findings: tuple[Finding, ...]) -> str:
    held = sum(finding.holds for finding in findings)
    reason = f"{held} of {numbers.plural(len(findings), 'comparison')} behind it hold."
    if claim.kind == "relative_gain":
        gains = "; ".join(
            f"{f.target} {numbers.percent(f.gain)} (published {numbers.percent(f.published)})" for f in findings
        )
        return (
            f"{reason} Gains: {gains}. What holds is a gain of the published size or near it: mean gain at least half of it, "
            "interval above zero."
        )
    if claim.kind == "beats" and claim.significant:
        paired = sum(finding.holds and finding.holm < LEVEL for finding in findings)
        untried = all(np.isnan(finding.holm) for finding in findings)
        return f"{reason} " + (
            "The paired test after Holm could not be made."
            if untried
            else f"The paired test after Holm bears out {paired}."
        )
    return reason


def _grid(i: int, verdict: Verdict) -> Grid:
    claim = verdict.claim
    gains = claim.kind == "relative_gain"
    rows = []
    for finding in verdict.findings:
        row = [
            Cell(finding.target),
            Cell(finding.system),
            Cell(finding.baseline),
            *(Cell("–" if np.isnan(mean) else numbers.value(mean)) for mean in (finding.mean, finding.baseline_mean)),
            Cell(numbers.difference(finding.difference)),
            Cell(numbers.interval(finding.low, finding.high)),
            *([Cell(numbers.percent(finding.gain)), Cell(numbers.percent(finding.published))] if gains else []),
            Cell(numbers.p_value(finding.fisher)),
            Cell(numbers.p_value(finding.holm)),
            Cell("yes" if finding.holds else "no"),
        ]
        rows.append(tuple(row))
    columns = ("Target", "System", "Against", "Mean", "Its mean", "Difference", "95 % interval")
    gain_columns = ("Gain", "Published") if gains else ()
    return Grid(
        name=f"claim-{i}",
        caption={"development": "Development", "test": "Test", "mean": "Mean of development and test"}[claim.partition],
        columns=(*columns, *gain_columns, "Fisher z p", "Holm p", "Holds"),
        labels=3,
        rows=tuple(rows),
    )
