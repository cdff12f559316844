"""The ablation path: from hand-set to winner, the change that gains most alone first."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from affect.engine import path
from affect.engine.search import ResolvedSearch
from affect.resolved import Resolved
from affect.study import Row, Search
from tests.engine.engine_fakes import climbs


def test_the_path_makes_the_changes_one_after_another(resolve: Callable[..., Resolved]) -> None:
    declared = Search("ladder", climbs, together=(("lambda_0", "lambda_1"),))
    search = ResolvedSearch(resolve(Row("ladder")), declared, 1.0, total=4, seeds=1)
    usual = search.full_settings_of({})
    winner = {
        "learning_rate": 0.5,
        "lambda_0": 7.0,
        "lambda_1": usual["lambda_1"],
        "width": usual["width"],
        "epochs": 3,
    }
    factors = path.changes(search, winner)
    assert [each.settings for each in factors] == [
        {"learning_rate": 0.5},
        {"epochs": 3},
        {"lambda_0": 7.0, "lambda_1": usual["lambda_1"]},
    ], "what the winner leaves as it was is no factor, what belongs together is one"

    alone = path.alone(search, factors)
    assert [row.candidates for row in alone.rows] == [({},), *((each.settings,) for each in factors)]
    assert alone.seed_range.start == search.seeds + declared.refit_seeds, "fresh seeds"

    rate, epochs, lambdas = (each.label for each in factors)
    order = path.ordered(factors, {lambdas: 0.4, rate: 0.1})
    assert [each.label for each in order] == [lambdas, rate, epochs], "what diverged comes last"
    walk = path.walked(search, order)
    assert [row.name for row in walk.rows] == [path.HAND_SET, f"+ {lambdas}", f"+ {rate}", f"+ {epochs}"]
    made = [dict(row.candidates[0]) for row in walk.rows]
    assert made[1] == dict(order[0].settings)
    assert search.full_settings_of(made[-1]) == search.full_settings_of(winner)
    assert all(earlier.items() <= later.items() for earlier, later in pairwise(made))
