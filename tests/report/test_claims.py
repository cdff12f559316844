from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.report import Evidence
from affect.report.analysis import analyse
from affect.report.claims import NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Verdict, judge, ledger
from affect.report.markdown import markdown
from affect.report.published import read_published
from affect.study import Claim

from .conftest import CLAIMS, SYSTEMS, make_evidence, make_resolved

YES, NO = f"{REPRODUCED} on open_speech", f"{NOT_REPRODUCED} on open_speech"


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
    assert [verdict.verdict for verdict in verdicts(evidence)] == [NO, NO, YES, YES]


def test_any_of_wants_one_system_above_every_baseline(evidence: Evidence) -> None:
    one = replace(CLAIMS[0], any_of=True)
    # Lad+L+MTL is significantly above STL alone, so it cannot carry the claim by itself.
    weak = replace(one, systems=("Lad+L+STL", "Lad+L+MTL"))
    assert [v.verdict for v in verdicts(evidence, one, weak)] == [YES, NO]


def test_direction_alone_where_no_significance_is_claimed(evidence: Evidence) -> None:
    claim = Claim("MTL beats STL.", "text", ("MTL",), ("STL",), ("valence",))
    found = verdicts(evidence, claim, replace(claim, significant=False))
    assert [v.verdict for v in found] == [NO, YES]


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, targets: dict[str, float | None], baseline: str) -> Claim:
    """The claim of gains, with other published ones."""
    gains = {"source": "P9", "baseline": baseline, "targets": targets}
    content = {"source": "P9", "reason": "", "cells": {}, "relative_gains": gains}
    (folder / "other.json").write_text(json.dumps(content))
    monkeypatch.setattr("affect.report.findings.read_published", lambda name: read_published(name, folder))
    return replace(CLAIMS[3], published="other")


def test_gain_must_reach_half_the_published_one(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,) = verdicts(evidence, CLAIMS[3])
    assert [finding.published for finding in plain.findings] == [0.030, 0.035]
    claim = publish(tmp_path, monkeypatch, {"arousal": 0.07, "dominance": 0.12}, "STL")
    (found,) = verdicts(evidence, claim)
    assert [finding.holds for finding in found.findings] == [True, False]
    assert found.verdict == NO
    assert found.findings[0].gain == pytest.approx(0.728 / 0.700 - 1, abs=0.003)
    assert "Gains: arousal +3.9 % (published +7.0 %); dominance +4.3 % (published +12.0 %)." in found.reason
    assert "mean gain at least half of it, interval above zero" in found.reason


def test_noise_makes_no_gain_easier_to_reproduce(with_values: Callable[..., Evidence]) -> None:
    def noisy(values: pd.DataFrame) -> pd.DataFrame:
        """A gain of 1 % in the mean, alike for every ladder, and an interval that reaches beyond 3 %."""
        ladder = values["system"].isin(SYSTEMS[2:])
        stl = values[values["system"] == "STL"].set_index(["target", "partition", "seed"])["value"]
        keys = pd.MultiIndex.from_frame(values.loc[ladder, ["target", "partition", "seed"]])
        spread = np.where(values.loc[ladder, "seed"] % 5 == 0, 1.0, -0.249)
        base = stl.reindex(keys).to_numpy()
        return values.assign(
            value=values["value"].mask(ladder, pd.Series(base * (1.01 + 0.1 * spread), values.index[ladder]))
        )

    (found,) = verdicts(with_values(noisy), CLAIMS[3])
    assert all(f.high > f.published * f.baseline_mean and f.gain < 0.5 * f.published for f in found.findings)
    assert found.verdict == NO


def test_gain_without_a_published_one_is_not_testable(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unnamed,) = verdicts(evidence, replace(CLAIMS[3], published=None))
    assert (unnamed.verdict, unnamed.reason) == (NOT_TESTABLE, "No published gain over STL for arousal, dominance.")
    claim = publish(tmp_path, monkeypatch, {"arousal": 0.03, "dominance": None}, "STL")
    assert verdicts(evidence, claim)[0].reason == "No published gain over STL for dominance."
    claim = publish(tmp_path, monkeypatch, {"arousal": 0.03, "dominance": 0.03}, "MTL")
    assert verdicts(evidence, claim)[0].verdict == NOT_TESTABLE


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
    assert "Checked on open_speech, all labels, settings as listed in this report" in text
    assert "Claim 1: not reproduced on open_speech" in text
    assert text.count("**reproduced on open_speech**") == 2
