#!/usr/bin/env python
"""P2, Section 4.2: classes from two views with 1-3 % of the labels (Table 2, Figures 2a-c).

python studies/smvae_label_fractions.py                              # demo on synthetic data, minutes
python studies/smvae_label_fractions.py --corpus deap-twin-demo
python studies/smvae_label_fractions.py --corpus corpora/mfeat --view fou+zer --label-fraction 0.02 0.05 --seeds 20
python studies/smvae_label_fractions.py --scale full --plan          # what the paper's size would cost
"""

from affect.command import main
from affect.study import ALL_VIEWS, Figure, Mark, Row, Scale, Study, Table, grid
from search_spaces.smvae import classification_scales

C = classification_scales()
INDUCTIVE, TRANSDUCTIVE = "SMVAE (inductive)", "SMVAE (transductive)"

ROWS = (
    Row("SMVAE", C, label=TRANSDUCTIVE, transductive=True),
    Row("M2", C, per_view=True),
    Row("M2", C, label="M2 (Concat.)"),
    Row("SDGM", C, label="SDGM (Concat.)"),
    Row("MVAE", C),
    Row("MoPoE-VAE", C),
    Row("SMVAE", C, label=INDUCTIVE),
)

GRIDS = {
    "demo": ((0.1, 0.5, 1.0), (0.1, 0.5, 1.0)),
    "full": ((0.1, 0.2, 0.4, 0.6, 0.8, 1.0), (0.01, 0.05, 0.1, 0.5, 1.0, 5.0)),
}
"""Shares of the unlabelled rows and values of c in Figures 2a and 2c, per scale."""


def figures_2(shares: tuple[float, ...], scales: tuple[float, ...]) -> tuple[Row, ...]:
    """The grids of Figures 2a and 2c, each around the hand-set SMVAE."""
    return (
        *grid("SMVAE", lambda share: {"unlabelled_fraction": share}, {"unlabelled": shares}),
        *grid("SMVAE", lambda c: {"c": c}, {"c": scales}),
    )


STUDY = Study(
    name="smvae_label_fractions",
    title="Semi-supervised classification with several views and few labels",
    paper="smvae",
    targets=(),
    metric="accuracy",
    view=ALL_VIEWS,
    view_names={"eeg": "EEG", "eye": "Eye", "peripheral": "PPS"},
    label_fractions=(0.01, 0.02, 0.03),
    marks=(Mark("•", INDUCTIVE, worse=True),),
    scales={
        "demo": Scale(corpus="seed-twin-demo", rows=(*ROWS, *figures_2(*GRIDS["demo"])), seeds=9, selection_seeds=3),
        "full": Scale(corpus="seed-twin", rows=(*ROWS, *figures_2(*GRIDS["full"])), seeds=20, selection_seeds=5),
    },
    tables=(
        Table(
            "table2",
            "Accuracy with few labels",
            "P2, Table 2",
            partitions=("test",),
            published="smvae_table2_{corpus}",
            kind="fractions",
        ),
    ),
    figures=(
        Figure(
            "figure2a",
            "factor_lines",
            "Share of unlabelled rows",
            "P2, Figure 2a",
            system="SMVAE",
            factors=("unlabelled",),
        ),
        Figure("figure2b", "learned", "Weights of the views", "P2, Figure 2b", system=INDUCTIVE),
        Figure(
            "figure2c",
            "factor_lines",
            "Scale of the classification loss",
            "P2, Figure 2c",
            system="SMVAE",
            factors=("c",),
        ),
    ),
)

if __name__ == "__main__":
    main(STUDY)
