"""The search lane on a real Ray Tune: Optuna's books are right, and a crash costs only what was under way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from affect.cli import main as affect
from affect.command import main
from affect.data.corpus import Corpus
from affect.engine import suggestions
from affect.engine.files import LocalFolder
from affect.engine.journal import open_journal
from affect.engine.store import Store
from tests.bench import searching
from tests.engine import toy_study
from tests.engine.helpers import PATIENCE, completed, environment, output_of, process
from tests.engine.test_crash import HERE, contents

pytestmark = pytest.mark.ray
optuna.logging.set_verbosity(optuna.logging.WARNING)


def options(corpus: Corpus, work: Path) -> list[str]:
    where = ["--corpus", str(corpus.folder), "--results", str(work / "results"), "--reports", str(work / "reports")]
    return [*where, "--systems", "climb"]


def command(corpus: Corpus, work: Path, total: int, *more: str) -> list[str]:
    script = [sys.executable, str(HERE / "toy_study.py"), "--executor", "ray"]
    return [*script, *options(corpus, work), "--search", str(total), *more]


def launch(corpus: Corpus, work: Path, total: int, *more: str) -> subprocess.CompletedProcess[str]:
    return completed(command(corpus, work, total, *more), env=environment())


def books(work: Path) -> optuna.Study:
    """The search's own study, not the control's."""
    (path,) = (p for p in (work / "results" / "toys" / "searches").glob("*.journal") if "control" not in p.name)
    return optuna.load_study(study_name=path.stem, storage=open_journal(LocalFolder(path.parent), path.stem))


def rows(work: Path) -> pd.DataFrame:
    return pd.read_parquet(work / "results" / "toys" / "trials")


def ended_with(program: Callable[[], None]) -> int:
    """Exit status of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        program()
    return int(ended.value.code or 0)


def refused(corpus: Corpus, work: Path, *more: str) -> int:
    """Exit status of the toy study, which must not have begun."""
    status = ended_with(lambda: main(toy_study.STUDY, [*options(corpus, work), *more]))
    assert not (work / "results").exists()
    return status


