"""A table with a column per label fraction: what its cells, marks and published values say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.report import build_report
from affect.report.analysis import Analysis, analyse
from affect.report.corpus import corpus_grid
from affect.report.document import Cell, Grid
from affect.report.fractions import fractions_grid
from affect.report.published import published_for, read_published
from affect.stats import holm, sign_flip
from affect.study import Mark, Table

from .labels import FACTS, FRACTIONS, LEVELS, STUDY, evidence_of, resolved_with, values_of

PAPER = Path(__file__).parents[3] / "shared" / "papers" / "smvae.txt"


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    resolved = resolved_with()
    return analyse(evidence_of(resolved, values_of(resolved)))


def grid_of(analysis: Analysis) -> Grid:
    (table,) = analysis.resolved.study.tables
    return fractions_grid(table, analysis, published_for(table.published, analysis.resolved.corpus.name))


def cells(analysis: Analysis) -> dict[str, tuple[Cell, ...]]:
    return {row[0].text: row[1:] for row in grid_of(analysis).rows}


def test_cells_are_mean_and_deviation_over_seeds(analysis: Analysis) -> None:
    found, frame = cells(analysis), analysis.evidence.values
    test = frame[frame["partition"] == "test"].groupby(["system", "label_fraction"])["value"]
    for system in ("Ours", "Theirs (Eye)", "floor"):
        for column, fraction in ((1, 0.01), (3, 0.03)):
            mean, deviation = test.mean()[system, fraction], test.std()[system, fraction]
            assert found[system][column].text == f"{mean:.3f}±{deviation:.3f}".replace("0.", ".")
    assert [row[0].text for row in grid_of(analysis).rows] == ["Theirs (across)", "Theirs (Eye)", "Ours", "floor"]
    assert grid_of(analysis).rules == (3,), "the floor stands below a rule"


def test_a_grid_is_no_row_and_never_the_best(analysis: Analysis) -> None:
    assert "Ours, c 0.1" not in cells(analysis)
    assert [row for row, cell in cells(analysis).items() if cell[1].strong] == ["Theirs (across)"]


def test_the_table_says_whose_inputs_were_seen(analysis: Analysis) -> None:
    grid = grid_of(analysis)
    assert grid.columns == (
        *("System", "Fits on inputs of"),
        *("1 % of the labels", "published", "3 % of the labels", "published"),
    )
    assert {row: cell[0].text for row, cell in cells(analysis).items()} == {
        "Theirs (across)": "test part",
        **dict.fromkeys(("Theirs (Eye)", "Ours", "floor"), "training part"),
    }
    inductive = replace(STUDY, scales={"full": replace(STUDY.scales["full"], rows=STUDY.scales["full"].rows[1:])})
    resolved = resolved_with(inductive)
    known = {name: level for name, level in LEVELS.items() if name != "Theirs (across)"}
    assert grid_of(analyse(evidence_of(resolved, values_of(resolved, known)))).columns[1] == "1 % of the labels"


def test_marks_are_for_rows_that_the_proposed_one_beats(analysis: Analysis) -> None:
    found = cells(analysis)
    assert [found["Theirs (Eye)"][column].marks for column in (1, 3)] == ["•", "•"]
    assert not any(found[row][1].marks for row in ("Theirs (across)", "Ours", "floor"))


def test_the_family_is_one_row_against_the_others(analysis: Analysis) -> None:
    family = analysis.families[0, "test", "Ours"]
    assert family.systems == ("Theirs (across)", "Theirs (Eye)")
    assert family.size == 2
    frame = analysis.evidence.values
    test = frame[(frame["partition"] == "test") & (frame["label_fraction"] == 0.01)]
    table = test.pivot(index="seed", columns="system", values="value")
    difference = table["Ours"].to_numpy()[:, None] - table[list(family.systems)].to_numpy()
    np.testing.assert_allclose(family.difference[:, 0], difference.mean(axis=0))
    p = sign_flip(difference)
    np.testing.assert_allclose(family.flip[:, 0], p)
    np.testing.assert_allclose(family.holm[:, 0], holm(p))
    assert p[0] > 0.5 > p[1], "one-tailed for ours being better"
    usual = resolved_with(replace(STUDY, marks=(Mark("•", "Ours"),)))
    other = analyse(evidence_of(usual, values_of(usual))).families[0, "test", "Ours"]
    np.testing.assert_allclose(other.difference, -family.difference)


def test_published_values_stand_beside_ours(analysis: Analysis) -> None:
    levels = {"SMVAE (inductive)": 0.8, "M2 (Eye)": 0.7}
    rows = tuple(replace(STUDY.scales["full"].rows[2], label=label) for label in levels)
    resolved = resolved_with(replace(STUDY, marks=(), scales={"full": replace(STUDY.scales["full"], rows=rows)}))
    found = cells(analyse(evidence_of(resolved, values_of(resolved, levels))))
    assert [found["SMVAE (inductive)"][i].text for i in (1, 3)] == [".880±.033", ".968±.015"]
    assert [found["M2 (Eye)"][i].text for i in (1, 3)] == [".753±.024", ".899±.049"]
    elsewhere = resolved_with(facts=replace(FACTS, name="mfeat", synthetic=False))
    analysis = analyse(evidence_of(elsewhere, values_of(elsewhere)))
    assert "published" not in grid_of(analysis).columns


@pytest.mark.parametrize(("name", "single"), [("seed", "M2 (Eye)"), ("deap", "M2 (PPS)")])
def test_the_papers_table_is_whole(name: str, single: str) -> None:
    published = read_published(f"smvae_table2_{name}")
    assert published is not None
    rows = published.cells["test"]
    assert len(rows) == 14
    assert single in rows
    every = [published.spread("test", row, fraction) for row in rows for fraction in ("0.01", "0.02", "0.03")]
    assert all(found is not None and 0.2 < found[0] < 1 and 0.01 < found[1] < 0.06 for found in every)
    # In the paper every row gains from labels, and SMVAE leads.
    for row, of in rows.items():
        assert [of[f][0] for f in of] == sorted(of[f][0] for f in of), row
    assert max(rows, key=lambda row: rows[row]["0.02"][0]).startswith("SMVAE")


def test_the_report_says_what_was_compared_and_by_which_test(analysis: Analysis, tmp_path: Path) -> None:
    build_report(analysis.evidence, tmp_path)
    table = (tmp_path / "table2.md").read_text()
    assert "• worse than Ours: sign-flip paired by seed, one-tailed, Holm over 2 declared comparisons" in table
    assert "no label of the test part" in table
    assert "on one split: ± is of labelled rows, initial weights and batches" in table
    assert "Each of the 3 classes has a labelled row by construction" in (tmp_path / "report.md").read_text()
    paired = (tmp_path / "table2_paired.md").read_text()
    assert "Ours as the better one, test, 1 % of the labels" in paired
    assert "the one in the title minus the system of the row" in paired
    assert "Fisher" not in paired + table
    assert tuple(analysis.cube.fractions) == FRACTIONS


@pytest.mark.parametrize(("view", "width", "published"), [("eye", 33, "33"), ("face", 7, "–")])
def test_the_data_stand_beside_the_papers(view: str, width: int, published: str) -> None:
    resolved = resolved_with(facts=replace(FACTS, view=view, width=width))
    table = Table("table1", "Data", "P2, Table 1", published="smvae_table1_{corpus}", kind="corpus")
    analysis = analyse(evidence_of(resolved, values_of(resolved, {"Ours": 0.8})))
    grid = corpus_grid(table, analysis, published_for(table.published, resolved.corpus.name))
    name = {"eye": "Eye"}.get(view, view)
    assert [tuple(cell.text for cell in row) for row in grid.rows] == [
        ("samples", "4,617", "22,734"),
        (f"features of {name}", f"{width}", published),
        ("train", "2,727", "13,473"),
        ("development", "972", "4,725"),
        ("test", "918", "4,536"),
        ("classes", "3", "3"),
        ("labels at 1 %", "27", "–"),
        ("labels at 3 %", "82", "–"),
    ]
    assert corpus_grid(table, analysis, None).columns == ("", "here")


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text is not there")
def test_published_cells_are_those_of_the_text() -> None:
    """Table 2, read anew: each system's three cells, of SEED first, then of DEAP; SMVAE's are transductive, then inductive."""
    cell = r"(\.\d{3})±(\.\d{3})"
    found = re.findall(rf"^(.+?)(?: \[\d+\])? {cell} {cell} {cell}$", PAPER.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == 2 * 14
    for corpus, lines in (("seed", found[:14]), ("deap", found[14:])):
        names = [name for name, *_ in lines]
        assert names.count("SMVAE") == 2
        names[names.index("SMVAE")] = "SMVAE (transductive)"
        names[names.index("SMVAE")] = "SMVAE (inductive)"
        published = published_for("smvae_table2_{corpus}", corpus)
        assert published is not None
        for name, (_, *numbers) in zip(names, lines, strict=True):
            cells = [published.spread("test", name, fraction) for fraction in ("0.01", "0.02", "0.03")]
            wanted = list(map(float, numbers))
            assert cells == list(zip(wanted[::2], wanted[1::2], strict=True)), (corpus, name)
