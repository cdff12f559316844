"""Figures of a class with few labels: lines over a factor, imputation errors, learned weights, maps per label fraction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from affect.report import Evidence
from affect.report.analysis import Analysis, analyse
from affect.report.factors import heat_map
from affect.report.figures import draw
from affect.report.learned import learned_lines
from affect.report.lines import factor_grid, factor_lines
from affect.stats import mean_interval
from affect.study import Figure, Row, Scale, Table, grid

from .labels import FACTS, STUDY, evidence_of, resolved_with, values_of

SHARES = (0.9, 0.1, 0.5)
ROWS = (
    *(Row("a", label="Ours", factors={"missing": share}, missing=share) for share in SHARES),
    *(Row("b", factors={"missing": share}, missing=share) for share in SHARES[:2]),
    Row("a", label="Bound"),
    *grid("a", lambda first, second: {"c1": first, "c2": second}, {"c1": (0.1, 1.0), "c2": (0.1, 1.0)}),
)
LEVELS = {row.name: 0.5 + 0.02 * k for k, row in enumerate(ROWS)}
LINES = Figure("lines", "factor_lines", "Lines", "ours", factors=("missing",))


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    study = replace(STUDY, scales={"full": Scale("seed-twin", ROWS, 4)}, marks=(), tables=())
    facts = replace(FACTS, view="eeg+eye")
    resolved = resolved_with(study, facts, seeds=4)
    evidence = evidence_of(resolved, values_of(resolved, LEVELS))
    errors = evidence.expected.assign(rows="missing rows", value=1.0).drop(columns="target")
    errors["value"] = errors["system"].map(LEVELS) + errors["seed"]
    errors = errors[~errors["system"].isin(("Bound", "b, missing 0.9"))]
    learned = [
        (system, fraction, seed, epoch, 2, f"weight view {view}", view / 3 + 0.1 * seed + 0.01 * epoch)
        for system in ("Bound", "b, missing 0.1")
        for fraction in resolved.label_fractions
        for seed in range(4)
        for epoch in (1, 2, 3)
        for view in (1, 2)
    ]
    columns = ["system", "label_fraction", "seed", "epoch", "kept", "name", "value"]
    return analyse(replace(evidence, errors=errors, learned=pd.DataFrame(learned, columns=columns)))


def lines_of(panel: Any) -> dict[str, Any]:
    return {container.get_label(): container[0] for container in panel.containers}


def test_lines_run_along_the_factor_in_each_panel(analysis: Analysis) -> None:
    canvas = factor_lines(analysis, LINES)
    assert canvas is not None
    assert [panel.get_title(loc="left") for panel in canvas.axes] == ["1 % of the labels", "3 % of the labels"]
    test = analysis.evidence.values[analysis.evidence.values["partition"] == "test"]
    means = test.groupby(["system", "label_fraction"])["value"].mean()
    for panel, fraction in zip(canvas.axes, (0.01, 0.03), strict=True):
        found = lines_of(panel)
        assert list(found) == ["Ours", "b"]
        np.testing.assert_allclose(found["Ours"].get_xdata(), [0.1, 0.5, 0.9])
        expected = [means[f"Ours, missing {share}", fraction] for share in (0.1, 0.5, 0.9)]
        np.testing.assert_allclose(found["Ours"].get_ydata(), expected)
        (level,) = [line for line in panel.lines if line.get_label() == "Bound"]
        np.testing.assert_allclose(level.get_ydata(), means["Bound", fraction])


def test_lines_of_one_system_alone(analysis: Analysis) -> None:
    canvas = factor_lines(analysis, replace(LINES, system="b"))
    assert canvas is not None
    assert list(lines_of(canvas.axes[0])) == ["b"]
    assert not [line for line in canvas.axes[0].lines if line.get_label() == "Bound"]
    assert factor_lines(analysis, replace(LINES, factors=("c",))) is None


def test_errors_are_drawn_for_who_has_some(analysis: Analysis) -> None:
    canvas = factor_lines(analysis, replace(LINES, errors="missing rows"))
    assert canvas is not None
    found = lines_of(canvas.axes[0])
    assert list(found) == ["Ours", "b"]
    np.testing.assert_allclose(found["Ours"].get_ydata(), [0.52 + 1.5, 0.54 + 1.5, 0.5 + 1.5])
    np.testing.assert_allclose(found["b"].get_xdata(), [0.1])
    assert canvas.axes[0].get_ylabel() == "NMSE over missing rows"
    assert factor_lines(analysis, replace(LINES, errors="all rows")) is None


def test_learned_weights_are_means_over_seeds_by_epoch(analysis: Analysis) -> None:
    canvas = learned_lines(analysis, Figure("w", "learned", "Weights", "ours", system="Bound"))
    assert canvas is not None
    first, second = canvas.axes[1].lines
    assert (first.get_label(), second.get_label()) == ("Weight of eeg", "Weight of Eye")
    np.testing.assert_allclose(first.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(first.get_ydata(), 1 / 3 + 0.15 + 0.01 * np.arange(1, 4))
    low, _ = mean_interval(np.array([[1 / 3 + 0.1 * seed + 0.01 for seed in range(4)]]))
    band = canvas.axes[1].collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 1, 1].min() == pytest.approx(low[0])
    assert learned_lines(analysis, Figure("w", "learned", "Weights", "ours", system="b")) is None


def test_a_map_of_one_target_has_a_panel_per_label_fraction(analysis: Analysis) -> None:
    canvas = heat_map(analysis, Figure("map", "heat_map", "Map", "ours", system="a", factors=("c1", "c2")))
    assert canvas is not None
    panels = [panel for panel in canvas.axes if panel.get_images()]
    frame = analysis.evidence.values
    means = frame[frame["partition"] == "development"].groupby(["system", "label_fraction"])["value"].mean()
    for panel, fraction in zip(panels, (0.01, 0.03), strict=True):
        shown = np.asarray(panel.get_images()[0].get_array())
        np.testing.assert_allclose(shown[0, 1], means["a, c1 0.1, c2 1", fraction])
        np.testing.assert_allclose(shown[1, 0], means["a, c1 1, c2 0.1", fraction])


@pytest.mark.parametrize("errors", ["", "missing rows"])
def test_files_are_the_same_to_the_byte(analysis: Analysis, errors: str) -> None:
    figure = replace(LINES, errors=errors)
    evidence = analysis.evidence
    assert evidence.errors is not None
    shuffled = replace(evidence, errors=evidence.errors.sample(frac=1, random_state=1))
    assert draw(figure, analysis) == draw(figure, analyse(shuffled))


def test_evidence_names_the_column_that_it_lacks(analysis: Analysis) -> None:
    evidence: Evidence = analysis.evidence
    assert evidence.errors is not None
    with pytest.raises(ValueError, match="errors lacks the columns rows"):
        replace(evidence, errors=evidence.errors.drop(columns="rows"))


def test_the_table_behind_the_lines(analysis: Analysis) -> None:
    grid = factor_grid(Table("t", "Lines", "ours", kind="factor", factor="missing"), analysis)
    assert grid.columns == ("System", "0.1", "0.5", "0.9", "0.1", "0.5", "0.9")
    assert grid.groups == (("", 1), ("1 % of the labels", 3), ("3 % of the labels", 3))
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in grid.rows}
    test = analysis.evidence.values[analysis.evidence.values["partition"] == "test"]
    seeds = test.groupby(["system", "label_fraction"])["value"]
    mean, deviation = seeds.mean()["Ours, missing 0.5", 0.03], seeds.std()["Ours, missing 0.5", 0.03]
    assert cells["Ours"][4] == f"{mean:.3f}±{deviation:.3f}".replace("0.", ".")
    assert list(cells) == ["Ours", "b", "Bound"], "points of other grids are no lines"
    assert cells["b"][1] == "–", "not run"
    assert len(set(cells["Bound"][:3])) == 1
    errors = factor_grid(Table("t", "Lines", "ours", kind="factor", factor="missing", errors="missing rows"), analysis)
    assert [cell.text for cell in errors.rows[0]][:2] == ["Ours", "2.020±1.291"]
    assert "Bound" not in {row[0].text for row in errors.rows}


def test_tables_say_what_their_figures_are_of(analysis: Analysis) -> None:
    table = Table("t", "T", "P2", kind="factor", factor="missing")
    accuracy, errors = (factor_grid(replace(table, errors=rows), analysis).notes for rows in ("", "missing rows"))
    assert "over 4 seeds on one split" in accuracy[0]
    assert not any("z-scored" in note for note in accuracy)
    assert any("of z-scored features" in note for note in errors)
