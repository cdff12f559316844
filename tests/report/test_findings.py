"""Claims about classes with few labels: every kind of check, on values whose order is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from affect.report.analysis import Analysis, analyse
from affect.report.claims import NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, judge, ledger
from affect.report.lines import factor_grid
from affect.report.markdown import markdown
from affect.report.tables import ABSENT
from affect.stats import holm, sign_flip
from affect.study import Claim, Mark, Row, Scale, Table

from .labels import FACTS, STUDY, evidence_of, resolved_with, values_of

YES, NO = f"{REPRODUCED} on mfeat", f"{NOT_REPRODUCED} on mfeat"
SEEDS = 10
SHARES = (0.1, 0.5, 0.9)
ROWS = (
    Row("ours", label="Ours"),
    Row("theirs", label="Theirs", per_view=True),
    Row("bound", label="Whole"),
    *(Row(name, factors={"missing": share}) for name in ("new", "old", "cut") for share in SHARES),
    Row("floor", floor=True),
)
FALL = {0.1: 0.0, 0.5: 0.02, 0.9: 0.1}
"""How much is lost at each share."""
TOP = {"new": 0.89, "old": 0.8, "cut": 0.7}
LEVELS = {"Ours": 0.85, "Theirs (eeg)": 0.8, "Theirs (Eye)": 0.82, "Whole": 0.9, "floor": 0.95} | {
    f"{name}, missing {share}": top - FALL[share] for name, top in TOP.items() for share in SHARES
}


def analysis_of(seeds: int = SEEDS, synthetic: bool = False, **levels: float) -> Analysis:
    study = replace(STUDY, scales={"full": Scale("x", ROWS, seeds)}, marks=(Mark("•", "Ours", worse=True),), tables=())
    resolved = resolved_with(study, replace(FACTS, name="mfeat", synthetic=synthetic, view="eeg+eye"), seeds)
    evidence = evidence_of(resolved, values_of(resolved, LEVELS | levels, noise=0.001))
    errors = evidence.expected.drop(columns="target").assign(rows="missing rows")
    errors["value"] = 1.5 - errors["system"].map(LEVELS | levels) + 0.001 * errors["seed"] - errors["label_fraction"]
    learned = pd.DataFrame(
        [
            ("Ours", fraction, seed, epoch, 2, f"weight view {view}", weight + 0.001 * seed)
            for fraction in resolved.label_fractions
            for seed in range(seeds)
            for epoch, weights in ((1, (0.3, 0.7)), (2, (0.6, 0.4)))
            for view, weight in enumerate(weights, 1)
        ],
        columns=["system", "label_fraction", "seed", "epoch", "kept", "name", "value"],
    )
    return analyse(replace(evidence, errors=errors, learned=learned))


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysis_of()


def claim(systems: tuple[str, ...], baselines: tuple[str, ...] = (), **more: Any) -> Claim:
    return Claim("So it is.", "P2", systems, baselines, ("emotion",), **({"fractions": ()} | more))


def verdict(analysis: Analysis, *given: Any, **more: Any) -> str:
    return judge(claim(*given, **more), analysis).verdict


def test_rows_per_view_and_targets_are_spelt_out_for_the_corpus() -> None:
    study = replace(STUDY, scales={"full": Scale("x", ROWS, 3)})
    study = replace(study, claims=(replace(claim(("Ours",), ("Theirs", "floor")), targets=()),))
    (found,) = study.on(replace(FACTS, view="eeg+eye")).claims
    assert found.baselines == ("Theirs (eeg)", "Theirs (Eye)", "floor")
    assert found.targets == ("emotion",)


def test_significance_is_that_of_the_declared_family(analysis: Analysis) -> None:
    found = judge(claim(("Ours",), ("Theirs (eeg)", "Theirs (Eye)")), analysis)
    assert found.verdict == YES
    assert [(f.fraction, f.baseline) for f in found.findings] == [
        *((0.01, "Theirs (eeg)"), (0.01, "Theirs (Eye)"), (0.03, "Theirs (eeg)"), (0.03, "Theirs (Eye)"))
    ]
    family = analysis.families[0, "test", "Ours"]
    np.testing.assert_allclose([f.holm for f in found.findings[:2]], family.holm[:2, 0])
    assert verdict(analysis, ("Theirs (Eye)",), ("Ours",), significant=False) == NO
    assert verdict(analysis, ("Ours",), ("Whole",)) == NO


def test_what_is_in_no_family_is_corrected_over_the_claim(analysis: Analysis) -> None:
    found = judge(claim(("new",), ("old", "cut"), factor="missing"), analysis)
    assert found.verdict == YES
    assert len(found.findings) == 2 * 2 * 3
    cube = analysis.cube
    expected = []
    for f in found.findings:
        place = cube.fractions.index(f.fraction)
        ours, theirs = (cube.values[place, cube.systems.index(name), 0, 2] for name in (f.system, f.baseline))
        assert f.system.rpartition(" ")[2] == f.baseline.rpartition(" ")[2], "compared value by value"
        expected.append(sign_flip(ours - theirs))
    np.testing.assert_allclose([f.holm for f in found.findings], holm(np.array(expected)))
    few = judge(claim(("new",), ("old", "cut"), factor="missing"), analysis_of(seeds=6))
    assert few.verdict == NOT_TESTABLE
    assert few.reason.startswith("Too few seeds: there are 6, which cannot reach p < 0.05 after Holm")
    assert verdict(analysis_of(seeds=6), ("new",), ("old",), factor="missing", significant=False) == YES


def test_errors_are_better_when_they_are_less(analysis: Analysis) -> None:
    errors = {"factor": "missing", "errors": "missing rows"}
    assert verdict(analysis, ("new",), ("old",), **errors) == YES
    assert verdict(analysis, ("old",), ("new",), **errors) == NO
    assert verdict(analysis, ("new", "old"), kind="rises", **errors) == YES
    assert verdict(analysis, ("new",), kind="rises", factor="missing") == NO, "the accuracy falls"
    assert verdict(analysis, ("new",), kind="more_labels", **errors) == YES
    assert judge(claim(("new",), ("old",), **(errors | {"errors": "all rows"})), analysis).verdict == NOT_TESTABLE


@pytest.mark.parametrize(
    ("middle", "last", "expected"), [(0.85, 0.9, YES), (0.7999, 0.9, YES), (0.78, 0.9, NO), (0.8, 0.8, NO)]
)
def test_a_rise_is_more_than_chance_and_a_dip_within_it_no_fall(middle: float, last: float, expected: str) -> None:
    line = dict(zip((f"new, missing {share}" for share in SHARES), (0.8, middle, last), strict=True))
    assert verdict(analysis_of(**line), ("new",), kind="rises", factor="missing") == expected


def test_near_is_within_a_margin_either_way(analysis: Analysis) -> None:
    assert verdict(analysis, ("new",), ("Whole",), kind="near", margin=0.05, factor="missing", at=(0.1, 0.5)) == YES
    assert verdict(analysis, ("new",), ("Whole",), kind="near", margin=0.05, factor="missing") == NO
    assert (
        verdict(analysis, ("Whole",), ("new",), kind="near", margin=0.05, factor="missing", at=(0.1,)) == NOT_TESTABLE
    )
    both = ("Ours", "Theirs (Eye)")
    assert [verdict(analysis, both, kind="near", margin=margin) for margin in (0.05, 0.02)] == [YES, NO]
    found = judge(claim(both, kind="near", margin=0.05), analysis)
    assert [(f.system, f.baseline) for f in found.findings] == [("Theirs (Eye)", "Ours")] * 2
    assert "at most 0.05, a margin that is ours" in found.reason


def test_where_nothing_was_learned_nothing_is_near(analysis: Analysis) -> None:
    """Two systems that guess are as near as two that know."""
    near = claim(("Ours",), ("Theirs (Eye)",), kind="near", margin=0.05)
    chance = 1 / FACTS.classes
    guessing = {"Ours": chance + 0.01, "Theirs (Eye)": chance + 0.02}
    found = judge(near, analysis_of(**guessing))
    assert found.verdict == NOT_TESTABLE
    assert "Theirs (Eye) is no more than 0.05 better than chance among equal classes (0.333) with 1 %" in found.reason
    assert judge(near, analysis_of(**{name: value + 0.06 for name, value in guessing.items()})).verdict == YES
    assert judge(near, analysis_of(**guessing | {"Ours": 0.8})).verdict == NO, "far from what knows nothing is far"
    errors = claim(("Ours",), ("Theirs (Eye)",), kind="near", margin=0.05, errors="missing rows")
    for level, expected in ((0.3, NOT_TESTABLE), (0.49, NOT_TESTABLE), (0.6, YES)):  # errors of 1.2, 1 and .9
        assert judge(errors, analysis_of(**dict.fromkeys(guessing, level))).verdict == expected


def test_the_best_of_a_grid_is_that_of_all_its_points(analysis: Analysis) -> None:
    """Not of those alone that the claim says are good."""
    some = tuple(f"old, missing {share}" for share in SHARES[1:])
    found = judge(claim(some, kind="near", margin=0.09), analysis)
    assert found.verdict == NO
    assert {f.baseline for f in found.findings} == {"old, missing 0.1"}
    assert verdict(analysis, some, kind="near", margin=0.11) == YES


def test_points_that_a_run_leaves_out_are_no_part_of_a_claim(analysis: Analysis) -> None:
    gone = "cut, missing 0.9"
    evidence = analysis.evidence
    without = {
        name: frame[frame["system"] != gone]
        for name in ("values", "choices", "expected", "errors")
        if (frame := getattr(evidence, name)) is not None
    }
    left = analyse(replace(evidence, **without))
    found = judge(claim(("new",), ("Whole", "cut"), kind="closer", factor="missing"), left)
    assert {f.system for f in found.findings} == {"new, missing 0.1", "new, missing 0.5"}
    assert found.verdict == YES
    assert verdict(left, ("cut",), kind="rises", factor="missing", errors="missing rows") == YES
    grid = factor_grid(Table("t", "T", "P2", kind="factor", factor="missing"), left)
    (row,) = (row for row in grid.rows if row[0].text == "cut")
    assert [cell == ABSENT for cell in row[1:]] == [False, False, True] * 2


def test_closer_to_the_first_than_to_the_second(analysis: Analysis) -> None:
    bounds = {"kind": "closer", "factor": "missing"}
    assert verdict(analysis, ("new",), ("Whole", "cut"), at=(0.1, 0.5), **bounds) == YES
    assert verdict(analysis, ("new",), ("cut", "Whole"), at=(0.1,), **bounds) == NO
    assert verdict(analysis, ("old",), ("Whole", "cut"), **bounds) == NO
    found = judge(claim(("new",), ("Whole", "cut"), at=(0.1,), **bounds), analysis)
    assert [f.baseline for f in found.findings] == ["Whole", "cut, missing 0.1"] * 2


def test_more_labels_compares_the_most_with_the_fewest(analysis: Analysis) -> None:
    found = judge(claim(("Ours",), kind="more_labels"), analysis)
    assert found.verdict == YES
    ((finding),) = found.findings
    assert (finding.fraction, finding.baseline) == (0.03, "with 0.01")
    assert finding.difference == pytest.approx(0.05, abs=0.01)


def test_weights_are_those_of_the_kept_epoch(analysis: Analysis) -> None:
    assert verdict(analysis, ("Ours",), kind="heaviest", view="eeg") == YES
    assert verdict(analysis, ("Ours",), kind="heaviest", view="eye") == NO
    absent = judge(claim(("Ours",), kind="heaviest", view="face"), analysis)
    assert (absent.verdict, absent.reason) == (NOT_TESTABLE, "Nothing to compare with was run.")
    (finding, _) = judge(claim(("Ours",), kind="heaviest", view="eeg"), analysis).findings
    assert (finding.mean, finding.baseline_mean) == (pytest.approx(0.6045), pytest.approx(0.4045))


def test_weights_that_differ_by_chance_have_no_heaviest(analysis: Analysis) -> None:
    learned = analysis.evidence.learned
    assert learned is not None
    first = learned["name"] == "weight view 1"
    sign = np.where(learned["seed"] % 2 == 0, 1, -1) * np.where(first, 1, -1)
    even = analyse(replace(analysis.evidence, learned=learned.assign(value=0.5 + 0.01 * sign + 1e-4 * first)))
    found = judge(claim(("Ours",), kind="heaviest", view="eeg"), even)
    assert found.verdict == NO
    assert all(finding.mean > finding.baseline_mean for finding in found.findings)


def test_the_best_row_is_no_grid_and_no_floor(analysis: Analysis) -> None:
    assert verdict(analysis, ("Whole",), kind="best_row") == YES
    assert verdict(analysis, ("Ours",), kind="best_row") == NO


def test_names_that_were_not_run_and_twins(analysis: Analysis) -> None:
    assert judge(claim(("Ours",), ("new",)), analysis).reason == "Not run: new.", "a line is no row"
    assert judge(claim(("CoNet",), ("new",), factor="missing"), analysis).reason == "Not run: CoNet."
    twin = judge(claim(("Ours",), ("Whole",)), analysis_of(synthetic=True))
    assert (twin.verdict, len(twin.findings)) == (NOT_TESTABLE, 2)


def test_the_ledger_says_which_test_and_which_labels(analysis: Analysis) -> None:
    claims = (claim(("Ours",), ("Theirs (eeg)",)), claim(("new",), ("old",), factor="missing", errors="missing rows"))
    text = markdown(ledger([judge(each, analysis) for each in claims], analysis))
    assert "Checked on mfeat, 3 % of the labels, 1 % of the labels" in text
    assert "one-tailed sign-flip test paired by seed" in text
    assert "Fisher" not in text
    assert "Imputation of training rows" in text
