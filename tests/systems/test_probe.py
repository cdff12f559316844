"""Pack sizes from measured times: the best throughput wins, a single bad reading does not."""

from __future__ import annotations

import pytest

from affect.systems import get_system, probe
from affect.systems.base import Facts, resolve_settings

FACTS = Facts(8, ("arousal", "valence", "dominance"), n_labelled=64, n_pool=64, n_development=16, widths=(8,))


def chosen(monkeypatch: pytest.MonkeyPatch, each: dict[int, float], largest: int = 64) -> tuple[int, list[int]]:
    """Size chosen where a replicate takes `each` seconds per step in packs of a size, and the sizes that were tried."""
    tried: list[int] = []

    def timed(network, data, scalars, batch_size, device, size) -> float:
        tried.append(size)
        return size * each[size]

    monkeypatch.setattr(probe, "_seconds_per_step", timed)
    system = get_system("MTL")
    size, seconds = system.probe(resolve_settings(system, "paper", {"width": 4}), FACTS, "cpu", largest)
    assert seconds == each[size]
    return size, tried


def test_the_best_throughput_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, {1: 1.0, 2: 0.6, 4: 0.5, 8: 0.5, 16: 0.5}) == (4, [1, 2, 4, 8, 16])


def test_one_slow_reading_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, {1: 1.0, 2: 1.4, 4: 0.5, 8: 0.6, 16: 0.7})[0] == 4


def test_no_pack_is_larger_than_asked_for_or_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    each = {1: 1.0, 2: 0.5, 4: 0.25}
    assert chosen(monkeypatch, each, largest=3) == (2, [1, 2])
    monkeypatch.setattr(probe, "memory_budget", lambda device: 0)
    assert chosen(monkeypatch, each, largest=4) == (1, [1])
