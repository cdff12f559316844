"""What Optuna is told of each suggestion."""

from __future__ import annotations

import json
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from affect.engine import suggestions
from affect.engine.files import LocalFolder
from affect.engine.journal import open_journal
from affect.engine.suggestions import ask, finished, requeue, running, tell
from affect.engine.uris import open_folder
from affect.engine.waves import Verdict
from affect.errors import UserError
from tests.engine.engine_fakes import climbs

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "searches"


def opened(journal: Path, seed: int = 0) -> optuna.Study:
    return optuna.create_study(
        storage=open_journal(LocalFolder(journal), "a search"),
        study_name="a search",
        sampler=suggestions.sampler(seed),
        direction="maximize",
        load_if_exists=True,
    )


def test_only_those_that_went_all_the_way_are_complete(journal: Path) -> None:
    study = opened(journal)
    for _ in range(4):
        ask(study, climbs)
    tell(study, Verdict(0, "complete", {3: 0.1, 9: 0.3}, 9))
    tell(study, Verdict(1, "stopped", {3: 0.2}))
    tell(study, Verdict(2, "diverged", {3: 0.4}))
    again = opened(journal)
    states = [trial.state for trial in again.trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    assert again.trials[0].value == 0.3
    assert [trial.intermediate_values for trial in again.trials[:3]] == [{3: 0.1, 9: 0.3}, {3: 0.2}, {3: 0.4}]
    assert again.best_trial.number == 0
    assert finished(again) == 3
    assert running(again) == [3]
    assert suggestions.records(again, (3, 9)) == {3: [0.1, 0.2, 0.4], 9: [0.3]}
    frame = suggestions.history(again)
    assert frame["status"].tolist() == ["complete", "stopped", "diverged"]
    assert frame["value"].tolist() == [0.3, 0.2, 0.4]
    assert json.loads(frame["rungs"][0]) == {"3": 0.1, "9": 0.3}


def test_a_value_reported_at_a_rung_is_not_reported_twice(journal: Path) -> None:
    study = opened(journal)
    ask(study, climbs)
    suggestions.report(study, 0, 3, 0.1)
    tell(study, Verdict(0, "stopped", {3: 0.1}))
    assert study.trials[0].intermediate_values == {3: 0.1}


def test_lost_suggestions_are_asked_anew_and_not_counted(journal: Path) -> None:
    study = opened(journal)
    first = ask(study, climbs)
    requeue(study, [0])
    assert finished(study) == 0
    again = ask(opened(journal, seed=5), climbs)
    assert again.number != first.number
    assert again.settings == first.settings
    study = opened(journal)
    tell(study, Verdict(again.number, "complete", {9: 0.5}))
    assert finished(study) == 1
    assert len(suggestions.history(study)) == 1


def test_a_suggestion_that_kills_its_workers_is_given_up(journal: Path) -> None:
    study = opened(journal)
    settings = ask(study, climbs).settings
    for _ in range(suggestions.DEADLY - 1):
        requeue(study, running(study), killed=True)
        assert ask(study, climbs).settings == settings
    assert finished(study) == 0
    requeue(study, running(study), killed=True)
    assert finished(study) == 1
    assert suggestions.messages(study) == {2: "3 workers died of it"}
    assert ask(study, climbs).settings != settings


def test_settings_of_which_a_worker_died_are_suspect_while_they_wait(journal: Path) -> None:
    study = opened(journal)
    ask(study, climbs)
    ask(study, climbs)
    requeue(study, [0])
    assert not suggestions.suspects(study)
    requeue(study, [1], killed=True)
    assert suggestions.suspects(study)
    ask(study, climbs)
    assert suggestions.suspects(study)
    ask(study, climbs)
    assert not suggestions.suspects(study)


def test_a_run_that_is_stopped_is_not_held_against_its_suggestions(journal: Path) -> None:
    study = opened(journal)
    settings = ask(study, climbs).settings
    for _ in range(2 * suggestions.DEADLY):
        requeue(study, running(study))
        assert ask(study, climbs).settings == settings
    assert finished(study) == 0


def test_a_run_that_ends_while_it_asks(journal: Path) -> None:
    study = opened(journal)
    study.ask()  # killed before the space was asked for anything
    requeue(study, running(study))
    assert finished(study) == 0
    settings = ask(study, climbs).settings
    requeue(study, running(study))
    study.ask()  # killed with settings that were queued
    requeue(study, running(study))
    assert finished(study) == 0
    assert len(suggestions.history(study)) == 0
    assert ask(study, climbs).settings == settings


def test_a_journal_survives_half_a_line(journal: Path) -> None:
    ask(opened(journal), climbs)
    file = journal / "a search.journal"
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines()[-1][:20])
    study = opened(journal)
    assert len(study.trials) == 1
    ask(study, climbs)
    assert len(opened(journal).trials) == 2


def test_the_best_are_distinct_and_complete(journal: Path) -> None:
    study = opened(journal)
    for _ in range(5):
        ask(study, climbs)
    for number, value in ((0, 0.1), (1, 0.5), (2, 0.3)):
        tell(study, Verdict(number, "complete", {9: value}))
    tell(study, Verdict(3, "stopped", {3: 0.9}))
    assert [each.number for each in suggestions.best(study)[:2]] == [1, 2]
    assert [each.value for each in suggestions.best(study)[:2]] == [0.5, 0.3]


def test_what_matters_is_found_to_matter(journal: Path) -> None:
    study = opened(journal)
    assert suggestions.importances(study) == {}
    for _ in range(30):
        suggestion = ask(study, climbs)
        tell(study, Verdict(suggestion.number, "complete", {9: suggestion.settings["height"]}))
    shares = suggestions.importances(study)
    assert set(shares) == {"height", "noise", "width"}
    assert max(shares, key=shares.get) == "height"


def test_a_journal_on_an_object_store_is_gone_on_with() -> None:
    folder = open_folder("memory://bucket/searches")
    study = optuna.create_study(storage=open_journal(folder, "a search"), study_name="s", direction="maximize")
    settings = [ask(study, climbs).settings for _ in range(3)]
    tell(study, Verdict(1, "stopped", {3: 0.2}))
    again = optuna.load_study(storage=open_journal(folder, "a search"), study_name="s")
    assert [trial.user_attrs["settings"] for trial in again.trials] == settings
    assert running(again) == [0, 2]
    tell(again, Verdict(0, "complete", {9: 0.5}))
    assert optuna.load_study(storage=open_journal(folder, "a search"), study_name="s").best_value == 0.5


def test_two_runs_cannot_add_to_one_journal() -> None:
    folder = open_folder("memory://bucket/two_runs")
    first, second = (open_journal(folder, "a search") for _ in range(2))
    study = optuna.create_study(storage=first, study_name="s")
    with pytest.raises(UserError, match="was added to by another run; this one stops"):
        optuna.create_study(storage=second, study_name="t")
    ask(study, climbs)
    assert [
        trial.number for trial in optuna.load_study(storage=open_journal(folder, "a search"), study_name="s").trials
    ] == [0]


def test_a_lock_that_an_interrupt_left_is_not_waited_for(journal: Path) -> None:
    study = opened(journal)
    (journal / "a search.journal.lock").touch()
    begun = time.monotonic()
    ask(study, climbs)
    assert time.monotonic() - begun < 5, "Optuna waits half a minute for its own"
