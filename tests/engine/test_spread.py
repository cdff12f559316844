"""Work spread on Ray's workers: what comes back, who is retried, what is given up."""

from __future__ import annotations

import io
import os
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from affect.engine import spread
from affect.engine.spread import TRIES, Items, on_ray
from affect.errors import UserError


def test_the_time_left_is_told():
    assert str(Items("clips", 0, 40, 3.0)) == "0 of 40 clips"
    assert str(Items("clips", 10, 40, 60.0)) == "10 of 40 clips, about 3 min left"
    assert str(Items("clips", 40, 40, 60.0)) == "40 of 40 clips"
    assert Items("clips", 10, 40, 60.0).share == 0.25


def test_no_items_start_no_ray(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", pytest.fail)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert list(on_ray(str, [], "clips", Console(file=io.StringIO()))) == []


def double(folder: Path, item: int) -> int:
    """Twice the item. 13 kills its worker, 20 does so once, 99 is refused."""
    with (folder / str(item)).open("a") as log:
        log.write("x")
    if item == 13 or (item == 20 and (folder / "20").stat().st_size == 1):
        os._exit(1)
    if item == 99:
        raise UserError("99: is too many.")
    return 2 * item


@pytest.mark.ray
def test_a_dying_worker_costs_a_retry(tmp_path, monkeypatch):
    from affect.engine.on_ray import OnRay  # Workers import this module: without torch they start sooner.

    monkeypatch.setattr(spread, "STILLBORN", 2)
    out = io.StringIO()
    doubled = partial(on_ray, what="clips", console=Console(file=out, width=100), slots=2)
    with OnRay("cpu", slots=2).connected():
        found = list(doubled(partial(double, tmp_path), range(64)))
        assert Counter(found) == Counter(2 * item for item in range(64) if item != 13)
        assert (tmp_path / "13").stat().st_size == TRIES
        assert "64 of 64 clips" in out.getvalue()
        with pytest.raises(UserError, match=r"^99: is too many\.$"):
            list(doubled(partial(double, tmp_path), [1, 99, 2]))
        with pytest.raises(UserError, match="Ray's workers end before they have done anything"):
            list(doubled(partial(double, tmp_path), [13] * 3))
