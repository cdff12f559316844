"""What the search lane does when something goes wrong: in a commit, in a worker, in the run before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from affect.engine import suggestions
from affect.engine.files import LocalFolder
from affect.engine.journal import open_journal
from affect.engine.results import Workplace
from affect.engine.search import ResolvedSearch
from affect.engine.tuning import WaveSearch, carry_on, fits, reconcile
from affect.engine.waves import WaveResult
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row, Search, Space
from affect.trial import Settings
from tests.engine.engine_fakes import climbs

DEADLY = 0.6
"""Heights above it kill their worker."""


def test_the_first_suggestion_is_the_hand_set_configuration(make: Callable[..., ResolvedSearch]) -> None:
    search = make(climbs, 5)
    assert search.hand_set() == {"height": 0.5, "noise": 0.1, "width": 4}
    study = optuna.create_study(direction="maximize")
    suggestions.begin(study, search.hand_set())
    suggestions.begin(study, {"height": 0.1})
    first, second = suggestions.ask(study, climbs), suggestions.ask(study, climbs)
    assert search.changed(first.settings) == []
    assert search.changed(second.settings) != [], "only a new study begins with anything"


def test_what_a_search_begins_with_is_never_stopped_whatever_becomes_of_its_run(
    make: Callable[..., ResolvedSearch],
) -> None:
    def low(trial: Any) -> Settings:
        return {"height": trial.suggest_float("height", 0.1, 0.3), "width": 4}  # nearly the hand-set height, .5

    search = make(low, 5)
    storage = optuna.storages.InMemoryStorage()
    suggestions.begin(
        optuna.create_study(storage=storage, study_name=search.name, direction="maximize"), search.hand_set()
    )
    waves = WaveSearch(search, storage, 1, 0, 0.0, [], None, lambda found: None, lambda study: None)
    asked = [suggestions.ask(waves.study, low) for _ in range(3)]
    assert waves._wave(asked).spared == {0}
    suggestions.requeue(waves.study, [2, 0])
    again = [suggestions.ask(waves.study, low) for _ in range(2)]
    assert [each.settings for each in again] == [asked[2].settings, asked[0].settings]
    assert waves._wave(again).spared == {4}, "under its new number"


def test_answers_under_other_names_and_outside_the_ranges(make: Callable[..., ResolvedSearch]) -> None:
    def low(trial: Any) -> Settings:
        share = trial.suggest_float("share", 0.1, 0.9)
        return {"height": share / 3, "noise": trial.suggest_float("noise", 0.2, 0.3, log=True)}

    search = make(low, 5)
    assert search.hand_set() == {"noise": 0.2}, "what cannot be known is left to chance"
    started = replace(search, declared=replace(search.declared, start=lambda s: {"share": 3 * s["height"] - 1}))
    assert started.hand_set() == {"share": 0.5, "noise": 0.2}


def test_the_answers_are_among_what_is_offered(make: Callable[..., ResolvedSearch]) -> None:
    def coarse(trial: Any) -> Settings:
        settings = {"height": trial.suggest_float("height", 0.0, 0.9, step=0.4)}
        if settings["height"] > 0.3:  # a branch that the lowest answers do not take
            settings["width"] = trial.suggest_categorical("width", (1, 3, 64))
        more = (trial.suggest_categorical("kind", (None, "some")), trial.suggest_int("epochs", 2, 7, step=2))
        return {**settings, "epochs": more[1]}

    assert make(coarse, 5).hand_set() == {"height": 0.4, "width": 3, "epochs": 6}


def perilous(trial: Any) -> Settings:
    settings = climbs(trial)
    return {**settings, "fault": "kill" if settings["height"] > DEADLY else "none"}


@pytest.fixture
def make(resolve: Callable[..., Resolved]) -> Callable[[Space, int], ResolvedSearch]:
    def make(space: Space, total: int) -> ResolvedSearch:
        return ResolvedSearch(resolve(Row("climb")), Search("climb", space, rungs=(3, 6), reduction=3), 1.0, total, 1)

    return make


def carried(search: ResolvedSearch, place: Workplace, work: Path, commit: Callable[[WaveResult], None]) -> optuna.Study:
    storage = open_journal(LocalFolder(work), search.name)
    return carry_on(search, storage, place, slots=1, seconds=None, stored={}, commit=commit, heard=lambda study: None)


@pytest.mark.ray
def test_rows_that_cannot_be_stored_end_a_search_at_once(
    make: Callable[..., ResolvedSearch], place: Workplace, ray_with_toys: None, tmp_path: Path
) -> None:
    tried: list[WaveResult] = []

    def refuse(found: WaveResult) -> None:
        tried.append(found)
        raise UserError("s3://here: was taken over by another run.")

    with pytest.raises(UserError, match="taken over"):
        carried(make(climbs, 12), place, tmp_path, refuse)
    assert len(tried) == 1, "no other wave was trained"


@pytest.mark.ray
def test_a_worker_that_dies_costs_no_suggestion(
    make: Callable[..., ResolvedSearch], place: Workplace, ray_with_toys: None, tmp_path: Path
) -> None:
    def once(trial: Any) -> Settings:
        return {**climbs(trial), "fault": "kill_once", "folder": str(tmp_path)}

    study = carried(make(once, 4), place, tmp_path / "searches", lambda found: None)
    assert (tmp_path / "killed").exists()
    assert suggestions.finished(study) == 4
    stale = [trial.params for trial in study.trials if trial.user_attrs.get("stale")]
    assert stale
    assert all(sum(trial.params == params for trial in study.trials) == 2 for params in stale)


@pytest.mark.ray
def test_a_deadly_suggestion_takes_none_of_its_wave_with_it(
    make: Callable[..., ResolvedSearch], place: Workplace, ray_with_toys: None, tmp_path: Path
) -> None:
    study = carried(make(perilous, 6), place, tmp_path, lambda found: None)
    assert suggestions.finished(study) == 6
    ended = [trial for trial in study.trials if not trial.user_attrs.get("stale")]
    failed = [trial.params["height"] > DEADLY for trial in ended if trial.state is TrialState.FAIL]
    assert failed
    assert all(failed)
    assert all(trial.params["height"] <= DEADLY for trial in ended if trial.state is not TrialState.FAIL)


def test_what_a_crash_left_is_told_from_its_rows_or_asked_anew(
    make: Callable[..., ResolvedSearch], tmp_path: Path
) -> None:
    search = make(climbs, 9)
    study = optuna.create_study(storage=open_journal(LocalFolder(tmp_path), "s"), study_name="s", direction="maximize")
    asked = [suggestions.ask(study, climbs) for _ in range(7)]
    study.ask()  # killed before it was known what it sets
    reached = {0: (3, 6, 9), 1: (3,), 2: (3,), 3: (), 4: (3, 6), 5: (3, 6, 9), 6: ()}
    for number, epochs in reached.items():
        for epoch in epochs:
            suggestions.report(study, number, epoch, 0.1 * epoch)
    ids = [frozenset(trial.id for trial in search.trials_of(each.settings)) for each in asked]
    stored = {
        0: ("complete", ids[0]),
        1: ("stopped", ids[1]),
        2: ("diverged", ids[2]),
        3: ("diverged", ids[3]),
        4: ("complete", ids[4]),  # its last value was not heard of
        5: ("complete", ids[0]),  # rows of others, under a number that was given twice
    }
    reconcile(study, search, stored)

    trials = study.trials
    told = {number: trials[number].state for number in range(4)}
    assert told == {0: TrialState.COMPLETE, 1: TrialState.PRUNED, 2: TrialState.FAIL, 3: TrialState.FAIL}
    assert trials[0].value == pytest.approx(0.9)
    # One that diverged did so on the way to the next rung, as a run that is not interrupted finds.
    assert [trials[number].user_attrs["epochs"] for number in range(4)] == [9, 3, 6, 3]
    assert all(trials[number].user_attrs.get("stale") for number in (4, 5, 6, 7))
    assert suggestions.running(study) == []
    assert [suggestions.ask(study, climbs).settings for _ in range(3)] == [asked[n].settings for n in (4, 5, 6)]


def test_a_wave_that_would_not_end_in_time_is_not_begun() -> None:
    assert fits([], time.monotonic() + 1)
    assert fits([5.0, 1.0], time.monotonic() + 6)
    assert not fits([1.0, 5.0], time.monotonic() + 4)


def test_the_last_suggestions_are_shared_out_among_the_workers(make: Callable[..., ResolvedSearch]) -> None:
    search = make(climbs, 100)
    waves, left = [], 100
    while left:
        waves.append(search.next_wave(2, left))
        left -= waves[-1]
    assert search.wave(2) == 7
    control = replace(search, steps=search.steps_of({}, search.epochs) * 25)
    assert [control.next_wave(2, left) for left in (25, 5, 2, 1)] == [2, 2, 1, 1]
    assert waves == [7] * 13 + [5, 3, 1]
