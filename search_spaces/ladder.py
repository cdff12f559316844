"""P1: candidate settings of the ladder paper's systems, and the spaces that searches of them draw from."""

from __future__ import annotations

from typing import Any

from affect.systems.ladder import ATTRIBUTES
from affect.trial import Settings

SETTINGS: dict[str, Settings] = {
    "podcast-twin-demo": {"learning_rate": 2e-3, "epochs": 20},
    "iemocap-twin-demo": {"learning_rate": 2e-3, "epochs": 20},
    "improv-twin-demo": {"learning_rate": 2e-3, "epochs": 20},
    "qcc": {"learning_rate": 2e-3, "dropout_input": 0.0, "dropout_hidden": 0.5},
    "emobank": {"learning_rate": 4e-3, "epochs": 50},
    "emobank+leak_free": {"learning_rate": 8e-3, "epochs": 50},
}
"""Corpus, or corpus and protocol → settings chosen on its development data, alike for every system; the paper's rate of
5e-5 is meant for 6373 features. Tried were rates of .0002, .0005, .001 and .002 on QCC and of .00025, .0005, .001, .002, .004
and .008 on EmoBank, with and without dropout of inputs, on a few seeds of `MTL` and of ladders; EmoBank's development values
stop rising within 50 epochs (at most .001 is gained in 100). EmoBank's protocols have rates of their own, for 124 development
rows of `as_published` are test rows under `leak_free`: there rates of .0005 to .016 were compared on three seeds of `MTL` and
`Lad+L+MTL` at all labels, 10 % and 2 % (mean development CCC .134, .141, .142, .144, .147, .147 with each doubling)."""

PAPER = (
    "P1: S. Parthasarathy and C. Busso, Semi-Supervised Speech Emotion Recognition With Ladder Networks, IEEE/ACM "
    "Transactions on Audio, Speech, and Language Processing 28, 2020"
)

LAMBDAS = (0.1, 1.0, 10.0)
"""The paper's values of λ, equal at all layers (Section IV-D)."""


def single_tasks() -> tuple[Settings, ...]:
    """One model per attribute: nothing to choose, each attribute has exactly one."""
    return tuple({"target": name} for name in ATTRIBUTES)


def attribute_weights(parts: int) -> tuple[Settings, ...]:
    """α, β ≥ 0 with α + β ≤ 1 on a grid of step 1/`parts` (Section IV-D): 66 points for 10 parts, 10 points for 3."""
    return tuple(
        {"alpha": alpha / parts, "beta": beta / parts}
        for alpha in range(parts + 1)
        for beta in range(parts + 1 - alpha)
    )


def every_lambda(value: float) -> Settings:
    """The same λ at every layer."""
    return {f"lambda_{layer}": value for layer in range(3)}


# Define-by-run spaces: functions of an Optuna trial. All ranges are fixed, so that TPE can model settings jointly.


def mtl(trial: Any) -> Settings:
    """The multitask network without a ladder."""
    return {
        **_shared(trial),
        "dropout_input": trial.suggest_float("dropout_input", 0.0, 0.6),
        "dropout_hidden": trial.suggest_float("dropout_hidden", 0.0, 0.6),
    }


def ladder(trial: Any) -> Settings:
    """A multitask ladder on labelled data."""
    return {
        **_shared(trial),
        "dropout_input": trial.suggest_float("dropout_input", 0.0, 0.3),
        "noise_variance": trial.suggest_float("noise_variance", 0.03, 1.0, log=True),
        **{f"lambda_{layer}": trial.suggest_float(f"lambda_{layer}", 1e-3, 10.0, log=True) for layer in range(3)},
    }


def unlabelled_ladder(trial: Any) -> Settings:
    """A multitask ladder that also reconstructs unlabelled data."""
    return {
        **ladder(trial),
        "unlabelled_fraction": trial.suggest_categorical("unlabelled_fraction", (0.1, 0.25, 0.5, 1.0)),
    }


def start(settings: Settings) -> Settings:
    """What the spaces ask for under another name than a setting's, in the given settings."""
    return {"beta_share": settings["beta"] / max(1 - settings["alpha"], 1e-9)}


def _shared(trial: Any) -> Settings:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", (128, 256, 512)),
        **_weights(trial),
    }


def _weights(trial: Any) -> Settings:
    """α and β inside the simplex: β has a share of what α leaves, so no suggestion is refused."""
    alpha = trial.suggest_float("alpha", 0.05, 0.9)
    share = trial.suggest_float("beta_share", 0.05, 0.95)
    return {"alpha": alpha, "beta": (1 - alpha) * share}
