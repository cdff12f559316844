"""Figures over grids: the right cell in the right place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from affect.report import Evidence
from affect.report.analysis import analyse
from affect.report.factors import factor_curve, heat_map
from affect.report.figures import label_fractions
from affect.study import Figure, Scale, grid
from tests.report.conftest import make_resolved, make_study, make_values

ROWS = (
    *grid("MTL", lambda rate: {"learning_rate": rate}, {"rate": (1e-2, 1e-4, 1e-3)}),
    *grid("MTL", lambda a, b: {"alpha": a, "beta": b}, {"α": (0.0, 0.5), "β": (0.0, 0.5, 1.0)}),
    *grid("STL", lambda rate: {"learning_rate": rate}, {"rate": (1e-2, 1e-4)}),
)
CURVE = Figure("rate", "factor_curve", "Rate", "ours", system="MTL", factors=("rate",))
MAP = Figure("weights", "heat_map", "Weights", "ours", system="MTL", factors=("α", "β"))


def make_analysis(rows=ROWS, fractions=(1.0,)):
    study = replace(
        make_study(), scales={"full": Scale("open_speech", ROWS, 3)}, marks=(), tables=(), figures=(), claims=()
    )
    resolved = make_resolved(fractions, study=study, seeds=3)
    named = replace(resolved, rows=tuple(replace(row, system=row.name, factors={}) for row in rows))
    values = make_values(named)
    place = {row.name: k for k, row in enumerate(ROWS)}
    values["value"] = 0.01 * values["system"].map(place) + 0.001 * (values["partition"] == "test")
    keys = values[["system", "label_fraction", "target"]].drop_duplicates()
    choices = keys.assign(settings=[{}] * len(keys), options=1)
    expected = values[["system", "label_fraction", "target", "seed"]].drop_duplicates()
    return analyse(Evidence(resolved, values, choices, expected))


def test_names_tell_rows_apart():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) == 11
    assert names[0] == "MTL, rate 0.01"
    assert names[4] == "MTL, α 0, β 0.5"


def test_a_curve_runs_along_its_factor_and_no_other():
    canvas = factor_curve(make_analysis(), CURVE)
    assert len(canvas.axes) == 3
    lines = [container[0] for container in canvas.axes[0].containers]
    np.testing.assert_allclose(lines[0].get_xdata(), [1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(lines[0].get_ydata(), [0.01, 0.02, 0.0], atol=1e-12)
    np.testing.assert_allclose(lines[1].get_ydata(), [0.011, 0.021, 0.001], atol=1e-12)
    assert canvas.axes[0].get_xscale() == "log"


def test_a_map_has_each_mean_at_its_factors():
    canvas = heat_map(make_analysis(), MAP)
    (image,) = canvas.axes[0].get_images()
    np.testing.assert_allclose(np.asarray(image.get_array()), [[0.03, 0.04, 0.05], [0.06, 0.07, 0.08]], atol=1e-12)
    assert [text.get_text() for text in canvas.axes[0].get_xticklabels()] == ["0", "0.5", "1"]
    bold = [text.get_text() for text in canvas.axes[0].texts if text.get_fontweight() == "bold"]
    assert bold == [".080"]


def test_what_was_not_run_is_left_empty():
    canvas = heat_map(make_analysis(rows=ROWS[:8]), MAP)
    (image,) = canvas.axes[0].get_images()
    assert np.ma.getmaskarray(image.get_array()).sum() == 1
    assert factor_curve(make_analysis(rows=ROWS[3:]), CURVE) is None


def test_a_grid_over_label_fractions_has_a_line_per_value():
    canvas = label_fractions(make_analysis(fractions=(1.0, 0.1)), replace(CURVE, kind="label_fractions"))
    drawn = {container.get_label(): container[0].get_ydata() for container in canvas.axes[0].containers}
    assert list(drawn) == ["MTL, rate 0.0001", "MTL, rate 0.001", "MTL, rate 0.01"]
    np.testing.assert_allclose(list(drawn.values()), [[0.011] * 2, [0.021] * 2, [0.001] * 2], atol=1e-12)
    assert label_fractions(make_analysis(ROWS[3:], (1.0, 0.1)), replace(CURVE, kind="label_fractions")) is None
