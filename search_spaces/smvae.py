"""P2: candidate settings of the multi-view generative paper's systems, and the spaces that searches of them draw from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affect.trial import Settings

_DEMO: Settings = {
    **{"learning_rate": 3e-3, "epochs": 15, "hidden": "100-50", "latent": 30},
    **{"imputer_epochs": 15, "imputer_ridge": 1.0},
}
SETTINGS: dict[str, Settings] = {
    "seed-twin-demo": _DEMO,
    "deap-twin-demo": _DEMO,
    "mfeat": {"learning_rate": 3e-3, "epochs": 60, "imputer_epochs": 20, "imputer_ridge": 1.0},
}
"""Corpus → settings for every system that has them, chosen by the development values of SMVAE and M2 on seeds that no study
has (100 and 101): at ten times the paper's rate they are reached in 15 passes of the demo, 60 of mfeat. In the demos all
networks are as small as SMVAE's, for it must end in minutes.

Those of imputations were chosen by their errors on development rows whose last view was hidden, one choice for all shares of
training rows that lack it, each imputation at its own rate: on mfeat with 10, 50 and 90 % and the same seeds, on seed-twin-demo
with 10 and 90 % and seed 100; deap-twin-demo has the latter's untried. With 90 % missing few rows relate the views, and more
passes fit these alone: on mfeat, DCCAE's error is .95 after 20 passes and 1.16 after 80, with a ridge of 1e-4 1.13 after 30;
with 10 % missing it is .85 and .83. CorrNet's lies between .87 and .92 after 15 to 30."""

PAPER = (
    "P2: C. Du et al., Semi-supervised Deep Generative Modelling of Incomplete Multi-Modality Emotional Data, ACM "
    "Multimedia 2018"
)

SCALES = (0.1, 0.5, 1.0)
"""The paper's values of c, c1 and c2 (Sections 4.2.1 and 4.3.1)."""


RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates among which every network chooses where all rows are tuned alike."""


def classification_scales(
    every: bool = False, beside: Mapping[str, tuple[float, ...]] | None = None
) -> tuple[Settings, ...]:
    """Values of c (Eq. 8); with `every`, each with each value of one other setting `beside` it."""
    others = [{name: value} for name, values in (beside or {}).items() for value in values] if every else [{}]
    return tuple({"c": c, **other} for c in SCALES for other in others)


def neighbours(*counts: int) -> tuple[Settings, ...]:
    """Numbers of rows to which graphs join a row; P2 gives none."""
    return tuple({"neighbours": count} for count in counts)


def latent_sizes() -> tuple[Settings, ...]:
    """Sizes of a representation, each with each of `RATES`: nine, as many as `classification_scales` with these."""
    return tuple({"latent": latent, "learning_rate": rate} for latent in (10, 20, 30) for rate in RATES)


def both_scales(every: bool) -> tuple[Settings, ...]:
    """Values of c1 and c2 (Eq. 17): `every` pair, nine in all, or the three in which both are equal."""
    return tuple({"c1": c1, "c2": c2} for c1 in SCALES for c2 in SCALES if every or c1 == c2)


def imputation_weights(every: bool) -> tuple[Settings, ...]:
    """Values of α3 (Eq. 18) beside the hand-set c: the paper's seven and, so that there are as many candidates as for c1
    and c2, other values of c beside α3 = 1; or three of the seven."""
    weights = tuple({"alpha3": 10.0**power} for power in (range(-3, 4) if every else (-2, 0, 2)))
    return (*weights, {"alpha3": 1.0, "c": 0.1}, {"alpha3": 1.0, "c": 1.0}) if every else weights


# Define-by-run spaces: functions of an Optuna trial. All ranges are fixed, so that TPE can model settings jointly.


def smvae(trial: Any) -> Settings:
    """SMVAE, and whatever else has a scale c."""
    return {**_shared(trial), "c": _scale(trial, "c")}


def simvae(trial: Any) -> Settings:
    """SiMVAE."""
    return {**_shared(trial), "c1": _scale(trial, "c1"), "c2": _scale(trial, "c2")}


def sdgm_plus(trial: Any) -> Settings:
    """SDGM+."""
    return {**smvae(trial), "alpha3": trial.suggest_float("alpha3", 1e-3, 1e3, log=True)}


def _shared(trial: Any) -> Settings:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "latent": trial.suggest_categorical("latent", (10, 30, 60)),
    }


def _scale(trial: Any, name: str) -> float:
    return float(trial.suggest_float(name, 0.01, 10.0, log=True))
