"""Whole reports: files, determinism, what is said about gaps."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.errors import UserError
from affect.report import Evidence, build_report
from affect.report.published import read_published

from .conftest import make_evidence, make_resolved, make_study

BARE = make_study(figures=())
"""Without figures: for what is said in words."""
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report over three label fractions."""
    folder = tmp_path_factory.mktemp("reports") / "ladder_ablation"
    build_report(make_evidence(make_resolved((1.0, 0.1, 0.02))), folder)
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if p.suffix not in (".png", ".pdf")}


def test_files(folder: Path) -> None:
    figures = {
        f"{name}.{kind}" for name in ("figure3", "label_fractions", "learning_curves") for kind in ("png", "pdf")
    }
    tables = {f"{name}.{kind}" for name in ("table1", "table1_paired") for kind in ("md", "tex", "html")}
    rest = {"report.md", "report.html", "claims.md", "values.csv", "comparisons.csv"}
    assert {path.name for path in folder.iterdir()} == figures | tables | rest


def test_regenerated_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # a time stamp to the second would differ
    resolved = make_resolved((1.0, 0.1, 0.02))
    evidence = make_evidence(resolved)
    shuffled = replace(
        evidence,
        values=evidence.values.sample(frac=1, random_state=3),
        curves=None if evidence.curves is None else evidence.curves.sort_values(["epoch", "seed"]),
    )
    written = build_report(shuffled, tmp_path / "elsewhere" / "deep")
    assert {path.name for path in written} == {path.name for path in folder.iterdir()}
    for path in written:
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_no_path_date_or_time(folder: Path) -> None:
    for path in folder.iterdir():
        content = path.read_bytes()
        assert str(folder).encode() not in content
        assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate|Matplotlib v|D:20\d\d", content), path.name


def test_figures_are_drawn(folder: Path) -> None:
    from matplotlib.image import imread

    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(PNG)
        pixels = imread(path)
        assert pixels.shape[1] > 1000
        assert len(np.unique(pixels[..., 0])) > 50
    for path in folder.glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
        assert path.stat().st_size > 5_000


def test_report_says_what_was_run(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    for said in (
        "> **Open speech corpus. Groups unknown.**",
        "Finding about the corpus: 35 samples occur twice.",
        "Label fractions: 100 % (18,346), 10 % (1,835), 2 % (367) of the training rows.",
        "10 seeds per cell (0 to 9)",
        "Settings set for this corpus, for every system that has them, chosen beforehand on its development data: "
        "learning_rate 0.0005; on the command line: dropout_input 0.1.",
        "alpha 0.6, beta 0.2",
        "3,753 (development) and 7,341 (test)",
        "The cells of Table I are not in the available text",
        "+3.0 %",
        "+3.5 %",
        "chose over 1 seed: MTL (2), Lad+L+MTL (2), Lad+UL+MTL (2).",
    ):
        assert said in text, said


def test_report_names_the_protocol_that_settings_are_for(tmp_path: Path) -> None:
    study = make_study(settings={"open_speech": {}, "open_speech+leak_free": {"learning_rate": 2e-3}})
    build_report(make_evidence(make_resolved(study=study, protocol="leak_free")), tmp_path)
    text = next(tmp_path.rglob("report.md")).read_text()
    assert "Settings set for this corpus under leak_free, for every system that has them, chosen" in text


def test_report_says_where_training_was_cut_short(tmp_path: Path) -> None:
    given = make_evidence()
    choices = given.choices.assign(settings=[s | {"epochs": 40} for s in given.choices["settings"]])
    early = (given.values["system"] != "MTL") | (given.values["seed"] < 4)
    values = given.values.assign(epoch=given.values["epoch"].where(~early, 39))
    build_report(replace(given, choices=choices, values=values), tmp_path)
    text = next(tmp_path.rglob("report.md")).read_text()
    assert "best at their last epoch, so that more epochs may help: MTL at all labels (60 %).\n" in text


@pytest.mark.parametrize(("seeds", "covered"), [(3, "75 %"), (5, "94 %"), (6, None)])
def test_report_says_where_intervals_are_too_narrow(tmp_path: Path, seeds: int, covered: str | None) -> None:
    build_report(make_evidence(make_resolved(seeds=seeds)), tmp_path)
    for name in ("report.md", "table1_paired.md", "claims.md"):
        text = next(tmp_path.rglob(name)).read_text()
        assert ("where 95 % are due" in text) == (covered is not None), name
        assert covered is None or f"With {seeds} seeds the interval reaches at most from" in text
        assert covered is None or f"which covers {covered} where" in text


def test_table_has_all_fractions_in_order(folder: Path) -> None:
    for name in ("table1.md", "table1.tex", "table1.html"):
        text = (folder / name).read_text()
        places = [text.index(words) for words in ("all labels", "10 ", "2 ")]
        captions = re.findall(r"Within-corpus evaluation, (all|10|2) ", text)
        assert captions == ["all", "10", "2"]
        assert places[0] >= 0
    assert (folder / "table1.tex").read_text().count(r"\begin{table}") == 3
    assert (folder / "table1_paired.tex").read_text().count(r"\begin{table}") == 3 * 4


def test_best_of_a_column_is_bold_and_floors_stand_below_a_rule(folder: Path) -> None:
    table = (folder / "table1.md").read_text().split("\n\n")[3]
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()}
    assert list(rows)[-1] == "ridge"
    assert rows["Lad+UL+MTL"].count("**") == 12
    assert sum(line.count("**") for line in rows.values()) == 12
    assert "•" not in rows["ridge"]
    assert "not in the paper" in rows["ridge"]
    tex = (folder / "table1.tex").read_text()
    assert re.search(r"\\midrule\nridge", tex)