def test_what_a_search_would_take(
    corpus: Corpus, toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(corpus, tmp_path, "--search", "24", "--plan") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "climb and control" in out
    assert "The search of climb varies" in out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--search", "0"), "--search 0: must be at least 1."),
        (("--search", "5", "--search-seeds", "0"), "--search-seeds 0: must be at least 1."),
        (("--search", "5", "--systems", "toy"), "--systems toy: unknown system; this study has climb."),
        (("--search", "5", "--executor", "inline"), "--search --executor inline: a search runs on Ray Tune"),
        (("--search", "5", "--set", "epochs=0"), "climb: epochs=0 must be at least 1."),
        (("--search", "5", "--set", "height=0.2"), "--set height=0.2: the search of climb chooses height itself"),
        (("--search", "5", "--seeds", "3"), "--seeds 3: suggestions are judged on --search-seeds"),
    ],
)
def test_mistakes_are_one_sentence(
    corpus: Corpus,
    toys: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    sentence: str,
) -> None:
    assert refused(corpus, tmp_path, *more) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_a_search_from_first_suggestion_to_report(
    corpus: Corpus, toys: None, ray_with_toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def search() -> None:
        main(toy_study.STUDY, [*options(corpus, tmp_path), "--search", "24", "--search-seeds", "2"])

    assert ended_with(search) == 0, capsys.readouterr()

    study = books(tmp_path)
    states = [trial.state for trial in study.trials]
    heights = [trial.params["height"] for trial in study.trials]
    assert len(states) == 24
    assert heights[0] == 0.5, "the hand-set configuration comes first"
    assert states[0] is TrialState.COMPLETE, "and is never stopped, though better ones were"
    assert max(h for h, state in zip(heights, states, strict=True) if state is TrialState.PRUNED) > 0.5
    assert TrialState.RUNNING not in states
    assert [s is TrialState.FAIL for s in states] == [h > 0.95 for h in heights]

    # What Optuna was told is what is stored, suggestion by suggestion.
    mine = rows(tmp_path)
    mine = mine[mine["search"] == study.study_name]
    status = mine.groupby("suggestion")["status"].agg(set)
    told = {TrialState.COMPLETE: {"complete"}, TrialState.PRUNED: {"stopped"}, TrialState.FAIL: {"diverged"}}
    assert [told[state] for state in states] == status.sort_index().tolist()
    complete = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert complete
    assert pruned
    assert {max(trial.intermediate_values) for trial in complete} == {9}
    assert {max(trial.intermediate_values) for trial in pruned} <= {3, 6}
    for trial in complete:
        assert trial.value == pytest.approx(trial.params["height"])
    assert (mine.groupby("suggestion")["seed"].nunique() == 2).all()

    # Nothing was stopped in the control, for about as many steps.
    folder = tmp_path / "results" / "toys" / "searches"
    (control,) = (pd.read_parquet(path) for path in folder.glob("*control*.parquet"))
    (history,) = (pd.read_parquet(p) for p in folder.glob("*.parquet") if "control" not in p.name)
    assert set(control["status"]) <= {"complete", "diverged"}
    assert history["steps"].sum() <= control["steps"].sum() <= history["steps"].sum() + 18

    report = tmp_path / "reports" / "toys" / f"search-{study.study_name}"
    for name in ("history.png", "slices.pdf", "suggestions.csv", "refits.md", "report.html"):
        assert (report / name).stat().st_size > 0
    text = (report / "report.md").read_text()
    assert "climb, hand-set" in text
    assert "Ablation path" in text
    record, _ = Store(str(tmp_path / "results"), "toys").searches()[study.study_name]
    steps = [dict(row.candidates[0]) for row in record.path.rows]
    assert steps[0] == {}
    assert [len(step) for step in steps] == list(range(len(steps))), "one more setting at each step"
    assert record.hand_set == pytest.approx(0.5)
    capsys.readouterr()
    assert ended_with(lambda: affect(["status", str(tmp_path / "results" / "toys")])) == 0
    assert "hand-set:" in capsys.readouterr().out

    before = contents(tmp_path / "reports")
    assert ended_with(search) == 0, capsys.readouterr()
    assert len(books(tmp_path).trials) == 24
    assert contents(tmp_path / "reports") == before
    where = ["report", str(tmp_path / "results" / "toys"), "--reports", str(tmp_path / "again")]
    assert ended_with(lambda: affect(where)) == 0, capsys.readouterr()
    assert contents(tmp_path / "again") == before


def test_a_search_that_is_killed_comes_to_the_same_number(corpus: Corpus, tmp_path: Path) -> None:
    slowly = ("--set", "seconds=0.2")
    trials, silent = tmp_path / "results" / "toys" / "trials", subprocess.DEVNULL
    with process(command(corpus, tmp_path, 16, *slowly), env=environment(), stdout=silent, stderr=silent) as driver:
        wait_for_packs(driver, trials, 2)
    kept = {path.name: path.read_bytes() for path in trials.glob("[!.]*")}
    stale = suggestions.running(books(tmp_path))
    done = launch(corpus, tmp_path, 16, *slowly)
    assert done.returncode == 0, done.stdout + done.stderr
    study = books(tmp_path)
    assert suggestions.finished(study) == 16
    assert suggestions.running(study) == []
    assert {name: (trials / name).read_bytes() for name in kept} == kept, "finished waves are kept"
    # What was under way was asked again with the very same settings, or told from its rows.
    settings = [json.dumps(trial.params) for trial in study.trials]
    for number in stale:
        attributes = study.trials[number].user_attrs
        if attributes.get("stale") and "settings" in attributes:  # without: killed while it was asked for
            assert settings.count(settings[number]) == 2
    mine = rows(tmp_path)
    mine = mine[mine["search"] == study.study_name]
    assert not mine.duplicated(["trial", "partition", "target"]).any()
    assert mine["suggestion"].nunique() == 16


def wait_for_packs(driver: subprocess.Popen[str], trials: Path, packs: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (trials.exists() and len(list(trials.glob("[!.]*"))) >= packs):
        assert time.monotonic() < deadline
        assert driver.poll() is None
        time.sleep(0.05)


def test_interrupting_a_search_ends_it(corpus: Corpus, tmp_path: Path) -> None:
    trials = tmp_path / "results" / "toys" / "trials"
    with process(
        command(corpus, tmp_path, 60, "--set", "seconds=1"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # What is started in the background of a shell ignores it, and so does all that it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as driver:
        wait_for_packs(driver, trials, 1)
        driver.send_signal(signal.SIGINT)
        _, said = output_of(driver)
    assert driver.returncode == 130, said
    assert "interrupted; what was finished is kept" in said
    # A worker leaves its rows before the search hears of them, so it may have heard of none.
    assert suggestions.finished(books(tmp_path)) < 60
    assert list(trials.glob("[!.]*"))


def test_stock_optuna_search_takes_stopped_for_finished(ray_with_toys: None, tmp_path: Path) -> None:
    """The defect that the lane is built around: once this fails, Ray has mended it and the lane may become simpler."""
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(_height, metric="value", mode="max", seed=0)
    ended = tune.Tuner(
        _climb,
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=AsyncHyperBandScheduler(
                time_attr="training_iteration", metric="value", mode="max", max_t=9, grace_period=3, reduction_factor=3
            ),
            num_samples=9,
            max_concurrent_trials=1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    whole = sum(result.metrics["training_iteration"] == 9 for result in ended)
    told = sum(trial.state is TrialState.COMPLETE for trial in search._ot_study.trials)
    assert whole < 9, "ASHA stopped some"
    assert told == 9, "and Optuna was told that all of them are complete"


def _height(trial: optuna.Trial) -> None:
    trial.suggest_float("height", 0.0, 1.0)


def _climb(config: dict[str, float]) -> None:
    from ray import tune

    for epoch in range(1, 10):
        tune.report({"value": config["height"] * epoch / 9})


def test_what_a_search_costs_is_measured_on_the_road_of_a_study(
    ray_with_toys: None, toys: None, tmp_path: Path
) -> None:
    search, corpus = searching.free_search(tmp_path / "tiny", 10)
    assert searching.timed(search, corpus, tmp_path) > 0
    _, history = Store(str(tmp_path), search.resolved.study.name).searches()[search.name]
    assert len(history) >= 10
