"""The ledger of a paper's claims: each sentence as a check, its verdict, and the figures behind it, always shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.document import Block, Cell, Grid, Heading, Paragraph
from affect.report.findings import Finding, findings_of, lacking
from affect.stats import LEVEL, seeds_needed
from affect.study import Claim

REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "reproduced", "not reproduced", "not testable here"


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    verdict: str
    """`NOT_TESTABLE`, or one of the others with the corpus that it holds for: `reproduced on qcc`."""
    reason: str
    findings: tuple[Finding, ...]


def judge(claim: Claim, analysis: Analysis) -> Verdict:
    """Check `claim` at its label fractions.

    Where significance is claimed it is the paper's own test, one-tailed Fisher z on the means, or for other metrics than
    CCC the paired test after Holm. The seeds must be enough for one paired comparison to reach the same level; the corpus
    must be real and the claim's label fractions in use. What is near a baseline that knows nothing is not judged.
    """
    if absent := lacking(claim, analysis):
        return Verdict(claim, NOT_TESTABLE, f"Not run: {', '.join(absent)}.", ())
    unknown = [target for target in claim.targets if target not in analysis.cube.targets]
    if unknown:
        return Verdict(claim, NOT_TESTABLE, f"No such target in this run: {', '.join(unknown)}.", ())
    groups = findings_of(claim, analysis)
    findings = tuple(finding for group in groups for finding in group)
    if reason := _untestable(claim, analysis, groups):
        return Verdict(claim, NOT_TESTABLE, reason, findings)
    holds = all(_holds(claim, group) for group in groups)
    verdict = f"{REPRODUCED if holds else NOT_REPRODUCED} on {analysis.resolved.corpus.name}"
    return Verdict(claim, verdict, _reason(claim, findings), findings)


def ledger(verdicts: list[Verdict], analysis: Analysis) -> list[Block]:
    """The claims with their verdicts, then each with its figures."""
    name = analysis.resolved.corpus.name
    used = sorted({f.fraction for verdict in verdicts for f in verdict.findings}, reverse=True)
    fraction = ", ".join(map(numbers.labels, used or [analysis.cube.fractions[analysis.cube.main]]))
    significance = (
        f"the paper's own (one-tailed Fisher z on the means, p < {LEVEL:g}); the paired figures stand beside it"
        if analysis.resolved.study.metric == "ccc"
        else f"that of the one-tailed sign-flip test paired by seed (p < {LEVEL:g} after Holm over the family that the study "
        "declares or, where a pair is in none, over the claim's own comparisons), for the paper names no test"
    )
    fewest = min((f.pairs for verdict in verdicts for f in verdict.findings), default=0)
    rows = [
        (Cell(str(i)), Cell(verdict.claim.sentence), Cell(verdict.claim.source), Cell(verdict.verdict, strong=True))
        for i, verdict in enumerate(verdicts, 1)
    ]
    blocks: list[Block] = [
        Paragraph(
            f"Checked on {name}, {fraction}, settings as listed in this report: where corpus or settings are not the "
            f"paper's own, a verdict says what holds on {name} and no more. Significance is {significance}. Figures "
            + " ".join(("are shown whatever the verdict.", *numbers.narrow(fewest)))
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


def _untestable(claim: Claim, analysis: Analysis, groups: list[list[Finding]]) -> str:
    """Why no verdict can be given, or an empty string."""
    findings = [finding for group in groups for finding in group]
    needed = seeds_needed(1, LEVEL)
    fewest = min((finding.pairs for finding in findings), default=0)
    if analysis.resolved.corpus.synthetic:
        return "The corpus is synthetic: no claim can be judged on it."
    if claim.fractions and analysis.cube.fractions[analysis.cube.main] not in claim.fractions:
        about = ", ".join(numbers.labels(fraction) for fraction in claim.fractions)
        return f"The claim is about {about}, which this run does not use."
    if not findings:
        return "Nothing to compare with was run."
    if claim.kind == "relative_gain" and (lacking := [f.target for f in findings if np.isnan(f.published)]):
        return f"No published gain over {claim.baselines[0]} for {', '.join(lacking)}."
    if fewest < needed:
        return f"Too few seeds: one paired comparison can reach p < {LEVEL:g} with {needed}, and there are {fewest}."
    by_paired_test = analysis.resolved.study.metric != "ccc" or claim.errors
    if claim.kind == "beats" and claim.significant and by_paired_test and any(np.isnan(f.holm) for f in findings):
        return (
            f"Too few seeds: there are {fewest}, which cannot reach p < {LEVEL:g} after Holm over as many comparisons."
        )
    if claim.kind == "near" and all(_holds(claim, group) for group in groups):
        for finding in findings:
            if reason := _knows_nothing(claim, analysis, finding):
                return reason
    return ""


def _knows_nothing(claim: Claim, analysis: Analysis, finding: Finding) -> str:
    """Says so where the baseline is hardly better than knowing nothing, an accuracy as among equal classes, the CCC of a
    constant, the NMSE of the mean: there all is near. An empty string otherwise."""
    if claim.errors:
        nothing, what = (1.0, "the mean's error") if claim.errors == "missing rows" else (np.nan, "")
    elif analysis.resolved.study.metric == "ccc":
        nothing, what = 0.0, "the CCC of a constant"
    else:
        nothing, what = 1 / analysis.resolved.corpus.classes, "chance among equal classes"
    sign = -1 if claim.errors else 1
    if not sign * (finding.baseline_mean - nothing) <= claim.margin:
        return ""
    return (
        f"{finding.baseline} is no more than {claim.margin:g} better than {what} ({numbers.value(nothing)}) with "
        f"{numbers.labels(finding.fraction)}: there all is near."
    )


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
    if claim.kind == "beats" and claim.significant and not all(np.isnan(finding.fisher) for finding in findings):
        paired = sum(finding.holds and finding.holm < LEVEL for finding in findings)
        untried = all(np.isnan(finding.holm) for finding in findings)
        return f"{reason} " + (
            "The paired test after Holm could not be made."
            if untried
            else f"The paired test after Holm bears out {paired}."
        )
    if claim.kind == "near":
        return f"{reason} What holds is a difference of at most {claim.margin:g}, a margin that is ours."
    if claim.kind == "rises":
        return (
            f"{reason} What holds is a rise from first to last whose 95 % interval lies above zero, and from one to the next "
            "no fall whose interval lies below it; there is no correction for their number."
        )
    if claim.kind == "heaviest":
        return f"{reason} What holds is a difference whose 95 % interval lies above zero."
    return reason


def _grid(i: int, verdict: Verdict) -> Grid:
    claim = verdict.claim
    gains = claim.kind == "relative_gain"
    fractions = len({finding.fraction for finding in verdict.findings}) > 1
    fisher = not all(np.isnan(finding.fisher) for finding in verdict.findings)
    rows = []
    for finding in verdict.findings:
        row = [
            *([Cell(numbers.labels(finding.fraction))] if fractions else []),
            Cell(finding.target),
            Cell(finding.system),
            Cell(finding.baseline),
            *(Cell("–" if np.isnan(mean) else numbers.value(mean)) for mean in (finding.mean, finding.baseline_mean)),
            Cell(numbers.difference(finding.difference)),
            Cell(numbers.interval(finding.low, finding.high)),
            *([Cell(numbers.percent(finding.gain)), Cell(numbers.percent(finding.published))] if gains else []),
            *([Cell(numbers.p_value(finding.fisher))] if fisher else []),
            Cell(numbers.p_value(finding.holm)),
            Cell("yes" if finding.holds else "no"),
        ]
        rows.append(tuple(row))
    columns = (
        *(["Labels"] if fractions else []),
        "Target",
        "System",
        "Against",
        "Mean",
        "Its mean",
        "Difference",
        "95 % interval",
    )
    gain_columns = ("Gain", "Published") if gains else ()
    return Grid(
        name=f"claim-{i}",
        caption="Imputation of training rows"
        if claim.errors
        else {"development": "Development", "test": "Test", "mean": "Mean of development and test"}[claim.partition],
        columns=(*columns, *gain_columns, *(["Fisher z p"] if fisher else []), "Holm p", "Holds"),
        labels=3 + fractions,
        rows=tuple(rows),
    )
