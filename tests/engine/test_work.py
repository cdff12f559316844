"""What a worker measures before packs are cut."""

from __future__ import annotations

import pytest

from affect.engine import work
from affect.engine.packs import GUESS, Measure
from affect.engine.work import LONGEST, Probe, measure
from affect.systems.base import Facts

STEPS = 100


class Timed:
    """Stands for a system by the seconds that a step of one replicate takes in packs of each size."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds = seconds

    def probe(self, settings: object, facts: object, device: str, largest: int) -> tuple[int, float]:
        size = min((size for size in self.seconds if size <= largest), key=lambda size: self.seconds[size])
        return size, self.seconds[size]

    def steps(self, settings: object, facts: object) -> int:
        return STEPS


def measured(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], largest: int = 32) -> Measure:
    monkeypatch.setattr(work, "get_system", lambda name: Timed(seconds))
    facts = Facts(width=1, targets=("emotion",), n_labelled=1, n_pool=1, n_development=1)
    return measure(Probe("timed", {}, facts, "cpu", largest))


@pytest.mark.parametrize(
    ("trial", "costs", "size"),
    [
        (1.0, {1: 3.0, 8: 1.2, 32: 1.0}, 32),  # seconds
        (LONGEST / 10, {1: 1.3, 8: 1.05, 32: 1.0}, 8),  # nearly as fast, and a crash costs less
        (LONGEST / 10, {1: 3.0, 8: 1.2, 32: 1.0}, 32),  # a GPU: a small pack would take twice the time of all
        (LONGEST / 10, {1: 1.05, 32: 1.0}, 1),
        (2 * LONGEST, {1: 1.0, 8: 1.5}, 1),  # nothing is shorter than one
        (2 * LONGEST, {1: 1.05, 8: 1.0}, 1),
    ],
)
def test_a_pack_is_no_longer_than_it_must(
    monkeypatch: pytest.MonkeyPatch, trial: float, costs: dict[int, float], size: int
) -> None:
    """`trial`: seconds of one in the fastest pack; `costs`: size to how many times that it takes."""
    found = measured(monkeypatch, {each: cost * trial / STEPS for each, cost in costs.items()})
    assert (found.size, found.seconds) == (size, pytest.approx(costs[size] * trial))


def test_a_probe_without_an_answer_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, {1: float("inf")}) == GUESS
