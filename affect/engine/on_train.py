"""Packs on Ray Train: each has one or more workers, which share its batches and, on GPUs, hold one GPU each.

Starting a trainer takes many seconds, so one is started per slot and serves packs until the run ends, where `on_ray`
has a resident worker. An actor stands for it, and holds no CPU that its workers may wait for. The workers come to it
for work and bring it the results: what Train keeps of a report is never read. When a worker is lost, Train starts all
of that trainer's anew, and they go on from the last checkpoint.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
import traceback
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from affect.engine.executors import TRIES, Beat, Failure, attempt, attempt_measure
from affect.engine.on_ray import OnRay
from affect.engine.packs import Measure, Pack
from affect.engine.results import PackResult, Workplace
from affect.engine.scratch import Scratch
from affect.engine.work import Probe
from affect.errors import UserError
from affect.systems.base import Fitting
from affect.systems.shards import Shard

CHECKPOINT_SECONDS = 20.0
"""Training time between checkpoints; as many times longer as writing one takes more than a second."""
RESTARTS = 20
"""Restarts of its workers, and vain attempts at one, after which a trainer is replaced by a new one."""
LEAVE = 20.0
"""Seconds that idle trainers have to end by themselves."""
PATIENCE = 300
"""Seconds that a worker waits for the others in the middle of a step before it takes them for lost."""

QUIET = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Train looks after its workers closely and does nothing else."""


@dataclass(frozen=True)
class Crew:
    """The workers of one trainer."""

    device: str
    workers: int
    share: float
    """CPUs or GPUs of each."""
    seconds: float
    """See `CHECKPOINT_SECONDS`."""

    @property
    def resource(self) -> str:
        return "GPU" if self.device == "cuda" else "CPU"


class OnTrain(OnRay):
    """Trains packs with Ray Train."""

    def __init__(
        self,
        device: str,
        address: str | None = None,
        slots: int | None = None,
        *,
        workers: int = 1,
        share: float = 1.0,
        checkpoints: Path | None = None,
        seconds: float = CHECKPOINT_SECONDS,
        allow_open: bool = False,
    ) -> None:
        """`share`: CPUs or GPUs of a worker; `checkpoints`: a folder that all nodes see, by default a temporary one."""
        super().__init__(device, address, slots, each=workers * share, allow_open=allow_open)
        self.crew = Crew(device, workers, share, seconds)
        self._checkpoints = checkpoints
        self._scratch: Scratch | None = None

    def start(self, place: Workplace, beat: Beat) -> None:
        import ray

        if not ray.is_initialized():
            self._connect()
        has = ray.cluster_resources().get(self.crew.resource, 0)
        if has < self.each:
            raise UserError(
                f"--workers-per-trial {self.crew.workers}: one trial takes {self.each:g} {self.crew.resource}s, "
                f"and Ray has {has:g}."
            )
        if self._checkpoints is None and sum(node["Alive"] for node in ray.nodes()) > 1:
            raise UserError("--executor train: on several nodes name a folder that all of them see with --checkpoints.")
        self._scratch = self._scratch or Scratch(self._checkpoints)
        super().start(place, beat)

    def _worker(self) -> Any:
        import ray

        assert self._scratch is not None
        folder = str(self._scratch.path)
        return ray.remote(_Trainer).options(max_restarts=0, num_cpus=0).remote(self._place, self.crew, folder)

    def close(self) -> None:
        super().close()
        if self._scratch is not None and not self._standing:
            self._scratch.close()
            self._scratch = None

    def _let_go(self) -> None:
        import ray

        if self._idle:
            # A Ray that lives on would keep the workers' CPUs for a trainer that is killed.
            ray.wait([trainer.end.remote() for trainer in self._idle], num_returns=len(self._idle), timeout=LEAVE)
        super()._let_go()


class _Trainer:
    """What runs in the actor that stands for a trainer: one task at a time is posted, given out and answered."""

    def __init__(self, place: Workplace, crew: Crew, folder: str) -> None:
        import ray

        self._number = self._tries = 0
        self._task: Pack | Probe | None = None
        self._posted, self._arrived = asyncio.Event(), asyncio.Event()
        self._over, self._group = False, ""
        self._answer: asyncio.Future[Any] | None = None
        config = {"desk": ray.get_runtime_context().current_actor, "place": place, "crew": crew}
        self._thread = threading.Thread(target=_fit, args=(config, folder), daemon=True)
        self._thread.start()

    async def ready(self) -> None:
        """Ends when the workers are there."""
        await self._arrived.wait()

    async def train(self, pack: Pack) -> PackResult | Failure:
        return await self._ask(pack)

    async def measure(self, probe: Probe) -> Measure | Failure:
        return await self._ask(probe)

    async def _ask(self, task: Pack | Probe) -> Any:
        self._number, self._task, self._tries = self._number + 1, task, 0
        self._answer = asyncio.get_running_loop().create_future()
        self._posted.set()
        return await self._answer

    async def end(self) -> None:
        """Send the workers home, and wait until they are gone."""
        self._over = True
        self._posted.set()
        await asyncio.to_thread(self._thread.join)

    async def next(self, group: str) -> int | None:
        """Number of the next task, for the first worker of a `group`; None when there will be no more. A task that is
        given out again has cost a worker each time. A group that waits here ends with the coming of another."""
        self._group = group
        self._arrived.set()
        while True:
            await self._posted.wait()
            if self._over or group != self._group:
                return None
            self._tries += 1
            if self._tries <= TRIES:
                return self._number
            self._settle(Failure("error", f"worker lost ({TRIES} tries)"))

    async def task(self, number: int) -> Pack | Probe | None:
        """What to do; nothing where another worker has failed at it meanwhile."""
        return self._task if number == self._number else None

    async def answer(self, number: int, answer: Any) -> None:
        """Take an answer, unless there is one."""
        if number == self._number and self._posted.is_set():
            self._settle(answer)

    def _settle(self, answer: Any) -> None:
        assert self._answer is not None
        self._posted.clear()
        self._answer.set_result(answer)


