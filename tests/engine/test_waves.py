"""Waves: who is stopped, what is stored of them, and what it takes for a wave to survive one bad suggestion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from affect.engine.packs import Pack
from affect.engine.path import changes
from affect.engine.plan import plan
from affect.engine.results import Workplace
from affect.engine.search import ResolvedSearch, outline
from affect.engine.waves import Wave, promoted, run_wave
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row, Search
from tests.engine.engine_fakes import climbs
from tests.engine.helpers import NO_ROWS

RUNGS = (3, 6)


@pytest.fixture
def search(resolve: Callable[..., Resolved]) -> ResolvedSearch:
    return ResolvedSearch(resolve(Row("climb")), Search("climb", climbs, rungs=RUNGS, reduction=3), 1.0, 10, 2)


def make_wave(
    search: ResolvedSearch, *settings: dict[str, float | str], records: dict[int, list[float]] | None = None
) -> Wave:
    members = {number: search.trials_of(each) for number, each in enumerate(settings)}
    return Wave("a search", members, RUNGS, 3, records or {})


def test_the_best_third_goes_on_and_at_least_one() -> None:
    values = {n: float(n) for n in range(9)}
    assert promoted(values, (), 3) == {6, 7, 8}
    assert promoted(values, [10.0] * 9, 3) == set()
    assert promoted(values, [-1.0] * 9, 3) == {3, 4, 5, 6, 7, 8}
    assert promoted({4: 0.1, 5: 0.1}, (), 3) == {4, 5}
    assert promoted({7: -1.0}, (), 3) == {7}
    assert promoted({}, (), 3) == set()


def test_each_suggestion_is_judged_by_itself(search: ResolvedSearch, place: Workplace) -> None:
    heights = (0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.99, 0.6, 0.5)
    wave = make_wave(search, *({"height": h, "width": 4 + 4 * (k % 2)} for k, h in enumerate(heights)))
    seen = []
    (found,) = run_wave(wave, place, lambda rung, values: seen.append((rung, set(values))))
    status = {verdict.number: verdict.status for verdict in found.verdicts}
    assert status[7] == "diverged"
    # Nine come to the first rung, three go on to the second, one to the end.
    assert {n for n, s in status.items() if s == "complete"} == {1}
    assert seen == [(3, set(range(10)) - {7}), (6, {1, 3, 5}), (9, {1})]
    values = {verdict.number: verdict.values for verdict in found.verdicts}
    assert values[1] == pytest.approx({3: 0.3, 6: 0.6, 9: 0.9})
    assert values[3] == pytest.approx({3: 0.8 / 3, 6: 1.6 / 3})
    assert values[0] == pytest.approx({3: 0.1 / 3})

    rows = found.result.trials.to_pandas()
    assert (rows["search"] == "a search").all()
    trials = rows.drop_duplicates("trial").set_index("suggestion")
    assert (trials.groupby("suggestion").size() == 2).all()
    assert dict(zip(trials.index, trials["status"], strict=True)) == status
    whole = set(rows.loc[rows["status"] == "complete", "partition"])
    assert whole == {"train", "development", "test"}
    assert set(rows.loc[rows["status"] == "stopped", "partition"]) == {"development"}
    assert rows.loc[rows["status"] == "stopped", "value"].notna().all()
    tested = found.result.predictions.to_pandas()["trial"].astype(str).unique()
    assert set(tested) == set(rows.loc[rows["status"] == "complete", "trial"])


def test_records_of_other_waves_count(search: ResolvedSearch, place: Workplace) -> None:
    wave = make_wave(search, {"height": 0.5}, {"height": 0.6}, records={3: [0.3] * 10})
    (found,) = run_wave(wave, place, lambda rung, values: None)
    assert {verdict.status for verdict in found.verdicts} == {"stopped"}


def test_one_that_is_spared_is_compared_and_never_stopped(search: ResolvedSearch, place: Workplace) -> None:
    heights = (0.1, 0.9, 0.2, 0.3)
    wave = replace(make_wave(search, *({"height": height} for height in heights)), spared=frozenset({0}))
    (found,) = run_wave(wave, place, lambda rung, values: None)
    verdicts = {verdict.number: verdict for verdict in found.verdicts}
    assert {n: v.status for n, v in verdicts.items()} == {0: "complete", 1: "complete", 2: "stopped", 3: "stopped"}
    assert verdicts[0].values == pytest.approx({3: 0.1 / 3, 6: 0.2 / 3, 9: 0.1})
    worse = replace(make_wave(search, {"height": 0.5}, {"height": 0.4}, {"height": 0.3}), spared=frozenset({0}))
    (found,) = run_wave(worse, place, lambda rung, values: None)
    assert [v.status for v in found.verdicts] == ["complete", "stopped", "stopped"], "its own value counts at rungs"


def test_what_was_stopped_does_not_satisfy_a_plan(search: ResolvedSearch, place: Workplace) -> None:
    settings = [{"height": h} for h in (0.9, 0.5, 0.1)]
    (found,) = run_wave(make_wave(search, *settings), place, lambda rung, values: None)
    rows = found.result.trials.to_pandas()
    candidates = tuple(Row("climb", (each,), label=str(each)) for each in settings)
    wanted = plan(
        Resolved(**{**search.resolved.__dict__, "rows": candidates, "seeds": 2}),
        rows[list(NO_ROWS.columns)],
    )
    assert {trial.settings["height"] for trial in wanted.pending} == {0.5, 0.1}


def test_one_that_fails_takes_no_other_with_it(search: ResolvedSearch, place: Workplace) -> None:
    wave = make_wave(search, {"height": 0.5}, {"height": 0.6, "fault": "error"}, {"height": 0.7})
    found = run_wave(wave, place, lambda rung, values: None)
    verdicts = {verdict.number: verdict for each in found for verdict in each.verdicts}
    assert {number: verdict.status for number, verdict in verdicts.items()} == {
        0: "complete",
        1: "failed",
        2: "complete",
    }
    assert verdicts[1].message == "ArithmeticError: this never works"
    assert [each.result is None for each in found] == [False, True, False]


def test_a_mistake_of_the_user_is_blamed_on_no_suggestion(search: ResolvedSearch, place: Workplace) -> None:
    with pytest.raises(UserError, match="row 3"):
        run_wave(make_wave(search, {"height": 0.5}, {"fault": "mistake"}), place, lambda rung, values: None)


def test_a_wave_never_takes_the_place_of_a_finished_pack(search: ResolvedSearch, place: Workplace) -> None:
    (found,) = run_wave(make_wave(search, {"height": 0.5}), place, lambda rung, values: None)
    assert found.pack.id != Pack(found.pack.trials).id


def test_the_budget_of_a_control_is_steps(search: ResolvedSearch) -> None:
    control = replace(search, steps=100)
    assert control.control
    assert control.rungs == ()
    assert control.name != search.name
    assert replace(search, declared=replace(search.declared, rungs=(3, 9, 40))).rungs == (3,)


def test_a_search_is_known_by_what_it_asks_for(search: ResolvedSearch) -> None:
    def wider(trial):
        return {**climbs(trial), "height": trial.suggest_float("height", 0.0, 0.9)}

    assert outline(climbs)[1] == {"height", "noise", "width"}
    assert replace(search, declared=replace(search.declared, space=wider)).name != search.name
    assert replace(search, total=99).name == search.name
    assert replace(search, seeds=3).name != search.name


def test_a_path_knows_settings_that_only_one_end_has(search: ResolvedSearch) -> None:
    late = replace(search, declared=Search("late", climbs))
    assert [change.settings for change in changes(late, {"pool": 0.5, "height": 0.5})] == [{"pool": 0.5}]
    back = replace(late, resolved=replace(late.resolved, overrides={}))
    assert changes(back, {"pool": 1.0}) == []


def test_a_target_without_weight_counts_as_nothing(search: ResolvedSearch) -> None:
    from affect.engine.waves import _values

    class Fitting:
        def best(self) -> np.ndarray:
            return np.array([[0.6, np.nan, 0.6], [np.nan, np.nan, np.nan]])

    wave = make_wave(search, {"height": 0.5}, {"height": 0.6})
    alone = Wave("a search", {n: trials[:1] for n, trials in wave.members.items()}, RUNGS, 3)
    values = _values(alone, [(tuple(trial.id for trial in alone.trials), Fitting())])
    assert values[0] == pytest.approx(0.4)
    assert np.isnan(values[1])
