"""Systems for tests of the engine: cheap, and able to fail in every way. Importable by Ray's workers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import affect.systems
from affect.errors import UserError
from affect.streams import stream
from affect.systems.base import AtOnce, Facts, Fit, Fitting, Hyperparameter, Replicate
from affect.systems.fitting import StackedFitting
from affect.systems.ladder import LadderSystem
from affect.systems.shards import ALONE, Shard
from affect.systems.training import Scalars
from affect.trial import Settings

EPOCHS = 3
PROBE_FAULTS = ("probe_error", "probe_memory", "probe_endless", "probe_kill", "probe_kill_once")


class ToyFitting(AtOnce):
    """Takes its time over a few epochs, and notes in its folder which process made which."""

    epochs = EPOCHS

    def advance(self) -> None:
        time.sleep(max(float(r.settings["seconds"]) for r in self._replicates) / EPOCHS)
        before = self.epoch
        super().advance()
        self.epoch = before + 1
        if (folder := str(self._replicates[0].settings["folder"])) != ".":
            with open(Path(folder) / "epochs", "a") as notes:
                notes.write(f"{os.getpid()} {self.epoch}\n")

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]


@dataclass(frozen=True)
class Toy:
    """Least squares on noisy targets. `alpha` and `beta` weigh targets as in the ladder study."""

    name: str = "toy"
    paper: str = "none"
    version: int = 1
    description: str = "a toy"
    presets: Mapping[str, Settings] = field(default_factory=lambda: {"paper": {}})
    needs_text: bool = False
    seeded: bool = True

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        return {
            "alpha": Hyperparameter(1 / 3, low=0.0, high=1.0),
            "beta": Hyperparameter(1 / 3, low=0.0, high=1.0),
            "noise": Hyperparameter(0.1, low=0.0),
            "width": Hyperparameter(4, low=1, structural=True),
            "seconds": Hyperparameter(0.0, low=0.0),
            "fault": Hyperparameter(
                "none",
                choices=("none", "error", "lone", "memory", "kill", "kill_once", "diverge", "mistake", *PROBE_FAULTS),
            ),
            "folder": Hyperparameter("."),
        }

    def check(self, settings: Settings) -> None:
        if settings["alpha"] + settings["beta"] > 1 + 1e-9:
            raise UserError(f"{self.name}: alpha={settings['alpha']:g} and beta={settings['beta']:g} exceed 1.")

    def scored_targets(self, settings: Settings, targets: Sequence[str]) -> tuple[str, ...]:
        weights = {"arousal": settings["alpha"], "valence": settings["beta"]}
        rest = 1 - settings["alpha"] - settings["beta"]
        return tuple(name for name in targets if weights.get(name, rest) > 1e-9)

    def may_lack(self, settings: Settings, views: int) -> Collection[int]:
        return ()

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        return ("toy", facts, settings["width"])

    def steps(self, settings: Settings, facts: Facts) -> int:
        return EPOCHS

    def probe(self, settings: Settings, facts: Facts, device: str, largest: int) -> tuple[int, float]:
        fault, marker = settings["fault"], Path(str(settings["folder"])) / "killed"
        if fault == "probe_error":
            raise ArithmeticError("no step works")
        if fault == "probe_memory":
            raise MemoryError("not even one")
        if fault == "probe_kill" or (fault == "probe_kill_once" and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return min(4, largest), float("inf") if fault == "probe_endless" else 0.01

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> ToyFitting:
        faults = {str(r.settings["fault"]) for r in replicates}
        marker = Path(str(replicates[0].settings["folder"])) / "killed"
        if "error" in faults:
            raise ArithmeticError("this\nnever works")
        if "lone" in faults:
            if shard.rank:
                raise ArithmeticError("only here")
            shard.reduce(torch.zeros(1))
        if "mistake" in faults:
            raise UserError("corpus/samples.parquet, row 3: label 9 is wrong.")
        if "memory" in faults and len(replicates) > 1:
            raise MemoryError("too many")
        if "kill" in faults or ("kill_once" in faults and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if marker.parent != Path("."):
            partial = marker.with_name(f"pid-{os.getpid()}")
            partial.write_text(str(os.getpid()))
            partial.rename(marker.with_name("pid"))
        return ToyFitting(replicates, self._fit)

    def _fit(self, replicate: Replicate) -> Fit:
        data, settings = replicate.data, replicate.settings
        if settings["fault"] == "diverge":
            return Fit("diverged", lambda inputs: np.full((len(inputs), len(data.targets)), np.nan))
        noise = stream(replicate.seed, "noise").standard_normal(data.y_labelled.shape) * settings["noise"]
        x = data.train.numpy()[data.labelled].astype(np.float64)
        weights = np.linalg.lstsq(x, data.y_labelled - data.target_mean + noise, rcond=None)[0]
        curves = [
            (epoch, "development", target, 0.1 * epoch) for epoch in range(1, EPOCHS + 1) for target in data.targets
        ]
        return Fit(
            "complete",
            lambda inputs: inputs.numpy() @ weights + data.target_mean,
            dict.fromkeys(data.targets, EPOCHS),
            curves,
        )


class ClimbFitting(ToyFitting):
    """Rises by the same amount every epoch, up to its height; above 0.95 it falls to its death at the second."""

    def __init__(self, replicates: Sequence[Replicate], fit: Any) -> None:
        super().__init__(replicates, fit)
        self.epochs = int(replicates[0].settings["epochs"])
        self._reached = np.zeros(len(replicates))

    def advance(self) -> None:
        super().advance()
        heights = np.array([float(r.settings["height"]) for r in self._replicates])
        going = [k not in self._stopped for k in range(len(heights))]
        self._reached = np.where(going, heights * self.epoch / self.epochs, self._reached)
        self._reached = np.where((heights > 0.95) & (self.epoch >= 2), np.nan, self._reached)

    def best(self) -> np.ndarray:
        return np.repeat(self._reached[:, None], len(self._replicates[0].data.targets), axis=1)

    def fits(self) -> list[Fit]:
        fits = super().fits()
        return [replace(f, status="diverged") if np.isnan(v) else f for f, v in zip(fits, self._reached, strict=True)]


@dataclass(frozen=True)
class Climb(Toy):
    """What a setting is worth is known here."""

    name: str = "climb"

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        more = {
            "height": Hyperparameter(0.5, low=0.0, high=1.0),
            "step": Hyperparameter(1.0, low=0.0),
            "epochs": Hyperparameter(9, low=1, structural=True),
        }
        return {**super().hyperparameters, **more}

    def structure(self, settings: Settings, facts: Facts) -> tuple[Any, ...]:
        return (*super().structure(settings, facts), settings["epochs"])

    def steps(self, settings: Settings, facts: Facts) -> int:
        return int(settings["epochs"])

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> ClimbFitting:
        super().begin(replicates, device=device)
        return ClimbFitting(replicates, self._fit)


@dataclass(frozen=True)
class NotedLadder(LadderSystem):
    """A real system whose workers note each step: process, epoch and losses, in one file per worker."""

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        more = {"folder": Hyperparameter("."), "seconds": Hyperparameter(0.0, low=0.0)}
        return {**super().hyperparameters, **more}

    def scalars(self, settings: Settings, targets: Sequence[str]) -> Scalars:
        return {name: value for name, value in super().scalars(settings, targets).items() if name != "seconds"}

    def begin(self, replicates: Sequence[Replicate], *, device: str, shard: Shard = ALONE) -> Fitting:
        fitting = super().begin(replicates, device=device, shard=shard)
        assert isinstance(fitting, StackedFitting)
        settings, step = replicates[0].settings, fitting.trainer.step

        def noted() -> list[Tensor]:
            losses = step()
            note = {"pid": os.getpid(), "epoch": fitting.epoch, "losses": torch.stack(losses).tolist()}
            with open(Path(str(settings["folder"])) / f"worker-{shard.rank}", "a") as notes:
                notes.write(json.dumps(note) + "\n")
            time.sleep(float(settings["seconds"]))
            return losses

        fitting.trainer.step = noted  # type: ignore[method-assign]
        return fitting


def notes(folder: Path, worker: int) -> list[dict[str, Any]]:
    """What a worker of a `NotedLadder` has noted."""
    path = folder / f"worker-{worker}"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def climbs(trial: Any) -> Settings:
    """A space for `climb` with a setting that matters, one that does not, and one that splits packs."""
    return {
        "height": trial.suggest_float("height", 0.0, 1.0),
        "noise": trial.suggest_float("noise", 0.0, 0.5),
        "width": trial.suggest_categorical("width", (4, 8)),
    }


@dataclass(frozen=True)
class Late(Climb):
    """Has a setting that older results do not know."""

    name: str = "late"

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        return {**super().hyperparameters, "pool": Hyperparameter(1.0, low=0.1, high=1.0, late=True)}


SYSTEMS = (
    *(Toy(), Toy("other"), Toy("fixed", seeded=False), Toy("text", needs_text=True), Climb(), Late()),
    NotedLadder("ladder", ladder=True, unlabelled=True, multitask=True, description="Lad+UL+MTL"),
)


def install() -> None:
    """Make these the only systems of this process."""
    affect.systems.registry = lambda: {system.name: system for system in SYSTEMS}


def start_ray() -> None:
    """A local Ray whose workers know these systems."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={
            "env_vars": {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
            "worker_process_setup_hook": "tests.engine.engine_fakes.install",
        },
    )
