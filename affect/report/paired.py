"""The paired comparisons that stand beside a paper's own marks, as grids."""

from __future__ import annotations

import numpy as np

from affect.report import numbers
from affect.report.analysis import Analysis, Family
from affect.report.document import Cell, Grid
from affect.report.tables import slug
from affect.stats import LEVEL
from affect.study import Table


def family_grids(table: Table, analysis: Analysis, f: int) -> list[Grid]:
    """The paired comparisons behind the marks at label fraction `f`: one grid per partition and baseline."""
    families = [
        analysis.families[key]
        for partition in table.partitions
        for baseline in analysis.resolved.study.baselines
        if (key := (f, partition, baseline)) in analysis.families
    ]
    return [_family_grid(table, analysis, f, family, explain=i == 0) for i, family in enumerate(families)]


def _family_grid(table: Table, analysis: Analysis, f: int, family: Family, explain: bool) -> Grid:
    correlations = analysis.resolved.study.metric == "ccc"
    rows = []
    for s, system in enumerate(family.systems):
        for t, target in enumerate(analysis.cube.targets):
            significant = family.holm[s, t] < LEVEL
            verdict = "yes" if significant else "–" if np.isnan(family.holm[s, t]) else "no"
            rows.append(
                (
                    Cell(system),
                    Cell(target),
                    Cell(str(family.pairs[s, t])),
                    Cell(numbers.difference(family.difference[s, t])),
                    Cell(numbers.interval(family.low[s, t], family.high[s, t])),
                    *([Cell(numbers.p_value(family.fisher[s, t]))] if correlations else []),
                    Cell(numbers.p_value(family.t[s, t])),
                    Cell(numbers.p_value(family.flip[s, t])),
                    Cell(numbers.p_value(family.holm[s, t])),
                    Cell(verdict if family.resolvable else "withheld", muted=not family.resolvable),
                )
            )
    notes = [family.resolution, *numbers.narrow(family.seeds)]
    if explain:
        own, title = "the system of the row", "the one in the title"
        better, other = (title, own) if family.worse else (own, title)
        fisher = (
            "Fisher z is the paper's test on the two means; it takes the systems as scored on different rows and knows "
            "nothing of the spread over seeds. "
        )
        notes.append(
            f"Difference: mean over seeds of {better} minus {other}, with the same seed, and its 95 % bootstrap "
            f"interval. All p are one-tailed for {better} being better. {fisher if correlations else ''}The t test and "
            "the sign-flip permutation test are paired by seed; Holm corrects the sign-flip p over the family "
            "that the study declares, run or not."
        )
    tests = (*(["Fisher z p"] if correlations else []), "t p", "Sign-flip p", "Holm p")
    heads = ("System", "Target", "Seeds", "Difference", "95 % interval", *tests)
    versus = f"{family.baseline} as the better one" if family.worse else f"Against {family.baseline}"
    return Grid(
        name=f"{table.name}-{slug(analysis.cube.fractions[f])}-{family.partition}-{_letters(family.baseline)}",
        caption=f"{versus}, {family.partition}, {numbers.labels(analysis.cube.fractions[f])}",
        columns=(*heads, f"Holm p < {LEVEL:g}"),
        labels=2,
        rows=tuple(rows),
        rules=tuple(range(len(analysis.cube.targets), len(rows), len(analysis.cube.targets))),
        notes=tuple(notes),
    )


def _letters(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text)
