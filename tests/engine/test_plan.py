from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from affect.engine.plan import Plan, plan
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row
from affect.trial import TaskSpec, Trial
from tests.engine.helpers import GRID, NO_ROWS

Resolve = Callable[..., Resolved]


def rows_of(values: list[tuple[Trial, str, float | None]], status: str = "complete") -> pd.DataFrame:
    return pd.DataFrame(
        [(trial.id, p, target, v, status) for trial, target, v in values for p in ("development", "test")],
        columns=NO_ROWS.columns,
    )


def settle(wanted: Plan, score: Callable[[Trial, str], float], status: str = "complete") -> pd.DataFrame:
    return rows_of([(t, target, score(t, target)) for t in wanted.pending for target in t.task.targets], status)


def test_one_candidate_is_refitted_at_once(resolve: Resolve) -> None:
    wanted = plan(resolve(Row("toy"), Row("other"), seeds=3), NO_ROWS)
    assert len(wanted.trials) == len(wanted.pending) == 6
    assert set(wanted.finals) == {(s, 1.0, t) for s in ("toy", "other") for t in ("arousal", "valence", "dominance")}
    assert [t.seed for t in wanted.finals["toy", 1.0, "valence"]] == [0, 1, 2]
    assert wanted.waiting == 0


def test_what_a_study_sets_for_a_corpus_may_be_for_one_protocol(resolve: Resolve) -> None:
    resolved = resolve(Row("toy"), seeds=1)
    own = {"tiny": {"noise": 0.1}, "tiny+leak_free": {"noise": 0.2}, "other": {"noise": 0.3}}
    resolved = replace(resolved, study=replace(resolved.study, settings=own))
    for protocol, noise in (("as_published", 0.1), ("leak_free", 0.2)):
        (trial,) = plan(replace(resolved, protocol=protocol), NO_ROWS).trials
        assert trial.settings["noise"] == noise


def test_candidates_are_compared_first_and_the_best_per_target_is_refitted(resolve: Resolve) -> None:
    resolved = resolve(Row("toy", GRID), seeds=5, selection_seeds=2)
    first = plan(resolved, NO_ROWS)
    assert len(first.trials) == 2 * len(GRID)
    assert not first.finals
    assert first.waiting == 3 * (5 - 2)

    def score(trial: Trial, target: str) -> float:
        return trial.settings["alpha"] if target == "arousal" else -trial.settings["alpha"] + trial.seed

    rows = settle(first, score)
    alone = next(t for t in first.trials if t.settings["alpha"] + t.settings["beta"] == 0)
    partly = plan(resolved, rows[rows["trial"] != alone.id])
    assert set(partly.finals) == {("toy", 1.0, t) for t in ("arousal", "valence")}, "0,0 scores dominance alone"
    second = plan(resolved, rows)
    assert {t.settings["alpha"] for t in second.finals["toy", 1.0, "arousal"]} == {1.0}
    assert {t.settings["alpha"] for t in second.finals["toy", 1.0, "valence"]} == {0.0}
    assert second.waiting == 0
    assert not {t.id for t in second.pending} & {t.id for t in first.trials}, "trials of the choice are reused"
    done = plan(resolved, pd.concat([rows, settle(second, score)]))
    assert not done.pending
    assert done.finals == second.finals


def test_the_first_declared_wins_a_tie_and_diverged_loses(resolve: Resolve) -> None:
    resolved = resolve(Row("toy", ({"noise": 0.1}, {"noise": 0.2}, {"noise": 0.3})))
    first = plan(resolved, NO_ROWS)
    a, b, c = first.trials
    targets = a.task.targets
    rows = pd.concat(
        [
            rows_of([(a, t, None) for t in targets], "diverged"),
            rows_of([(trial, t, 0.5) for trial in (b, c) for t in targets]),
        ]
    )
    assert plan(resolved, rows).finals["toy", 1.0, "arousal"][0].settings["noise"] == 0.2
    nothing = rows_of([(trial, t, None) for trial in (a, b, c) for t in targets], "diverged")
    assert plan(resolved, nothing).finals["toy", 1.0, "arousal"][0].settings["noise"] == 0.1


