"""Batches shared by workers: the same losses and gradients as by one alone, however many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from affect.systems.shards import ALONE, Severed, Shard
from tests.systems import sharded

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without its distributed part")


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    threads = torch.get_num_threads()
    found = sharded.everything(ALONE)
    torch.set_num_threads(threads)
    return found


@pytest.fixture(scope="module", params=[2, 3])
def workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(sharded.work, (request.param, str(folder)), nprocs=request.param)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


@pytest.mark.parametrize("size", sharded.BATCHES)
@pytest.mark.parametrize("name", sharded.NAMES)
def test_the_first_ten_steps_have_the_same_losses(alone: Any, workers: Any, name: str, size: int) -> None:
    want, _ = alone[f"{name} {size}"]
    parameters = [worker[f"{name} {size}"][1] for worker in workers]
    for worker, own in zip(workers, parameters, strict=True):
        torch.testing.assert_close(worker[f"{name} {size}"][0], want, rtol=1e-5, atol=0)
        torch.testing.assert_close(own, parameters[0], rtol=0, atol=0)


@pytest.mark.parametrize("update", [*sharded.UPDATES, *sharded.GENERATIVE])
def test_losses_and_gradients_in_double_precision(alone: Any, workers: Any, update: str) -> None:
    for worker in workers:
        torch.testing.assert_close(worker[update], alone[update], rtol=1e-10, atol=1e-12)


def test_a_worker_that_leaves_is_told_from_a_mistake(workers: Any) -> None:
    assert ["severed" in worker for worker in workers] == [True] * (len(workers) - 1) + [False]


def test_a_group_that_was_ended_is_no_mistake_of_a_worker_in_it() -> None:
    with pytest.raises(Severed, match="group"):
        Shard(0, 2).reduce(torch.zeros(1))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_row_is_held_by_one_worker(size: int) -> None:
    for n in (0, 5, 7, 64):
        cuts = [Shard(rank, size).rows(n) for rank in range(size)]
        assert [row for cut in cuts for row in range(n)[cut]] == list(range(n))
        lengths = [cut.stop - cut.start for cut in cuts]
        assert max(lengths) - min(lengths) <= 1
