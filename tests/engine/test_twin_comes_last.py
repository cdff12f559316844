"""The embedded twin takes up to a minute and 5 GB: it is made after every mistake has been found, and never for a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from affect.command import main
from affect.engine.store import Store
from affect.study import Row, Scale, Study
from tests.engine.helpers import make_study

DEMO, FULL = "podcast-twin-demo", "podcast-twin"
Run = Callable[..., int]


@pytest.fixture
def run(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A study on the twins in an empty folder."""
    rows = (Row("other"), Row("toy"))
    scales = {"demo": Scale(DEMO, rows, 1), "full": Scale(FULL, rows, 2)}
    study: Study = replace(make_study(rows), scales=scales)
    monkeypatch.chdir(tmp_path)

    def call(*options: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(study, ["--executor", "inline", *options])
        return int(ended.value.code or 0)

    return call


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--label-fraction", "0.001"], "Label fraction 0.001 leaves 2 of 2400 labelled training rows"),
        (["--label-fraction", "nan"], "Label fraction nan leaves the range (0, 1]"),
        (["--set", "alpha=.8", "beta=.7"], "alpha=0.8 and beta=0.7 exceed 1."),
        (["--set", "alpha=2"], "alpha=2 "),
        (["--results", "nowhere://x"], "nowhere://x: is no place for results"),
        (["--results", "theirs"], "these are results of study other_study, not of trial_study"),
        (["--executor", "ray", "--address", "127.0.0.1:1"], "nothing answers there"),
    ],
)
def test_mistakes_leave_no_twin(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], sentence: str
) -> None:
    with Store("theirs", "other_study").locked():
        pass
    (tmp_path / "theirs" / "other_study").rename(tmp_path / "theirs" / "trial_study")
    assert run(*options) == 2
    assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("scale", ["demo", "full"])
def test_a_plan_makes_no_twin(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, scale: str) -> None:
    assert run("--scale", scale, "--plan") == 0
    assert f"{2 if scale == 'demo' else 4} trials to run now" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_what_was_planned_without_the_twin_is_what_runs_with_it(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run() == 0
    assert (tmp_path / "corpora" / DEMO / "manifest.json").is_file()
    planned = {path.name: path.read_bytes() for path in (tmp_path / "results" / "trial_study" / "requests").iterdir()}
    assert run("--plan") == 0
    assert "0 trials to run now" in capsys.readouterr().out
    assert run() == 0
    assert "0 of them new" in capsys.readouterr().out
    assert planned == {
        path.name: path.read_bytes() for path in (tmp_path / "results" / "trial_study" / "requests").iterdir()
    }
