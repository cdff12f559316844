"""Declarations: names of rows, and what a study leaves to the corpus."""

from __future__ import annotations

from dataclasses import replace

from affect.engine.requests import from_json, to_json
from affect.resolved import Resolved
from affect.study import Row
from tests.report.labels import FACTS, STUDY, resolved_with


def test_names_of_rows() -> None:
    assert Row("M2").name == "M2"
    assert Row("M2", label="M2 (Concat.)").name == "M2 (Concat.)"
    assert Row("M2", factors={"c": 0.1, "kind": "a"}).name == "M2, c 0.1, kind a"
    assert Row("M2", label="Two", factors={"c": 1.0}).name == "Two, c 1"


def test_a_row_per_view_becomes_rows_of_one_view_each() -> None:
    study = STUDY.on(replace(FACTS, view="eeg+eye", width=343))
    rows = study.scales["full"].rows
    assert [(row.name, row.only) for row in rows if row.system == "theirs"] == [
        ("Theirs (across)", None),
        ("Theirs (eeg)", 0),
        ("Theirs (Eye)", 1),
    ]
    assert not any(row.per_view for row in rows)
    assert study.on(FACTS) == study, "once fixed it stays"


def test_targets_are_the_studys_own_or_those_of_the_corpus() -> None:
    assert STUDY.on(FACTS).targets == ("emotion",)
    assert replace(STUDY, targets=("quadrant",)).on(FACTS).targets == ("quadrant",)


def test_families_hold_neither_floors_nor_grids() -> None:
    assert resolved_with().family("Ours") == ("Theirs (across)", "Theirs (Eye)")


def test_a_request_is_read_back_as_it_was() -> None:
    resolved = resolved_with()
    assert from_json(Resolved, to_json(resolved)) == resolved
