"""How far a study is, told from its results alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from affect.engine.executors import Inline
from affect.engine.plan import plan
from affect.engine.results import Workplace
from affect.engine.run import run
from affect.engine.status import pace, show, standing
from affect.engine.store import Store
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row
from tests.engine.helpers import GRID, Silent, another_run

Resolve = Callable[..., Resolved]


@pytest.fixture
def half_done(resolve: Resolve, place: Workplace, tmp_path: Path) -> tuple[Resolved, Store]:
    """Results of a study that was run with one of its systems and one of its seeds, and is wanted with more."""
    store = Store(str(tmp_path), "trial_study")
    with store.locked():
        faults = Row("other", ({"fault": "diverge"}, {"fault": "error"}))
        run(resolve(Row("toy"), faults, seeds=1), store, Inline(), place, Silent())
        wanted = resolve(Row("toy"), faults, Row("fixed", floor=True), seeds=2)
        store.save_request(wanted)
    return wanted, store


def test_trials_by_what_became_of_them(half_done: tuple[Resolved, Store]) -> None:
    wanted, store = half_done
    at = standing(wanted, store.trials(), pace(store.trials(), store.finished()))
    assert (at.complete, at.diverged, at.failed) == (1, 1, 1)
    assert at.complete + at.diverged + at.failed + at.open == at.planned == len(plan(wanted, store.rows()).trials)
    assert at.waiting == plan(wanted, store.rows()).waiting > 0
    assert {(best.target, best.system, best.seeds, best.of, best.lacking) for best in at.best} == {
        (target, "", 0, 2, ("other",)) for target in wanted.study.targets
    }


def test_what_is_shown(half_done: tuple[Resolved, Store], tmp_path: Path) -> None:
    _, store = half_done

    def shown() -> str:
        console = Console(record=True, width=150)
        show(Store.at(str(store.folder)), console)
        return console.export_text()

    assert "no run is adding to it now" in shown()
    assert re.search(r"none yet: no seed of other +\W +\W +0 of 2", shown())
    assert "trials a minute" not in shown()
    with another_run(tmp_path, "trial_study"):
        assert "a run is adding to it now" in shown()
        assert "trials a minute" in shown()


def test_systems_are_compared_on_the_seeds_that_all_of_them_have(
    resolve: Resolve, place: Workplace, tmp_path: Path
) -> None:
    """One has a seed more, which would make it the leader; another draws nothing, so its only seed is all seeds."""
    rows = Row("toy"), Row("other"), Row("fixed"), Row("toy", ({"fault": "diverge"},), label="lost")
    resolved, store = resolve(*rows, seeds=3), Store(str(tmp_path), "trial_study")
    with store.locked():
        run(resolve(*rows, seeds=2), store, Inline(), place, Silent())
        run(resolve(rows[0], seeds=3), store, Inline(), place, Silent())
    trials = store.trials()

    def value(system: str, seed: int, number: float) -> None:
        trials.loc[(trials["system"] == system) & (trials["seed"] == seed) & trials["value"].notna(), "value"] = number

    for seed, toy, other in ((0, 0.3, 0.4), (1, 0.3, 0.4), (2, 0.9, 0.0)):
        value("toy", seed, toy)
        value("other", seed, other)
    value("fixed", 0, 0.35)
    best = standing(resolved, trials, None).best
    assert {(b.system, b.seeds, b.of) for b in best} == {("other", 2, 3)}
    assert all(b.value == pytest.approx(0.4) for b in best)
    assert {b.target for b in best} == set(resolved.study.targets)


def test_a_finished_study_has_nothing_left(resolve: Resolve, place: Workplace, tmp_path: Path) -> None:
    resolved, store = resolve(Row("toy", GRID)), Store(str(tmp_path), "trial_study")
    with store.locked():
        run(resolved, store, Inline(), place, Silent())
    at = standing(resolved, store.trials(), pace(store.trials(), store.finished()))
    assert (at.open, at.failed, at.waiting, at.seconds_left) == (0, 0, 0, 0.0)
    assert at.planned == at.complete


def test_the_time_left_follows_costs_and_workers() -> None:
    trials = pd.DataFrame(
        {
            "trial": ["a", "b", "c", "d"],
            "pack": ["p", "p", "q", "r"],
            "system": ["slow", "slow", "slow", "fast"],
            "wall_seconds": [60.0, 60.0, 60.0, 2.0],
            "pack_size": [2, 2, 1, 1],
        }
    )
    found = pace(trials, pd.Series({"p": 1000.0, "q": 1000.0, "r": 942.0}))
    assert found is not None
    assert found.seconds == {"slow": 40.0, "fast": 2.0}
    assert found.workers == pytest.approx(122 / 60)
    assert found.trials_per_minute == pytest.approx(4.0)
    assert pace(trials.iloc[:0], pd.Series(dtype=float)) is None


def test_results_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results here"):
        Store.at(str(tmp_path))