def _fit(config: dict[str, Any], folder: str) -> None:
    """Run a trainer, whose checkpoints go to `folder`. If it fails, its actor goes with it: whoever waits for an answer
    learns that it is lost."""
    try:
        os.environ.update(QUIET)
        from ray import train
        from ray.train.torch import TorchTrainer

        from affect.engine.rendezvous import FileConfig

        crew: Crew = config["crew"]
        TorchTrainer(
            _serve,
            train_loop_config=config,
            torch_config=FileConfig(
                backend="nccl" if crew.device == "cuda" else "gloo", timeout_s=PATIENCE, folder=folder
            ),
            scaling_config=train.ScalingConfig(
                num_workers=crew.workers,
                use_gpu=crew.device == "cuda",
                resources_per_worker={crew.resource: crew.share},
            ),
            run_config=train.RunConfig(
                name=uuid.uuid4().hex,
                storage_path=folder,
                checkpoint_config=train.CheckpointConfig(num_to_keep=1),
                failure_config=train.FailureConfig(max_failures=RESTARTS, controller_failure_limit=RESTARTS),
            ),
        ).fit()
    except Exception:
        traceback.print_exc()
        os._exit(1)


def _serve(config: dict[str, Any]) -> None:
    """What runs in each worker of a trainer: all of them do the same tasks in step, each with its part of a batch."""
    import ray
    from ray import train
    from ray.train.collective import broadcast_from_rank_zero

    desk, place, crew = config["desk"], config["place"], config["crew"]
    context = train.get_context()
    shard = Shard(context.get_world_rank(), context.get_world_size())
    if crew.device == "cuda" and crew.share < 1:
        # Fractions of a GPU are no more than a count to Ray.
        torch.cuda.set_per_process_memory_fraction(crew.share)
    group = uuid.uuid4().hex
    while True:
        number = broadcast_from_rank_zero(ray.get(desk.next.remote(group)) if shard.rank == 0 else None)
        if number is None:
            return
        task = ray.get(desk.task.remote(number))
        if task is None:
            continue
        answer: Any
        if isinstance(task, Probe):
            answer = attempt_measure(task)
        else:
            answer = attempt(task, place, _Checkpoints(task, crew, shard), shard)
        failed = isinstance(answer, Failure)
        if failed or shard.rank == 0:
            ray.get(desk.answer.remote(number, answer))
        if failed and shard.size > 1:
            # It may have failed here alone, while the others wait for this worker.
            raise RuntimeError(answer.message)


class _Checkpoints:
    """Watches the training of a pack: resumes it where an earlier try has left it, and saves it from time to time."""

    def __init__(self, pack: Pack, crew: Crew, shard: Shard) -> None:
        self.file = f"{pack.id}.pt"
        self.crew, self.shard = crew, shard
        self.saved, self.pause = time.monotonic(), crew.seconds

    def __call__(self, fitting: Fitting) -> None:
        if fitting.epoch == 0:
            self._resume(fitting)
        elif fitting.epoch < fitting.epochs and self._due():
            self._save(fitting)

    def _resume(self, fitting: Fitting) -> None:
        from ray import train

        if checkpoint := train.get_checkpoint():
            with checkpoint.as_directory() as folder:
                if (path := Path(folder) / self.file).exists():  # and not of the pack before
                    fitting.restore(torch.load(path, map_location="cpu", weights_only=True))

    def _due(self) -> bool:
        """Whether it is time by the clock of any worker: they save together."""
        late = time.monotonic() - self.saved >= self.pause
        (due,) = self.shard.reduce(torch.tensor([float(late)], device=self.crew.device))
        return due.item() > 0

    def _save(self, fitting: Fitting) -> None:
        from ray import train

        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="affect-") as folder:
            if self.shard.rank == 0:
                torch.save(fitting.state(), Path(folder) / self.file)
            train.report({}, checkpoint=None if self.shard.rank else train.Checkpoint.from_directory(folder))
        self.saved = time.monotonic()
        self.pause = self.crew.seconds * max(1.0, self.saved - started)
