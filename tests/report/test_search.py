"""The report of a search, from made-up suggestions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from affect.report import Evidence, SearchEvidence, build_report
from affect.report.analysis import analyse
from affect.report.search import history, importance, path_grid, search_blocks, slices, winner_grid
from affect.resolved import Resolved, SearchRecord
from affect.stats import sign_flip
from affect.study import Mark, Row, Scale, Table
from tests.report.conftest import make_resolved, make_study, make_values

NAMES = ("MTL, hand-set", "MTL, suggestion 3", "MTL, suggestion 7")
LEVELS = dict(zip(NAMES, (0.70, 0.72, 0.71), strict=True))


def make_refits(seeds: int = 6) -> Resolved:
    rows = tuple(Row("MTL", ({"learning_rate": rate},), label=name) for rate, name in enumerate(NAMES, 1))
    study = replace(
        make_study(),
        scales={"full": Scale("open_speech", rows, seeds)},
        marks=(Mark("∗", NAMES[0]),),
        tables=(Table("refits", "Refits", "ours"),),
        figures=(),
        claims=(),
    )
    return make_resolved(study=study, seeds=seeds)


def make_evidence(search: SearchEvidence | None) -> Evidence:
    resolved = make_refits()
    frame = make_values(replace(resolved, rows=tuple(Row(name) for name in NAMES)))
    rng = np.random.default_rng(1)
    frame["value"] = frame["system"].map(LEVELS) + rng.normal(0, 0.005, len(frame))
    keys = frame[["system", "label_fraction", "target"]].drop_duplicates()
    choices = keys.assign(settings=[{"learning_rate": 1e-3}] * len(keys), options=1)
    expected = frame[["system", "label_fraction", "target", "seed"]].drop_duplicates()
    return Evidence(resolved, frame, choices, expected, search=search)


def make_history(n: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    status = ["complete" if k % 4 == 0 else "diverged" if k == 5 else "stopped" for k in range(n)]
    rate = 10 ** rng.uniform(-4, -2, n)
    return pd.DataFrame(
        {
            "number": range(n),
            "status": status,
            "value": 0.5 + 0.1 * rng.random(n),
            "epochs": [100 if s == "complete" else 10 for s in status],
            "parameters": [
                json.dumps({"learning_rate": r, "schedule": "joint" if k % 2 else "alternate"})
                for k, r in enumerate(rate)
            ],
            "settings": ["{}"] * n,
            "rungs": ["{}"] * n,
            "steps": [1000 if s == "complete" else 100 for s in status],
        }
    )


def make_search(**changes: object) -> SearchEvidence:
    path = replace(
        make_refits(), rows=(Row("MTL", label="hand-set"), Row("MTL", label="+ rate"), Row("MTL", label="+ noise"))
    )
    record = SearchRecord(
        "a-search",
        "open_speech",
        "MTL",
        1.0,
        2,
        (10, 30),
        3,
        importances={"learning_rate": 0.9, "schedule": 0.1},
        winner=NAMES[1],
        path=path,
    )
    values = pd.DataFrame(
        [
            (name, 1.0, target, partition, 0, level, 10, 5, "complete")
            for name, level in (("hand-set", 0.60), ("+ rate", 0.65), ("+ noise", 0.64))
            for target in path.study.targets
            for partition in ("development", "test")
        ],
        columns=["system", "label_fraction", "target", "partition", "seed", "value", "n", "epoch", "status"],
    )
    fields = {"record": record, "history": make_history(), "control": make_history(8), "path": values} | changes
    return SearchEvidence(**fields)


def test_the_report_shows_the_search(tmp_path):
    files = {path.name: path for path in build_report(make_evidence(make_search()), tmp_path / "a")}
    assert {"history.png", "importance.pdf", "slices.png", "suggestions.csv", "refits.tex"} <= set(files)
    text = files["report.md"].read_text()
    assert "Suggestions: 20 (5 complete, 1 diverged, 14 stopped), 6,500 optimiser steps, best 0." in text
    assert "judged on 2 search seeds" in text
    assert "asked anew under another number" not in text
    assert "the best 1/3 of all that were known to have come so far went on" in text
    assert "With nothing stopped, for as many optimiser steps: 8" in text
    assert text.count("the best on development data of fresh seeds: MTL, suggestion 3.") == 1
    again = {path.name: path for path in build_report(make_evidence(make_search()), tmp_path / "b")}
    assert {n: p.read_bytes() for n, p in again.items()} == {n: p.read_bytes() for n, p in files.items()}


def test_a_report_without_a_search_has_no_trace_of_one(tmp_path):
    text = next(p for p in build_report(make_evidence(None), tmp_path) if p.name == "report.md").read_text()
    assert "Search of" not in text


def test_a_search_in_which_little_finished_says_so():
    frame = make_history()
    poor = make_search(
        history=frame[frame["status"] != "complete"], record=replace(make_search().record, importances={}), control=None
    )
    blocks, files = search_blocks(poor, analyse(make_evidence(poor)))
    assert set(files) == {"suggestions.csv"}
    assert sum("Not drawn" in getattr(block, "text", "") for block in blocks) == 3


def test_numbers_above_the_count_are_explained():
    search = make_search(history=make_history().assign(number=range(3, 23)))
    bullets = search_blocks(search, analyse(make_evidence(search)))[0][1]
    assert "What was under way when the run was interrupted was asked anew under another number." in bullets.items


def test_a_search_with_nothing_to_refit_says_so():
    record = make_search().record
    refits = replace(make_refits(), rows=(Row("MTL", label=NAMES[0]),))
    alone = make_search(record=replace(record, refits=refits, winner=None, path=None), path=None)
    blocks, _ = search_blocks(alone, analyse(make_evidence(alone)))
    assert any("Nothing to refit" in item for block in blocks for item in getattr(block, "items", ()))


def test_the_winner_is_compared_on_the_mean_of_targets():
    evidence = make_evidence(make_search())
    grid = winner_grid(NAMES[1], analyse(evidence))
    means = evidence.values.groupby(["system", "partition", "seed"])["value"].mean()
    for row, partition in zip(grid.rows, ("development", "test"), strict=True):
        d = (means[NAMES[1], partition] - means[NAMES[0], partition]).to_numpy()
        assert row[3].text == f"{d.mean():+.3f}"
        assert row[5].text == f"{sign_flip(d):.3f}"
        assert row[6].text == "6"
    assert "To use the winner's settings: --set learning_rate=2." in grid.notes
    worse = winner_grid(NAMES[0], analyse(evidence)).notes
    assert "Keep the hand-set settings: no suggestion is above them on development data." in worse


def test_the_path_tells_what_each_change_gained():
    grid = path_grid(make_search(), "ccc")
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["hand-set", "0.600", "0.600", "–"],
        ["+ rate", "0.650", "0.650", "+0.050"],
        ["+ noise", "0.640", "0.640", "−0.010"],
    ]


def test_a_target_that_a_step_leaves_out_counts_as_zero():
    whole = make_search()
    values = whole.path
    lacking = values[(values["system"] != "+ noise") | (values["target"] == "arousal")]
    grid = path_grid(replace(whole, path=lacking), "ccc")
    targets = len(whole.record.path.study.targets)
    assert grid.rows[2][1].text == f"{0.64 / targets:.3f}"


def test_the_best_so_far_never_falls_and_knows_only_whole_runs():
    search = make_search()
    canvas = history(search, "ccc")
    (line,) = canvas.axes[0].get_lines()
    values = np.asarray(line.get_ydata(), float)
    assert (np.diff(values[~np.isnan(values)]) >= 0).all()
    frame = search.history
    assert np.nanmax(values) == frame.loc[frame["status"] == "complete", "value"].max()
    assert canvas.axes[1].get_lines()[0].get_xdata()[-1] == frame["steps"].sum()


def test_the_hand_set_configuration_is_a_line_to_beat():
    search = make_search()
    told = replace(search, record=replace(search.record, hand_set=0.58))
    assert [0.58, 0.58] in [list(line.get_ydata()) for line in history(told, "ccc").axes[0].get_lines()]
    bullets = search_blocks(told, analyse(make_evidence(told)))[0][1]
    assert "The hand-set configuration, which is never stopped: 0.580 on 2 search seeds." in bullets.items


def test_slices_have_a_panel_per_parameter_and_bars_one_per_share():
    canvas = slices(make_history(), "ccc")
    shown = [panel for panel in canvas.axes if panel.get_visible()]
    assert [panel.get_xlabel() for panel in shown] == ["learning_rate", "schedule"]
    assert shown[0].get_xscale() == "log"
    assert shown[0].get_xlim() == pytest.approx((0.8e-4, 1.25e-2)), "whole decades"
    bars = importance({"a": 0.2, "b": 0.8}).axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([0.2, 0.8])
    assert importance({}) is None
