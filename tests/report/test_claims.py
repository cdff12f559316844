from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from affect.report import Evidence
from affect.report.analysis import analyse
from affect.report.claims import NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Verdict, judge, ledger
from affect.report.markdown import markdown
from affect.study import Claim

from .conftest import CLAIMS, SYSTEMS, make_evidence, make_resolved


def verdicts(evidence: Evidence, *claims: Claim) -> list[Verdict]:
    analysis = analyse(evidence)
    return [judge(claim, analysis) for claim in claims or CLAIMS]


def test_synthetic_corpus_is_never_evidence_and_shows_its_figures() -> None:
    found = verdicts(make_evidence(make_resolved(synthetic=True)))
    assert {verdict.verdict for verdict in found} == {NOT_TESTABLE}
    assert all(verdict.findings for verdict in found)
    assert all("synthetic" in verdict.reason for verdict in found)


def test_verdicts_follow_the_figures(evidence: Evidence) -> None:
    # The weakest ladder is .010 above STL: Fisher's z with 7,341 rows does not carry that.
    assert [verdict.verdict for verdict in verdicts(evidence)] == [
        NOT_REPRODUCED,
        NOT_REPRODUCED,
        REPRODUCED,
        REPRODUCED,
    ]


def test_any_of_wants_one_system_above_every_baseline(evidence: Evidence) -> None:
    one = replace(CLAIMS[0], any_of=True)
    # Lad+L+MTL is significantly above STL alone, so it cannot carry the claim by itself.
    weak = replace(one, systems=("Lad+L+STL", "Lad+L+MTL"))
    assert [v.verdict for v in verdicts(evidence, one, weak)] == [REPRODUCED, NOT_REPRODUCED]


def test_direction_alone_where_no_significance_is_claimed(evidence: Evidence) -> None:
    claim = Claim("MTL beats STL.", "text", ("MTL",), ("STL",), ("valence",))
    found = verdicts(evidence, claim, replace(claim, significant=False))
    assert [v.verdict for v in found] == [NOT_REPRODUCED, REPRODUCED]


def test_gain_must_reach_the_published_one(evidence: Evidence) -> None:
    too_much = replace(CLAIMS[3], relative_gain=(0.03, 0.2))
    (found,) = verdicts(evidence, too_much)
    assert [finding.holds for finding in found.findings] == [True, False]
    assert found.verdict == NOT_REPRODUCED
    assert found.findings[0].gain == pytest.approx(0.728 / 0.700 - 1, abs=0.003)


def test_best_row_names_the_best_of_both_sides(evidence: Evidence) -> None:
    (found,) = verdicts(evidence, CLAIMS[2])
    assert [(f.system, f.baseline) for f in found.findings] == [("Lad+UL+MTL", "Lad+L+MTL")] * 2


def test_not_testable_for_want_of_seeds_labels_systems_or_values(with_values: Callable[..., Evidence]) -> None:
    few = verdicts(make_evidence(make_resolved(seeds=4)))
    assert all(v.verdict == NOT_TESTABLE and "5, and there are 4" in v.reason and v.findings for v in few)
    part = verdicts(make_evidence(make_resolved((0.1, 0.02))))
    assert all(v.verdict == NOT_TESTABLE and "all labels" in v.reason for v in part)
    fewer = verdicts(make_evidence(make_resolved(rows=make_resolved().rows[:2])), CLAIMS[0])
    assert fewer[0].reason == "Not run: Lad+L+STL, Lad+L+MTL, Lad+UL+STL, Lad+UL+MTL."

    def lose(values: pd.DataFrame) -> pd.DataFrame:
        return values[values["system"] != "Lad+L+STL"]

    assert verdicts(with_values(lose), CLAIMS[0])[0].verdict == NOT_TESTABLE


def test_unknown_kind_is_refused(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="kind"):
        verdicts(evidence, replace(CLAIMS[2], kind="worst_row"))


def test_ledger_shows_every_claim_and_the_paired_result(evidence: Evidence) -> None:
    analysis = analyse(evidence)
    text = markdown(ledger(verdicts(evidence), analysis))
    for claim in CLAIMS:
        assert claim.sentence in text
    assert "10 of 16 comparisons behind it hold. The paired test after Holm bears out 10." in text
    assert set(SYSTEMS) <= set(text.replace("|", " ").split())
