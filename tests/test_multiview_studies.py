"""P2's studies from end to end, every row that they declare, on a small twin: little is trained, and all is reported."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from affect.cli import main as affect
from affect.command import main
from tests.data.test_missing_rows import people
from tests.test_studies import study_of

SMALL = ("hidden=6", "latent=3", "batch_size=50", "epochs=1")
STUDIES = {
    "smvae_label_fractions": ((*SMALL, "auxiliary=3"), {"table2": 20}),
    "simvae_missing_views": (
        (*SMALL, *(f"imputer_{setting}" for setting in SMALL)),
        {"accuracy": 9, "nmse": 7, "nmse_all": 7},
    ),
}
"""Study → sizes of its networks, and the rows that each of its tables has."""
ONE_SEED = ("--seeds", "1", "--executor", "inline", "--device", "cpu")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "small"
    with pytest.raises(SystemExit) as ended:
        affect(["prepare", "twin", "--of", "seed", "--fraction", "0.05", "--out", str(folder)])
    assert not ended.value.code
    return folder


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_is_trained_and_stands_in_its_table(
    name: str, twin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, (settings, tables) = study_of(name), STUDIES[name]
    with pytest.raises(SystemExit) as ended:
        main(study, ["--corpus", str(twin), "--label-fraction", "0.1", *ONE_SEED, "--set", *settings])
    assert not ended.value.code
    trials = pd.read_parquet(tmp_path / "results" / name / "trials", columns=["system", "status"])
    assert set(trials["status"]) == {"complete"}
    assert set(trials["system"]) == {row.system for row in study.scales["demo"].rows}
    (folder,) = (tmp_path / "reports" / name).iterdir()
    for table, expected in tables.items():
        lines = [line for line in (folder / f"{table}.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
        rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
        values = [[cell for cell in row if re.fullmatch(r"\d*\.\d{3}", cell)] for row in rows]
        assert [len(found) for found in values if found] == [1 if table == "table2" else 3] * expected, table


def test_a_corpus_whose_rows_lack_views_is_for_those_who_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    people().drop(index=2).to_csv("clips.csv", index=False)
    given = ("--samples", "clips.csv", "--id", "clip", "--partition", "split", "--target", "mood=mood:low,high")
    views = ("--view", "eeg=columns:eeg_*", "eye=columns:eye_*", "--may-lack", "eye", "--out", "corpora/people")
    with pytest.raises(SystemExit) as ended:
        affect(["prepare", "table", *given, *views])
    assert not ended.value.code
    assert "columns of clips.csv, 164 rows have it" in capsys.readouterr().out
    where = ("--corpus", "people", "--view", "eeg+eye", "--label-fraction", "0.2", *ONE_SEED)
    with pytest.raises(SystemExit) as ended:
        main(study_of("smvae_label_fractions"), [*where, "--set", *SMALL])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert re.search(
        r"M2 \(Concat.\), .* are left out: each takes every view of a row, and 35 of the rows to fit on", said
    )
    trials = pd.read_parquet("results/smvae_label_fractions/trials", columns=["system", "view", "status"])
    assert set(trials["status"]) == {"complete"}
    assert set(trials[trials["view"] == "eeg+eye"]["system"]) == {"SMVAE", "MVAE", "MoPoE-VAE"}
    assert set(trials[trials["view"] == "eeg"]["system"]) == {"M2", "logistic"}
    report = Path("reports/smvae_label_fractions/people/report.md").read_text(encoding="utf-8")
    assert "View eye is missing in 35 of the rows to fit on" in report
    assert "AMGL" in report.split("are left out: each takes every view of a row")[0]
    with pytest.raises(SystemExit) as ended:
        main(study_of("smvae_label_fractions"), [*where, "--set", *SMALL, "--systems", "M2 (EEG)", "--plan"])
    assert not ended.value.code
    assert "0 trials to run now" in capsys.readouterr().out, "the row of that name alone, which was run before"
    with pytest.raises(SystemExit) as ended:
        main(study_of("smvae_label_fractions"), [*where, "--systems", "AMGL"])
    assert ended.value.code == 2
    assert "AMGL takes every view of a row, and 35 of the rows" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(study_of("smvae_label_fractions"), [*where[:-6], "--systems", "M2", "--search", "2", "--plan"])
    assert ended.value.code == 2
    assert "M2 takes every view of a row" in capsys.readouterr().err