def test_only_settled_rows_satisfy_a_plan(resolve: Resolve) -> None:
    resolved = resolve(Row("toy"))
    first = plan(resolved, NO_ROWS)
    assert plan(resolved, settle(first, lambda *_: 0.1, "failed")).pending == first.pending
    assert not plan(resolved, settle(first, lambda *_: 0.1, "diverged")).pending


def test_overrides_win_and_candidates_that_coincide_are_one(resolve: Resolve) -> None:
    wanted = plan(resolve(Row("toy", GRID), overrides={"alpha": 0.25, "beta": 0.25}), NO_ROWS)
    assert len({t.cell for t in wanted.trials}) == 1
    assert wanted.waiting == 0


def test_candidates_that_contradict_an_override_are_left_out(resolve: Resolve) -> None:
    wanted = plan(resolve(Row("toy", GRID), overrides={"alpha": 0.5}), NO_ROWS)
    assert sorted({t.settings["beta"] for t in wanted.trials}) == [0.0, 0.5]
    with pytest.raises(UserError, match="exceed 1"):
        plan(resolve(Row("toy", GRID), overrides={"alpha": 0.9, "beta": 0.9}), NO_ROWS)


def test_unseeded_systems_need_one_seed_with_all_labels(resolve: Resolve) -> None:
    wanted = plan(resolve(Row("fixed"), seeds=4, fractions=(1.0, 0.5)), NO_ROWS)
    assert wanted.expected["fixed", 1.0, "arousal"] == (0,)
    assert wanted.expected["fixed", 0.5, "arousal"] == (0, 1, 2, 3)
    assert len(wanted.trials) == 5


def test_planning_changes_nothing_and_is_repeatable(resolve: Resolve) -> None:
    resolved = resolve(Row("toy", GRID), Row("other"))
    rows = settle(plan(resolved, NO_ROWS), lambda *_: 0.1)
    before = rows.copy()
    assert plan(resolved, rows) == plan(resolved, rows)
    pd.testing.assert_frame_equal(rows, before)
    as_stored = rows.astype({"trial": "category", "status": "category", "partition": "category"})
    assert plan(resolved, as_stored) == plan(resolved, rows)


def test_ids_name_everything_that_determines_a_result() -> None:
    task = TaskSpec("f" * 64, "main", ("a", "b"), "ccc", "as_published", 0.1)
    trial = Trial("toy", 1, "paper", {"x": 0.1, "n": 3}, task, 0, "cpu")
    changed = [
        replace(trial, system="other"),
        replace(trial, version=2),
        replace(trial, preset="author_code"),
        replace(trial, settings={"x": 0.1, "n": 4}),
        replace(trial, seed=1),
        replace(trial, device="cuda"),
        *(
            replace(trial, task=replace(task, **change))
            for change in (
                {"corpus": "0" * 64},
                {"view": "lld"},
                {"targets": ("b", "a")},
                {"metric": "accuracy"},
                {"protocol": "leak_free"},
                {"label_fraction": 0.2},
                {"fold": 1},
                {"selection": "last"},
                {"transductive": True},
            )
        ),
    ]
    assert len({t.id for t in (trial, *changed)}) == len(changed) + 1
    assert trial.id == replace(trial, settings={"n": 3, "x": 0.1}).id
    assert [t.id for t in trial.with_seeds([0, 1])] == [trial.id, replace(trial, seed=1).id]
    assert trial.id[:12] == "89042196ec82", "ids must not change: stored results would be lost"


def test_ids_of_large_plans_are_distinct(resolve: Resolve) -> None:
    candidates = tuple({"noise": i / 100} for i in range(50))
    resolved = resolve(Row("toy", candidates), Row("other", candidates), seeds=100, selection_seeds=100)
    wanted = plan(resolved, NO_ROWS)
    assert len(wanted.trials) == len({t.id for t in wanted.trials}) == 10_000
