"""One trial fitted by itself. A module of its own, so that Ray Tune's actors import no more than they need."""

from __future__ import annotations

from functools import lru_cache

from affect.data.corpus import open_corpus
from affect.data.task import Task
from affect.systems import get_system
from affect.systems.base import Replicate, fit_pack
from affect.systems.process import settle
from affect.trial import TaskSpec, Trial


@lru_cache(maxsize=1)
def task_in(folder: str, spec: TaskSpec) -> Task:
    """The task, opened once per process."""
    return Task(open_corpus(folder), spec)


def fit_one(trial: Trial, folder: str) -> float:
    """Best development value of a trial, fitted by itself in a process set up as the engine's are."""
    settle(trial.device)
    data = task_in(folder, trial.task).fit_data(trial.seed)
    replicate = Replicate(data, trial.settings, trial.seed)
    fit = fit_pack(get_system(trial.system), [replicate], device=trial.device)[0]
    return max(value for *_, value in fit.curves)
