"""A made-up study of one class with few labels, so that every expected figure is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from affect.report import Evidence
from affect.resolved import Resolved
from affect.study import CorpusFacts, Mark, Row, Scale, Study, Table

FRACTIONS = (0.01, 0.03)
LEVELS = {"Ours": 0.85, "Theirs (across)": 0.86, "Theirs (Eye)": 0.80, "Ours, c 0.1": 0.9, "floor": 0.7}
"""Row → mean accuracy at the smaller label fraction; the larger one adds .05."""

ROWS = (
    Row("theirs", label="Theirs (across)", transductive=True),
    Row("theirs", label="Theirs", per_view=True),
    Row("ours", label="Ours"),
    Row("ours", label="Ours", factors={"c": 0.1}),
    Row("floor", floor=True),
)

STUDY = Study(
    name="few_labels",
    title="Few labels",
    paper="P2",
    targets=(),
    metric="accuracy",
    view_names={"eye": "Eye"},
    scales={"full": Scale("seed-twin", ROWS, 10)},
    marks=(Mark("•", "Ours", worse=True),),
    tables=(
        Table("table2", "Few labels", "P2, Table 2", ("test",), published="smvae_table2_{corpus}", kind="fractions"),
    ),
)

FACTS = CorpusFacts(
    name="seed-twin-demo",
    title="a synthetic twin",
    banner="Synthetic data made by a seed.",
    fingerprint="f" * 64,
    synthetic=True,
    groups="recording",
    view="eye",
    width=33,
    has_text=False,
    rows={"train": 2727, "development": 972, "test": 918, "unlabelled": 0},
    classes=3,
    targets=("emotion",),
)


def resolved_with(study: Study = STUDY, facts: CorpusFacts = FACTS, seeds: int = 10) -> Resolved:
    study = study.on(facts)
    return Resolved(
        study=study,
        scale="full",
        corpus=facts,
        rows=study.scales["full"].rows,
        label_fractions=FRACTIONS,
        seeds=seeds,
        selection_seeds=1,
        preset="paper",
        protocol="as_published",
        overrides={},
        device="cpu",
    )


def values_of(resolved: Resolved, levels: Mapping[str, float] = LEVELS, noise: float = 0.01) -> pd.DataFrame:
    """One row per row × fraction × partition × seed; seeds share an offset."""
    index = pd.MultiIndex.from_product(
        [list(levels), resolved.label_fractions, ("train", "development", "test"), range(resolved.seeds)],
        names=["system", "label_fraction", "partition", "seed"],
    )
    frame = index.to_frame(index=False).assign(target="emotion", epoch=40, status="complete")
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.03, resolved.seeds)[frame["seed"]]
    level = frame["system"].map(levels) + 2.5 * (frame["label_fraction"] - 0.01)
    frame["value"] = level + shared + rng.normal(0, noise, len(frame))
    frame["n"] = frame["partition"].map(resolved.corpus.rows)
    return frame


def evidence_of(resolved: Resolved, values: pd.DataFrame) -> Evidence:
    keys = values[["system", "label_fraction", "target"]].drop_duplicates()
    expected = values[["system", "label_fraction", "target", "seed"]].drop_duplicates()
    return Evidence(resolved, values, keys.assign(settings=[{}] * len(keys), options=1), expected)
