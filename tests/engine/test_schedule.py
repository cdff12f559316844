"""Which pack comes next, and how long a run will take."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace

import numpy as np
import pytest

from affect.engine.packs import Pack
from affect.engine.schedule import TRUST, forecast, next_pack, pace_of
from affect.trial import TaskSpec, Trial

TASK = TaskSpec("f" * 64, "main", ("emotion",), "accuracy", "as_published", 0.1)
TRIAL = Trial("toy", 1, "paper", {}, TASK, 0, "cpu")


def pack(trials: int, seconds: float) -> Pack:
    return Pack(tuple(replace(TRIAL, seed=seed) for seed in range(trials)), seconds)


def queue(*packs: tuple[int, float]) -> list[Pack]:
    return sorted((pack(*each) for each in packs), key=lambda each: -each.seconds)


@pytest.mark.parametrize(
    ("ended", "running", "waiting", "share", "left"),
    [
        (0, [], 100, 0, 100),
        (0, [(60, 30, 0)], 40, 0.3, 70),
        (0, [(60, 120, 0)], 40, 0.57, 43),  # overdue, so nearly over
        (0, [(60, 30, 0.25)], 40, 0.15, 85),
        (100, [(60, 30, 0), (60, 60, 0.8)], 0, (100 + 30 + 48) / 220, 42),
        (100, [], 0, 1, 0),
    ],
)
def test_a_forecast_counts_what_is_over_of_each_pack(
    ended: float, running: list[tuple[float, float, float]], waiting: float, share: float, left: float
) -> None:
    assert forecast(ended, running, waiting) == pytest.approx((share, left))


def test_what_packs_took_is_believed_the_more_there_is_of_it() -> None:
    """Two minutes in, half-way between what was expected and what was seen."""
    assert pace_of(0, 0) == 1
    assert pace_of(6, 1) == pytest.approx(1, abs=0.1)
    assert pace_of(TRUST, TRUST / 4) == pytest.approx(2)
    assert pace_of(TRUST / 4, TRUST) == pytest.approx(1 / 2)
    assert pace_of(1e6, 5e5) == pytest.approx(2, rel=1e-3)
    assert pace_of(600, 5) > 50, "a guess of half a second for what takes a minute is soon unlearned"


def seconds_of(pack: Pack) -> float:
    return pack.seconds


def chosen(waiting: list[Pack], slots: int, needed: float, left: float, pace: float = 1.0) -> float:
    found = next_pack(waiting, lambda pack: pack.seconds * pace, slots, needed, left)
    return math.nan if found is None else found.seconds


def test_the_longest_comes_first_where_all_is_certain_to_fit() -> None:
    waiting = queue((1, 300), (32, 60))
    assert chosen(waiting, 1, 360, left=361) == 300
    assert chosen(waiting, 1, 360, left=math.inf) == 300


def test_the_cheapest_trials_come_first_where_it_is_not() -> None:
    """Per trial: not the shortest pack."""
    waiting = queue((1, 300), (32, 60), (1, 50))
    assert chosen(waiting, 1, 410, left=400) == 60
    assert chosen(waiting, 1, 410 + 100, left=450) == 60, "for others are running or to come"
    assert chosen(waiting, 1, 410 * 1.3, left=500, pace=1.3) == 60, "for packs take longer than expected"
    assert chosen(waiting, 2, 410, left=400) == 300, "two share the work"
    assert chosen(waiting, 1, 205, left=250, pace=0.5) == 300, "they take less"


def test_nothing_begins_that_would_not_end_in_time() -> None:
    waiting = queue((1, 300), (32, 60))
    assert chosen(waiting, 1, 360, left=299) == 60
    assert math.isnan(chosen(waiting, 1, 360, left=59))
    assert math.isnan(chosen(waiting, 1, 720, left=119, pace=2.0))


def test_what_was_certain_to_fit_does_fit() -> None:
    """Workers that take the longest first end in time whenever the rule says so, whatever the packs."""
    generator, certain = np.random.default_rng(0), 0
    for _ in range(300):
        slots, lengths = int(generator.integers(1, 5)), generator.exponential(10, generator.integers(1, 12))
        waiting = queue(*((1, float(length)) for length in lengths))
        left = float(generator.uniform(0.8, 2.5)) * lengths.sum() / slots
        cheapest = replace(pack(100, 0.1), split_of="x")
        found = next_pack([*waiting, cheapest], seconds_of, slots, float(lengths.sum()) + 0.1, left)
        if found is waiting[0]:
            certain += 1
            workers = [0.0] * slots
            for each in waiting:
                heapq.heapreplace(workers, workers[0] + each.seconds)
            assert max(workers) <= left
    assert certain > 50
