#!/usr/bin/env python
"""P2, Section 4.2: classes from two views with 1-3 % of the labels (Table 2).

python studies/smvae_label_fractions.py                              # demo on synthetic data, minutes
python studies/smvae_label_fractions.py --corpus deap-twin-demo
python studies/smvae_label_fractions.py --corpus corpora/mfeat --view fou+zer --label-fraction 0.02 0.05 --seeds 20
python studies/smvae_label_fractions.py --scale full --plan          # what the paper's size would cost
"""

from affect.command import main
from affect.study import ALL_VIEWS, Mark, Row, Scale, Study, Table
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
        "demo": Scale(corpus="seed-twin-demo", rows=ROWS, seeds=9),
        "full": Scale(corpus="seed-twin", rows=ROWS, seeds=20),
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
)

if __name__ == "__main__":
    main(STUDY)
