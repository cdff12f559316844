"""The search lane: Ray Tune over waves of suggestions, each of which Optuna is asked for and told of by itself.

Stock OptunaSearch hears of one configuration per Tune trial and takes the score of one that ASHA stopped for a finished
one. Here a Tune trial hosts a whole wave, so that it costs what a pack costs, and Optuna learns which suggestions went
all the way (COMPLETE), which were stopped and where (PRUNED), and which came to nothing (FAIL).
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from affect.engine import suggestions
from affect.engine.results import Workplace
from affect.engine.search import ResolvedSearch
from affect.engine.suggestions import Suggestion
from affect.engine.waves import COMPLETE, DIVERGED, Verdict, Wave, WaveResult, run_wave
from affect.errors import UserError
from affect.streams import stream_key

FRUITLESS = 3
"""Rounds of Tune in a row that end without one finished suggestion before the search is given up."""

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_DISABLE_DATED_SUBDIR": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Tune keeps nothing of its own: results are in the store, suggestions in Optuna's journal."""


class WaveSearch(OptunaSearch):
    """OptunaSearch that hands out a wave per Tune trial. It lives in the driver and is never restored from a pickle."""

    def __init__(
        self,
        search: ResolvedSearch,
        storage: optuna.storages.BaseStorage,
        slots: int,
        seed: int,
        deadline: float,
        took: list[float],
        exchange: Any,
        commit: Callable[[WaveResult], None],
        heard: Callable[[optuna.Study], None],
    ) -> None:
        super().__init__(
            space=search.declared.space,
            metric="value",
            mode="max",
            storage=storage,
            study_name=search.name,
            sampler=suggestions.sampler(seed),
        )
        self.search, self.slots, self.deadline, self.took = search, slots, deadline, took
        self.exchange, self.commit, self.heard = exchange, commit, heard
        self.waves: dict[str, Wave] = {}
        self.asked: dict[str, float] = {}
        self.mistake: Exception | None = None
        """The first that went wrong: Tune swallows what its callbacks raise, or makes a traceback of it."""

    @property
    def study(self) -> optuna.Study:
        assert self._ot_study is not None
        return self._ot_study

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.mistake = self.mistake or error

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        with self._noted():
            count = self.search.next_wave(self.slots, self.search.lacking(self.study))
            if count > 0 and not self.mistake and fits(self.took, self.deadline):
                self._begin(trial_id, 1 if suggestions.suspects(self.study) else count)
                return {"wave": trial_id}
        return str(self.FINISHED)

    def _begin(self, trial_id: str, count: int) -> None:
        space = self.search.declared.space
        assert space is not None
        wave = self._wave([suggestions.ask(self.study, space) for _ in range(count)])
        self.waves[trial_id], self.asked[trial_id] = wave, time.monotonic()
        ray.get(self.exchange.post.remote(trial_id, wave))

    def _wave(self, asked: list[Suggestion]) -> Wave:
        members = {suggestion.number: self.search.trials_of(suggestion.settings) for suggestion in asked}
        rungs, reduction = self.search.rungs, self.search.declared.reduction
        spared = frozenset(suggestion.number for suggestion in asked if suggestion.spared)
        return Wave(self.search.name, members, rungs, reduction, suggestions.records(self.study, rungs), spared)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        with self._noted():
            for number, value in json.loads(result.get("values", "{}")).items():
                suggestions.report(self.study, int(number), int(result["epoch"]), value)
            self.heard(self.study)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self.waves:
            with self._noted():
                self._end(trial_id, self.waves.pop(trial_id), killed=error)

    def _end(self, trial_id: str, wave: Wave, killed: bool) -> None:
        found: list[WaveResult] | UserError | None = ray.get(self.exchange.take.remote(trial_id))
        if found is None or isinstance(found, UserError):  # Its worker died, time was up, or nothing can be trained.
            self.mistake = self.mistake or found
            suggestions.requeue(self.study, list(wave.members), killed=killed)
            return
        self.took.append(time.monotonic() - self.asked[trial_id])
        for each in found:
            self.commit(each)
        for verdict in (verdict for each in found for verdict in each.verdicts):
            suggestions.tell(self.study, verdict)
        self.heard(self.study)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it all."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its whole configuration at the start; nobody reads it."""
        return {}


class _Halt(tune.Stopper):
    """Ends Tune's loop with the first mistake. Asked at every turn, and where Tune lets an error pass."""

    def __init__(self, search: WaveSearch) -> None:
        self.search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self.search.mistake is not None:
            raise self.search.mistake
        return False


def fits(took: Sequence[float], deadline: float) -> bool:
    """Whether a wave would end before `deadline`, if it took as long as the longest of those before."""
    return max(took, default=0.0) <= deadline - time.monotonic()


