"""Packs on Ray: resident actors, one per CPU share or GPU, on this machine or on a cluster.

A call on a resident actor costs a third of a millisecond, where an actor per trial costs over a second. Errors travel
as values, so a Ray exception means that a worker is gone.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from affect.console import heed_termination
from affect.engine import job, loopback
from affect.engine.executors import (
    TRIES,
    Beat,
    Failure,
    Outcome,
    attempt,
    attempt_measure,
    local_slots,
    settled_measure,
)
from affect.engine.packs import Measure, Pack
from affect.engine.provenance import ROOT, SOURCES
from affect.engine.results import PackResult, Workplace
from affect.engine.work import Probe
from affect.errors import UserError

LOCAL_STORE_BYTES = 512 * 1024**2
"""Object store of a local Ray: only results pass through it. (A quarter of the machine would be taken otherwise.)"""
PATIENCE, LATECOMERS = 600.0, 120.0
"""Seconds to wait for the first worker of all before asking whether there will ever be one, and for the others."""
SILENCE = 20.0
"""Seconds of waiting for a worker after which a run says so."""
STILLBORN = 5
"""Workers in a row that end while starting before a run is given up that has no others."""


class _Gone(Failure):
    """A failure that took its worker with it."""


class _Worker:
    """What runs in an actor."""

    def __init__(self, place: Workplace) -> None:
        self.place = place

    def ready(self) -> None:
        return None

    def train(self, pack: Pack) -> PackResult | Failure:
        return attempt(pack, self.place, lambda fitting: None)

    def measure(self, probe: Probe) -> Measure | Failure:
        return attempt_measure(probe)


class OnRay:
    """Trains packs on Ray. Without an address (or RAY_ADDRESS) a Ray of its own is started, on loopback only."""

    def __init__(
        self,
        device: str,
        address: str | None = None,
        slots: int | None = None,
        *,
        each: float = 1.0,
        allow_open: bool = False,
    ) -> None:
        """`each`: CPUs or GPUs that a slot takes. `allow_open`: join a cluster although it asks for no token."""
        self.device, self.each = device, each
        self.slots = slots or max(1, int(local_slots(device) / each))
        self._fixed_slots = slots is not None
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._allow_open = allow_open
        self._place: Workplace | None = None
        self._beat: Beat = lambda share: None
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Pack]] = {}
        self._arrived: list[Outcome] = []
        self._stillborn = 0
        self._started_ray = self._standing = False
        loopback.prepare(self._address)

    def start(self, place: Workplace, beat: Beat) -> None:
        import ray

        if not ray.is_initialized():
            self._connect()
        if place != self._place:
            self._let_go()
        self._place, self._beat = place, beat
        for _ in range(self.slots - len(self._idle) - len(self._starting)):
            self._hire()

    def _connect(self) -> None:
        import ray

        # Ray changes how workers see GPUs in a coming release and warns of it on every start without one.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address:
            self._join(self._address, quiet)
            if not self._fixed_slots:
                has = ray.cluster_resources().get("GPU" if self.device == "cuda" else "CPU", 1)
                self.slots = max(1, int(has / self.each))
        else:
            ray.init(
                address="local",
                num_cpus=max(math.ceil(self.slots * self.each), local_slots("cpu")),
                include_dashboard=False,
                object_store_memory=LOCAL_STORE_BYTES,
                **quiet,
            )
        heed_termination()
        self._started_ray = True

    def _join(self, address: str, quiet: dict[str, Any]) -> None:
        import ray

        in_job = job.metadata() is not None
        try:
            ray.init(address=address, runtime_env={} if in_job else _our_code(), **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.AuthenticationError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"--address {address}: joining Ray failed ({reason}); where tokens are used, set RAY_AUTH_MODE=token."
            ) from None
        if in_job or self._allow_open:  # Whoever submitted a job has chosen its cluster.
            return
        try:
            if loopback.is_open(ray.get_runtime_context().gcs_address):
                raise loopback.open_to_all(address)
        except UserError:
            ray.shutdown()
            raise

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Keep the workers for several runs: they take seconds to start. Meanwhile nobody else has their cores."""
        self._standing = True
        try:
            yield
        finally:
            self._standing = False
            self.close()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Keep Ray up for several runs and searches."""
        import ray

        if not ray.is_initialized():
            self._connect()
        started, self._started_ray = self._started_ray, False
        try:
            yield
        finally:
            if started:
                ray.shutdown()

    def _hire(self) -> None:
        """Ask for one more worker; it counts once it answers."""
        actor = self._worker()
        self._starting[actor.ready.remote()] = actor

    def _worker(self) -> Any:
        """A new actor with the methods of `_Worker`."""
        import ray

        share = {"num_gpus": 1} if self.device == "cuda" else {"num_cpus": 1}
        return ray.remote(_Worker).options(max_restarts=0, **share).remote(self._place)

    def measure(self, probes: Sequence[Probe]) -> list[Measure]:
        """Probes run side by side on all workers, loaded as training will load them."""
        found: dict[int, Measure] = {}
        tries: Counter[int] = Counter()
        while lacking := [index for index in range(len(probes)) if index not in found]:
            self._await_workers(all_of_them=True)
            workers, self._idle = self._idle, []
            batch = lacking[: len(workers)]
            tries.update(batch)
            # Idle neighbours would flatter the last batch.
            padded = batch + batch[:1] * (len(workers) - len(batch))
            refs = [worker.measure.remote(probes[index]) for worker, index in zip(workers, padded, strict=True)]
            answers = [self._answer(ref) for ref in refs]
            for worker, answer in zip(workers, answers, strict=True):
                self._release(worker, answer)
            for index, answer in zip(padded, answers, strict=True):
                lost = isinstance(answer, Failure) and answer.kind == "lost"
                if index not in found and (not lost or tries[index] >= TRIES):
                    found[index] = settled_measure(answer)
        return [found[index] for index in range(len(probes))]

    def _await_workers(self, all_of_them: bool) -> None:
        started, told = time.monotonic(), False
        while not self._idle or (all_of_them and self._more_to_come() and time.monotonic() < started + LATECOMERS):
            self._collect(1.0)
            if not (self._idle or self._running):
                self._beat(0.0)
            _refuse_lost_node()
            waited, kind = time.monotonic() - started, "GPU" if self.device == "cuda" else "CPU"
            if waited > SILENCE and not self._idle and not told:
                told = True
                print(f"No worker of Ray is ready yet; is this run waiting for a free {kind}?", file=sys.stderr)
            if not self._idle and not self._running and waited > PATIENCE:
                raise UserError(f"Ray has had no free {kind} for {PATIENCE:.0f} s; is the cluster in use by others?")

    def _more_to_come(self) -> bool:
        """Whether workers are starting that the cluster has room for: once a node is lost there is less."""
        import ray

        room = ray.cluster_resources().get("GPU" if self.device == "cuda" else "CPU", 0)
        return bool(self._starting) and (len(self._idle) + len(self._running) + 1) * self.each <= room

    @property
    def free(self) -> int:
        return len(self._idle)

    def submit(self, pack: Pack) -> None:
        worker = self._idle.pop(0)
        self._running[worker.train.remote(pack)] = (worker, pack)

    def wait(self, seconds: float) -> list[Outcome]:
        if not self._running and not self._idle:
            self._await_workers(all_of_them=False)
        elif not self._arrived:
            self._collect(seconds)
        arrived, self._arrived = self._arrived, []
        return arrived

    def _collect(self, seconds: float) -> None:
        """Take in every answer that is there, waiting for the first of them."""
        import ray

        refs = [*self._running, *self._starting]
        if not refs:
            return
        done, _ = ray.wait(refs, num_returns=1, timeout=seconds)
        if done:
            done, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in done:
            if ref in self._starting:
                self._welcome(ref, self._starting.pop(ref))
                continue
            worker, pack = self._running.pop(ref)
            result = self._answer(ref)
            self._arrived.append(Outcome(pack, result))
            self._release(worker, result)

    def _release(self, worker: Any, answer: Any) -> None:
        """Make a worker that has answered free for the next call, or replace it."""
        import ray

        if isinstance(answer, _Gone):
            ray.kill(worker)
            self._hire()
        else:
            self._idle.append(worker)

    def _welcome(self, ref: Any, worker: Any) -> None:
        """Count a new worker in, or try again: not for ever, for it may lack what it needs."""
        answer = self._answer(ref)
        if not isinstance(answer, _Gone):
            self._idle.append(worker)
            self._stillborn = 0
            return
        self._stillborn += 1
        if self._stillborn >= STILLBORN and not (self._idle or self._running):
            raise UserError(f"Ray's workers end while they start ({answer.message}).")
        self._hire()

    @staticmethod
    def _answer(ref: Any) -> Any:
        """What a worker returned, or how it was lost."""
        import ray

        try:
            return ray.get(ref)
        except ray.exceptions.OutOfMemoryError:
            return _Gone("memory", "out of memory: Ray stopped the worker")
        except ray.exceptions.RayError as error:
            lines = str(error).splitlines() or [type(error).__name__]
            return _Gone("lost", f"worker lost: {lines[0]}")

    def close(self) -> None:
        import ray

        if not ray.is_initialized():
            return
        for worker, _ in self._running.values():
            ray.kill(worker)
        self._running, self._arrived = {}, []
        if self._standing:
            return
        self._let_go()
        if self._started_ray:
            ray.shutdown()
            self._started_ray = False

    def _let_go(self) -> None:
        """Let the workers go that have nothing to do."""
        import ray

        for worker in [*self._idle, *self._starting.values()]:
            ray.kill(worker)
        self._idle, self._starting = [], {}


def _refuse_lost_node() -> None:
    """UserError once the node of this driver is dead: no worker will ever answer it."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == here):
        raise UserError("Ray's node on this machine has died; what was finished is kept, the same command goes on.")


def _our_code() -> dict[str, Any]:
    """What makes workers on other nodes run the code of this driver; those of a job have the job's copy of it already.

    A working directory, for without one Ray's workers prefer what lies in the folder where the driver was started.
    """
    others = [f"/{path.name}" for path in ROOT.iterdir() if path.name not in SOURCES]
    return {"working_dir": str(ROOT), "excludes": [*others, "__pycache__"]}
