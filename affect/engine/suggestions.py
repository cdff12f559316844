"""Suggestions of settings: what Optuna asks to try, and what it is told of each, one by one.

An Optuna study is kept in a journal beside the results, so that it can be looked at in optuna-dashboard while it grows
and gone on with after a crash. No Ray here.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, Trial, TrialState

from affect.engine.waves import COMPLETE, DIVERGED, FAILED, STOPPED, Verdict
from affect.study import Space
from affect.trial import Settings

STARTUP = 10
"""Suggestions before any are derived from others: Optuna's own default."""
STALE, SETTINGS, DEATHS, SPARED = "stale", "settings", "deaths", "spared"
STATUS, EPOCHS, MESSAGE = "status", "epochs", "message"
"""Attributes of a suggestion: it ended with its run and was asked anew; what it sets; how many workers died of these
settings before; it is never stopped; how it ended, after how many epochs, and why."""
DEADLY = 3
"""Workers that must die of a suggestion before it is held against it: of the first that died it may be innocent."""

_STATES = {
    COMPLETE: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    DIVERGED: TrialState.FAIL,
    FAILED: TrialState.FAIL,
}
HISTORY = ("number", "status", "value", "epochs", "parameters", "settings", "rungs")


@dataclass(frozen=True)
class Suggestion:
    """Settings to try, under the number that Optuna gave them."""

    number: int
    settings: Settings
    value: float = float("nan")
    """Its final value, once it has one."""
    spared: bool = False
    """Whether it is never stopped."""


def sampler(seed: int) -> optuna.samplers.BaseSampler:
    """TPE over all settings jointly, which takes suggestions that are still running for bad ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True)


def begin(study: optuna.Study, params: Mapping[str, Any]) -> None:
    """Have a new study suggest these answers first; what they are worth is seen to the end."""
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(params), user_attrs={SPARED: True})


def ask(study: optuna.Study, space: Space) -> Suggestion:
    """The next suggestion of `space`; it counts as running until it is told."""
    trial = study.ask()
    settings = dict(space(trial))
    trial.set_user_attr(SETTINGS, settings)
    return Suggestion(trial.number, settings, spared=trial.user_attrs.get(SPARED, False))


def report(study: optuna.Study, number: int, epoch: int, value: float) -> None:
    """Note the value of a running suggestion at a rung."""
    frozen = study.get_trials(deepcopy=False)[number]
    Trial(study, frozen._trial_id).report(value, epoch)


def tell(study: optuna.Study, verdict: Verdict) -> None:
    """End a running suggestion. Optuna takes the last value of a stopped one for what it was worth there, and no more."""
    known = study.get_trials(deepcopy=False)[verdict.number].intermediate_values
    for epoch, value in verdict.values.items():
        if epoch not in known:
            report(study, verdict.number, epoch, value)
    trial = study.get_trials(deepcopy=False)[verdict.number]
    _note(study, trial, STATUS, verdict.status)
    _note(study, trial, EPOCHS, verdict.epochs)
    if verdict.message:
        _note(study, trial, MESSAGE, verdict.message)
    final = verdict.values[max(verdict.values)] if verdict.status == COMPLETE else None
    study.tell(verdict.number, final, state=_STATES[verdict.status])


def requeue(study: optuna.Study, numbers: Collection[int], killed: bool = False) -> None:
    """End suggestions whose run was lost, and have the same settings suggested again.

    `killed`: their worker died while the run went on, which a suggestion may do `DEADLY` times before it has failed.
    """
    for number in numbers:
        trial = study.get_trials(deepcopy=False)[number]
        deaths = int(trial.user_attrs.get(DEATHS, 0)) + killed
        if deaths >= DEADLY:
            tell(study, Verdict(number, FAILED, message=f"{deaths} workers died of it"))
            continue
        # A run may end while its suggestion is being asked for: then what it was to be is known if it was queued.
        whole = SETTINGS in trial.user_attrs
        params = trial.params if whole else trial.system_attrs.get("fixed_params", {})
        if params:  # Before the end of the old one: a run that is killed between them asks twice rather than never.
            spared = {SPARED: True} if SPARED in trial.user_attrs else {}
            study.enqueue_trial(params, user_attrs={DEATHS: deaths} | spared)
        _note(study, trial, STALE, True)
        study.tell(number, state=TrialState.FAIL)


def _note(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    Trial(study, trial._trial_id).set_user_attr(name, value)


def suspects(study: optuna.Study) -> bool:
    """Whether settings wait to be asked anew of which a worker may have died: they go on one at a time, so that none is
    blamed for another."""
    return any(trial.user_attrs.get(DEATHS) for trial in _in(study, TrialState.WAITING))


def running(study: optuna.Study) -> list[int]:
    """Numbers of the suggestions that were asked and not told."""
    return [trial.number for trial in _in(study, TrialState.RUNNING)]


def finished(study: optuna.Study) -> int:
    """How many suggestions came to an end of their own; those that ended with their run are not counted."""
    return len(_ended(study))


def counts(study: optuna.Study) -> dict[str, int]:
    """Status → how many suggestions came to that end of their own."""
    return dict(Counter(trial.user_attrs.get(STATUS, FAILED) for trial in _ended(study)))


def records(study: optuna.Study, rungs: Sequence[int]) -> dict[int, list[float]]:
    """Rung → the values of all suggestions that have come to it so far."""
    reached = [t.intermediate_values for t in study.get_trials(deepcopy=False) if not t.user_attrs.get(STALE)]
    return {rung: [values[rung] for values in reached if rung in values] for rung in rungs}


def history(study: optuna.Study) -> pd.DataFrame:
    """One row per suggestion that came to an end of its own, in Optuna's order: columns `HISTORY`."""
    rows = []
    for trial in _ended(study):
        reached = trial.intermediate_values
        rows.append(
            (
                trial.number,
                trial.user_attrs.get(STATUS, FAILED),
                reached[max(reached)] if reached else float("nan"),
                int(trial.user_attrs.get(EPOCHS, 0)),
                json.dumps(trial.params, sort_keys=True),
                json.dumps(trial.user_attrs[SETTINGS], sort_keys=True),
                json.dumps({str(epoch): value for epoch, value in sorted(reached.items())}),
            )
        )
    return pd.DataFrame(rows, columns=list(HISTORY))


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each parameter in what sets the better suggestions apart (PED-ANOVA), the largest first; empty where
    too few went all the way to tell."""
    complete = _in(study, TrialState.COMPLETE)
    if len(complete) < STARTUP or len({trial.value for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(study)
    return {name: float(share) for name, share in found.items()}


def best(study: optuna.Study) -> list[Suggestion]:
    """The suggestions that went all the way, best first."""
    ranked = sorted(_in(study, TrialState.COMPLETE), key=lambda trial: (-(trial.value or 0.0), trial.number))
    found: dict[str, Suggestion] = {}
    for trial in ranked:
        settings = trial.user_attrs[SETTINGS]
        found.setdefault(json.dumps(settings, sort_keys=True), Suggestion(trial.number, settings, trial.value or 0.0))
    return list(found.values())


def messages(study: optuna.Study) -> dict[int, str]:
    """Number → why it failed."""
    return {trial.number: trial.user_attrs[MESSAGE] for trial in _ended(study) if MESSAGE in trial.user_attrs}


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """Suggestions that came to an end of their own; one whose every run was lost is among them."""
    over = _in(study, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [trial for trial in over if not trial.user_attrs.get(STALE)]


def _in(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)