def test_synthetic_twin_is_never_passed_off(tmp_path: Path) -> None:
    build_report(make_evidence(make_resolved(synthetic=True, study=BARE)), tmp_path)
    for name, text in texts(tmp_path).items():
        if not name.endswith(".csv"):
            assert "Synthetic data" in text, name
    claims = (tmp_path / "claims.md").read_text()
    assert claims.count("not testable here") == 2 * 4
    assert "not reproduced" not in claims


def test_too_few_seeds_print_the_table_and_say_how_many(tmp_path: Path) -> None:
    build_report(make_evidence(make_resolved(seeds=1, study=BARE)), tmp_path)
    text = (tmp_path / "table1.md").read_text()
    assert "| STL " in text
    assert "needs 9 seeds, and there is 1." in text
    assert "(•" not in text.split("\n\n")[3]
    assert "withheld" in text


def test_gaps_are_shown(with_values: Callable[..., Evidence], tmp_path: Path) -> None:
    def lose(values: pd.DataFrame) -> pd.DataFrame:
        values = values[~((values["system"] == "MTL") & (values["target"] == "valence"))].copy()
        values = values[~((values["system"] == "STL") & (values["seed"] >= 7))]
        gone = (values["system"] == "Lad+L+STL") & (values["target"] == "arousal") & (values["seed"] == 3)
        values.loc[gone, "status"] = "diverged"
        values.loc[gone, "value"] = np.nan
        return values

    build_report(with_values(lose, study=BARE), tmp_path)
    text = (tmp_path / "table1.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.split("\n\n")[3].splitlines()}
    assert rows["MTL"].count("missing") == 2
    assert rows["STL"].count("7/10 seeds") == 6
    assert rows["Lad+L+STL"].count("9/10 seeds") == 2
    assert "Diverged trials are left out of the means: Lad+L+STL arousal, 1 of 10 diverged." in text
    assert "Missing: 19 of 210 trials" in text
    frame = pd.read_csv(tmp_path / "values.csv")
    row = frame.query("system == 'Lad+L+STL' and target == 'arousal' and partition == 'test'").iloc[0]
    assert (row["seeds"], row["seeds_expected"], row["diverged"]) == (9, 10, 1)


def test_nothing_finished_yet(tmp_path: Path) -> None:
    evidence = make_evidence()
    empty = replace(evidence, values=evidence.values.iloc[:0], choices=evidence.choices.iloc[:0], curves=None)
    build_report(empty, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.count("missing") >= 42
    assert not list(tmp_path.glob("*.png"))


def test_figures_without_data_are_removed(tmp_path: Path) -> None:
    build_report(make_evidence(make_resolved((1.0, 0.1))), tmp_path)
    assert (tmp_path / "label_fractions.png").exists()
    build_report(make_evidence(), tmp_path)
    assert not (tmp_path / "label_fractions.png").exists()
    assert "label_fractions.png" not in (tmp_path / "report.md").read_text()


def test_missing_baseline_is_said(tmp_path: Path) -> None:
    resolved = make_resolved(study=BARE)
    build_report(make_evidence(replace(resolved, rows=resolved.rows[1:])), tmp_path)
    assert "No • (better than STL): it was not run." in (tmp_path / "table1.md").read_text()


def test_published_values_stand_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"source": "P9, Table I", "reason": "", "cells": {"test": {"STL": {"arousal": 0.7654}}}}
    (tmp_path / "other.json").write_text(json.dumps(content))
    monkeypatch.setattr("affect.report.published.FOLDER", tmp_path)
    study = make_study()
    study = replace(study, tables=(replace(study.tables[0], published="other"),), figures=(), claims=())
    build_report(make_evidence(make_resolved(study=study)), tmp_path / "out")
    table = (tmp_path / "out" / "table1.md").read_text().split("\n\n")[3].splitlines()
    assert table[2].count("published") == 6
    assert "0.765" in next(line for line in table if line.startswith("| STL"))


def test_rows_without_a_choice_are_not_listed_as_chosen(tmp_path: Path) -> None:
    """STL has a candidate for each target: nothing to choose. An override takes a setting out of the choice."""
    evidence = make_evidence(make_resolved(study=BARE, overrides={"beta": 0.2}))
    build_report(evidence, tmp_path)
    text = (tmp_path / "report.md").read_text()
    chosen = text[text.index("**Settings chosen on development data") : text.index("**All settings**")]
    assert "alpha 0.6 " in chosen
    for absent in ("STL", "ridge", "beta"):
        assert absent not in chosen
    settings = {
        line.split("|")[1].strip(): line for line in text[text.index("**All settings**") :].splitlines()[1:] if line
    }
    assert settings["target"].count("per target") == 3
    assert settings["alpha"].count("chosen") == 3
    assert settings["beta"].count("0.2") == 3


def test_what_a_preset_fixes_or_all_candidates_share_was_not_chosen(tmp_path: Path) -> None:
    resolved = make_resolved(study=BARE)
    rows = [
        replace(row, candidates=tuple({"alpha": a, "beta": b, "width": 8} for a, b in ((0.2, 0.3), (0.6, 0.4))))
        for row in resolved.rows
    ]
    build_report(make_evidence(replace(resolved, rows=tuple(rows))), tmp_path)
    chosen = (tmp_path / "report.md").read_text().partition("**Settings chosen")[2].partition("**All settings**")[0]
    assert "alpha 0.6" in chosen
    assert "beta" not in chosen, "0.2 is none of the candidates'"
    assert "width" not in chosen


def test_nothing_to_choose_is_not_mentioned(tmp_path: Path) -> None:
    evidence = make_evidence(make_resolved(study=BARE))
    build_report(replace(evidence, choices=evidence.choices.assign(options=1)), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Candidate settings" not in text
    assert "Settings chosen" not in text
    assert "optimistic" not in text


def test_numbers_of_candidates_that_differ_by_target(tmp_path: Path) -> None:
    evidence = make_evidence(make_resolved(study=BARE))
    fewer = (evidence.choices["system"] == "MTL") & (evidence.choices["target"] == "valence")
    choices = evidence.choices.assign(options=evidence.choices["options"].mask(fewer, 1))
    build_report(replace(evidence, choices=choices), tmp_path)
    assert "MTL (2 for arousal, 1 for valence, 2 for dominance), Lad+L+MTL (2)" in (tmp_path / "report.md").read_text()


def test_optimistic_development_values_are_named(tmp_path: Path) -> None:
    build_report(make_evidence(make_resolved(study=BARE)), tmp_path)
    text = (tmp_path / "table1.md").read_text()
    assert "(candidates per target): MTL (2), Lad+L+MTL (2), Lad+UL+MTL (2). The choice fell on seed 0, and" in text
    build_report(make_evidence(make_resolved(study=BARE, selection_seeds=3)), tmp_path)
    assert "The choice fell on seeds 0 to 2, and" in (tmp_path / "table1.md").read_text()
    test_alone = replace(BARE, tables=(replace(BARE.tables[0], partitions=("test",)),))
    build_report(make_evidence(make_resolved(study=test_alone)), tmp_path)
    assert "optimistic" not in (tmp_path / "table1.md").read_text()


def test_rows_over_fewer_seeds_are_named(tmp_path: Path) -> None:
    evidence = make_evidence(make_resolved((1.0, 0.1), study=BARE))

    def once(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["system"] != "ridge") | (frame["label_fraction"] < 1) | (frame["seed"] == 0)]

    build_report(replace(evidence, values=once(evidence.values), expected=once(evidence.expected)), tmp_path)
    text = (tmp_path / "table1.md").read_text()
    assert text.count("Over 1 seed alone: ridge, for nothing in such a fit depends on the seed.") == 1
    assert "(0 to 9), one where nothing in a fit depends on it." in (tmp_path / "report.md").read_text()


def test_notes_of_a_study_stand_under_what_was_run(tmp_path: Path) -> None:
    build_report(make_evidence(make_resolved(study=replace(BARE, notes=("Weights start small.",)))), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "- Weights start small.\n" in text[text.index("## What was run") : text.index("## Within-corpus")]


def test_published_values_need_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkout with `pip install --editable \.`"):
        read_published("ladder_table1", tmp_path / "site-packages" / "reports" / "published")


def test_missing_published_file_writes_nothing(tmp_path: Path) -> None:
    study = make_study()
    study = replace(study, tables=(replace(study.tables[0], published="absent"),))
    with pytest.raises(UserError, match=r"absent\.json are missing"):
        build_report(make_evidence(make_resolved(study=study)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_file_of_the_ladder_paper() -> None:
    published = read_published("ladder_table1.json")
    assert published is not None
    assert not published.has_cells
    assert (published.gains["arousal"], published.gains["dominance"]) == (0.030, 0.035)
    assert read_published(None) is None


def test_broken_published_file(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_published("broken", tmp_path)
