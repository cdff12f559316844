"""A made-up study with made-up values, so that every expected figure is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from affect.report import Evidence
from affect.resolved import Resolved
from affect.study import Claim, CorpusFacts, Figure, Mark, Row, Scale, Study, Table

TARGETS = ("arousal", "valence", "dominance")
SYSTEMS = ("STL", "MTL", "Lad+L+STL", "Lad+L+MTL", "Lad+UL+STL", "Lad+UL+MTL")
LEVELS = dict(zip((*SYSTEMS, "ridge"), (0.700, 0.704, 0.710, 0.716, 0.722, 0.728, 0.640), strict=True))
OFFSETS = {"arousal": 0.0, "valence": -0.3, "dominance": -0.05}

CLAIMS = (
    Claim("Ladders beat both baselines.", "Section V-A", SYSTEMS[2:], SYSTEMS[:2], ("arousal", "dominance")),
    Claim("Baselines beat ladders.", "Section V-A", SYSTEMS[:2], SYSTEMS[2:], ("valence",), significant=False),
    Claim("UL is best.", "Section V-A", SYSTEMS[4:], (), ("arousal", "dominance"), kind="best_row"),
    Claim(
        "Gains of 3.0 % and 3.5 %.",
        "Figure 3",
        SYSTEMS[2:],
        ("STL",),
        ("arousal", "dominance"),
        partition="mean",
        kind="relative_gain",
        published="ladder_table1",
    ),
)


def make_study(**changes: Any) -> Study:
    rows = (*(Row(system) for system in SYSTEMS), Row("ridge", floor=True))
    mtl = tuple({"alpha": alpha, "beta": beta} for alpha, beta in ((0.2, 0.3), (0.6, 0.2)))
    stl = tuple({"target": target} for target in TARGETS)
    rows = (*(replace(row, candidates=mtl if row.system.endswith("MTL") else stl) for row in rows[:-1]), rows[-1])
    study = Study(
        name="ladder_ablation",
        title="Ladder networks within one corpus",
        paper="P1",
        targets=TARGETS,
        metric="ccc",
        scales={"demo": Scale("twin", rows, 2), "full": Scale("twin", rows, 10)},
        marks=(Mark("•", "STL"), Mark("∗", "MTL")),
        settings={"open_speech": {"learning_rate": 5e-4}},
        tables=(Table("table1", "Within-corpus evaluation", "P1, Table I", published="ladder_table1"),),
        figures=(
            Figure("figure3", "mean_bars", "Mean of development and test", "P1, Figure 3", "ladder_table1"),
            Figure("label_fractions", "label_fractions", "Value of labels", "added"),
            Figure("learning_curves", "learning_curves", "Development by epoch", "added"),
        ),
        claims=CLAIMS,
    )
    return replace(study, **changes)


def make_resolved(
    fractions: tuple[float, ...] = (1.0,), seeds: int = 10, synthetic: bool = False, **changes: Any
) -> Resolved:
    study = changes.pop("study", None) or make_study()
    corpus = CorpusFacts(
        name="twin" if synthetic else "open_speech",
        title="a synthetic twin" if synthetic else "Open speech",
        banner="Synthetic data made by a seed." if synthetic else "Open speech corpus",
        fingerprint="f" * 64,
        synthetic=synthetic,
        groups="speaker" if synthetic else "unknown",
        view="hld",
        width=46,
        has_text=False,
        rows={"train": 18346, "development": 3753, "test": 7341, "unlabelled": 175196},
        findings=("35 samples occur twice.",),
    )
    resolved = Resolved(
        study=study,
        scale="full",
        corpus=corpus,
        rows=study.scales["full"].rows,
        label_fractions=fractions,
        seeds=seeds,
        selection_seeds=1,
        preset="paper",
        protocol="as_published",
        overrides={"dropout_input": 0.1},
        device="cpu",
    )
    return replace(resolved, **changes)


def make_values(resolved: Resolved, noise: float = 0.002) -> pd.DataFrame:
    """One row per system × fraction × target × partition × seed around `LEVELS`; seeds share an offset."""
    names = [row.system for row in resolved.rows]
    partitions = ("train", "development", "test")
    index = pd.MultiIndex.from_product(
        [names, resolved.label_fractions, resolved.study.targets, partitions, range(resolved.seeds)],
        names=["system", "label_fraction", "target", "partition", "seed"],
    )
    frame = index.to_frame(index=False)
    rng = np.random.default_rng(0)
    level = frame["system"].map(LEVELS) + frame["target"].map(OFFSETS) + 0.05 * np.log10(frame["label_fraction"])
    shared = rng.normal(0, 0.01, resolved.seeds)[frame["seed"]]
    frame["value"] = level + shared + rng.normal(0, noise, len(frame))
    frame["n"] = frame["partition"].map(resolved.corpus.rows)
    frame["epoch"] = 40
    frame["status"] = "complete"
    return frame


def make_evidence(resolved: Resolved | None = None, values: pd.DataFrame | None = None) -> Evidence:
    resolved = resolved or make_resolved()
    full = make_values(resolved)
    keys = full[["system", "label_fraction", "target"]].drop_duplicates()
    settings = [
        {"learning_rate": 5e-4, "hidden": [256, 256], "batch": 256}
        | ({"alpha": 0.6 if target == "arousal" else 0.2, "beta": 0.2} if system.endswith("MTL") else {})
        | ({"target": target} if system.endswith("STL") else {})
        for system, target in zip(keys["system"], keys["target"], strict=True)
    ]
    keys = keys.assign(settings=settings, options=[2 if name.endswith("MTL") else 1 for name in keys["system"]])
    expected = full[["system", "label_fraction", "target", "seed"]].drop_duplicates()
    curves = full[full["partition"] == "development"].merge(pd.DataFrame({"step": range(1, 21)}), how="cross")
    curves = curves[curves["system"] != "ridge"]
    curves["value"] = curves["value"] * (1 - np.exp(-curves["step"] / 4))
    curves["epoch"] = curves["step"]
    return Evidence(resolved, full if values is None else values, keys, expected, curves)


@pytest.fixture
def evidence() -> Evidence:
    return make_evidence()


@pytest.fixture
def with_values() -> Callable[..., Evidence]:
    """Evidence whose values passed through a change, while the plan still wants all of them."""

    def build(change: Callable[[pd.DataFrame], pd.DataFrame], **options: Any) -> Evidence:
        resolved = make_resolved(**options)
        return make_evidence(resolved, change(make_values(resolved)))

    return build