class _Exchange:
    """Where the driver leaves waves and workers leave results: Tune's own channels carry small numbers only."""

    def __init__(self) -> None:
        self.waves: dict[str, Wave] = {}
        self.results: dict[str, list[WaveResult] | UserError] = {}

    def post(self, name: str, wave: Wave) -> None:
        self.waves[name] = wave

    def wave(self, name: str) -> Wave:
        return self.waves[name]

    def hand_in(self, name: str, results: list[WaveResult] | UserError) -> None:
        self.results[name] = results

    def take(self, name: str) -> list[WaveResult] | UserError | None:
        self.waves.pop(name, None)
        return self.results.pop(name, None)


def _try(config: Mapping[str, str], exchange: Any, place: Workplace) -> None:
    """What runs in a Tune trial."""
    wave = ray.get(exchange.wave.remote(config["wave"]))

    def tried(epoch: int, values: Mapping[int, float]) -> None:
        # As text, for Tune flattens what is nested; `value` is what it expects of every report and nobody reads.
        tune.report({"value": max(values.values(), default=0.0), "epoch": epoch, "values": json.dumps(values)})

    found: list[WaveResult] | UserError
    try:
        found = run_wave(wave, place, tried)
    except UserError as mistake:
        found = mistake
    ray.get(exchange.hand_in.remote(config["wave"], found))


def reconcile(study: optuna.Study, search: ResolvedSearch, stored: Mapping[int, tuple[str, frozenset[str]]]) -> None:
    """After a crash: suggestions that were running and have rows are told from them, the others asked anew."""
    trials = study.get_trials(deepcopy=False)
    for number in suggestions.running(study):
        status, ids = stored.get(number, ("", frozenset()))
        settings = trials[number].user_attrs.get(suggestions.SETTINGS)
        reached = trials[number].intermediate_values
        last = max(reached, default=0)
        if status == DIVERGED:  # noticed at the rung after
            last = next((rung for rung in search.rungs if rung > last), search.epochs)
        if settings is None or ids != {trial.id for trial in search.trials_of(settings)}:
            suggestions.requeue(study, [number])
        elif status != COMPLETE or search.epochs in reached:
            suggestions.tell(study, Verdict(number, status, reached, last))
        else:
            suggestions.requeue(study, [number])


def carry_on(
    search: ResolvedSearch,
    storage: optuna.storages.BaseStorage,
    place: Workplace,
    *,
    slots: int,
    seconds: float | None,
    stored: Mapping[int, tuple[str, frozenset[str]]],
    commit: Callable[[WaveResult], None],
    heard: Callable[[optuna.Study], None],
) -> optuna.Study:
    """Carry a search on until nothing is lacking or `seconds` are over. Ray must be up.

    `stored`: what `stored_statuses` finds. `commit` stores the rows of a wave, before Optuna is told of it; `heard` is
    called whenever there is news.
    """
    os.environ.update(QUIET)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name=search.name, direction="maximize", load_if_exists=True)
    suggestions.begin(study, search.hand_set())
    reconcile(study, search, stored)
    heard(study)
    # Beside the driver: an actor that asks for nothing is put on any node, and would be lost with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    exchange = ray.remote(_Exchange).options(num_cpus=0, scheduling_strategy=here).remote()
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    fruitless = 0
    took: list[float] = []
    try:
        while search.lacking(study) > 0 and (left := deadline - time.monotonic()) > 0 and fits(took, deadline):
            if fruitless == FRUITLESS:
                raise UserError(f"Search {search.name}: no suggestion came to an end in {FRUITLESS} rounds.")
            before = suggestions.finished(study)
            # Neither the draws of another search nor those of an earlier run of this one.
            seed = stream_key(len(study.get_trials(deepcopy=False)), "search", search.name) % 2**32
            waves = WaveSearch(search, storage, slots, seed, deadline, took, exchange, commit, heard)
            _tune(waves, exchange, place, slots, left)
            if waves.mistake is not None:  # which may be that the journal is another run's by now
                raise waves.mistake
            suggestions.requeue(study, suggestions.running(study))
            fruitless = 0 if suggestions.finished(study) > before else fruitless + 1
    finally:
        ray.kill(exchange)
    return study


def _tune(search: WaveSearch, exchange: Any, place: Workplace, slots: int, seconds: float) -> None:
    share = {"gpu": 1} if search.search.resolved.device == "cuda" else {"cpu": 1}
    trainable = tune.with_resources(tune.with_parameters(_try, exchange=exchange, place=place), share)
    with tempfile.TemporaryDirectory(prefix="affect-tune-") as folder:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
                time_budget_s=None if math.isinf(seconds) else seconds,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                name="search",
                verbose=0,
                stop=_Halt(search),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        tuner.fit()
