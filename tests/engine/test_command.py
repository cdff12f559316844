"""The command line of a study and of `affect`: mistakes in one sentence, plans, reports from results alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from affect import cli
from affect.command import main
from affect.data.corpus import Corpus
from affect.study import Row

GRID = tuple({"alpha": a / 2, "beta": b / 2} for a in range(3) for b in range(3 - a))
ROWS = (Row("other"), Row("toy", GRID), Row("fixed", floor=True), Row("text", floor=True))

Run = Callable[..., int]


@pytest.fixture
def run(corpus: Corpus, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The study's command line in an empty folder."""
    from conftest import make_study

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*options: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(make_study(ROWS), ["--corpus", str(corpus.folder), "--executor", "inline", *options])
        return int(ended.value.code or 0)

    return call


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--systems", "toy", "tay"], "--systems tay: unknown system; this study has other, toy, fixed, text."),
        (["--scale", "huge"], "argument --scale: invalid choice: 'huge'"),
        (["--preset", "mine"], "argument --preset: invalid choice: 'mine'"),
        (["--protocol", "mine"], "argument --protocol: invalid choice: 'mine'"),
        (["--executor", "slurm"], "argument --executor: invalid choice: 'slurm'"),
        (["--seeds", "few"], "argument --seeds: invalid int value: 'few'"),
        (["--seeds", "0"], "--seeds 0: at least one seed is needed."),
        (["--max-minutes", "0"], "--max-minutes 0: must be above zero."),
        (["--label-fraction", "0.01"], "Label fraction 0.01 leaves 1 of 120"),
        (["--label-fraction", "1.5"], "Label fraction 1.5 leaves"),
        (["--set", "alpah=1"], "--set alpah=1: no chosen system has a alpah; there is alpha, beta, fault"),
        (["--set", "alpha"], "--set alpha: write NAME=VALUE"),
        (["--set", "alpha=much"], "alpha=much is not a float."),
        (["--set", "alpha=2"], "alpha=2 must be between 0 and 1."),
        (["--set", "alpha=.8", "--set", "beta=.7"], "alpha=0.8 and beta=0.7 exceed 1."),
        (["--set", "fault=big"], "fault=big is not one of none"),
        (["--protocol", "leak_free"], "leak_free"),
        (["--corpus", "nowhere"], "nowhere: unknown corpus"),
        (["--results", "s3://bucket"], "not yet in s3"),
        (["--executor", "ray", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: nothing answers there."),
        (["--rocket"], "unrecognized arguments: --rocket"),
    ],
)
def test_mistakes_end_in_one_sentence_before_anything_is_written(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], sentence: str
) -> None:
    assert run(*options) == 2
    written = capsys.readouterr()
    assert sentence in written.err
    assert len(written.err.strip().splitlines()) == 1
    assert "Traceback" not in written.err
    assert not list(tmp_path.iterdir())


def test_targets_that_a_corpus_lacks(
    corpus: Corpus, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    from conftest import make_study

    monkeypatch.chdir(tmp_path)
    study = replace(make_study(ROWS), targets=("arousal", "joy"))
    with pytest.raises(SystemExit):
        main(study, ["--corpus", str(corpus.folder)])
    assert "unknown target joy; the corpus has arousal, valence, dominance." in capsys.readouterr().err


def test_help_teaches(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "--max-minutes" in shown


def test_a_plan_writes_nothing(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("--plan", "--seeds", "3") == 0
    shown = capsys.readouterr().out
    assert "9 trials to run now" not in shown
    assert "10 trials to run now, at most 6 after choices" in shown
    assert "With 3 seeds the smallest one-sided p of a paired test is 0.12." in shown
    assert "Against other: 3 comparisons per partition under Holm need 6 seeds" in shown
    assert not list(tmp_path.iterdir())
    assert run("--seeds", "3") == 0
    assert run("--plan", "--seeds", "3") == 0
    assert "0 trials to run now, at most 0 after choices: nothing left to run" in capsys.readouterr().out


def test_a_run_ends_with_its_table_and_is_repeatable(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run() == 0
    shown = capsys.readouterr().out
    assert "Report: reports/trial_study" in shown
    assert "| other" in shown
    report = {p.name: p.read_bytes() for p in (tmp_path / "reports" / "trial_study").iterdir()}
    assert run() == 0
    assert "0 of them new" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", "results/trial_study", "--reports", "again"])
    assert ended.value.code == 0
    assert report == {p.name: p.read_bytes() for p in (tmp_path / "again" / "trial_study").iterdir()}


def test_failed_trials_are_told_by_the_exit_status(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--set", "fault=error", "--systems", "other") == 1
    assert "failed: other, labels 1, seed 0: ArithmeticError" in capsys.readouterr().out


def test_results_can_be_listed_and_exported(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run("--systems", "other")
    for arguments, code in (
        (["results", "list"], 0),
        (["results", "export", "results/trial_study", "--csv", "scores.csv"], 0),
        (["results", "export", "results/trial_study", "--csv", "scores.csv"], 2),
        (["results", "list", "nowhere"], 2),
        (["report", "nowhere"], 2),
        (["report", "results/trial_study", "--corpus", "other"], 2),
        (["fly"], 2),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == code
    shown = capsys.readouterr()
    assert "complete" in shown.out
    assert "scores.csv: exists already" in shown.err
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == 2 * 3 * 3
    assert {"study", "system", "preset", "protocol", "partition", "fold", "target", "metric", "value", "seed"} <= set(
        scores
    )
