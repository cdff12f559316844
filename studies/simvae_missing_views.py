#!/usr/bin/env python
"""P2, Section 4.3: classes and imputation where 10-90 % of the training rows lack a view (Figures 3-6).

python studies/simvae_missing_views.py                               # demo on synthetic data, minutes
python studies/simvae_missing_views.py --corpus corpora/mfeat --view fou+zer --label-fraction 0.05 0.1 --seeds 10
python studies/simvae_missing_views.py --scale full --plan           # what the paper's size would cost
"""

from typing import Any

from affect.command import main
from affect.study import ALL_VIEWS, Claim, Figure, Row, Scale, Search, Study, Table
from affect.trial import Settings
from search_spaces import smvae
from search_spaces.smvae import PAPER, SCALES, SETTINGS, both_scales, classification_scales, imputation_weights

FACTOR = "missing"
TWO_STAGE = ("SoftImputeALS", "DCCAE", "CorrNet")
"""Views are filled in first; then comes SMVAE."""
METHODS = (*TWO_STAGE, "CoNet", "SDGM+", "SiMVAE")
FULL, PARTIAL = "FullData", "PartialData"


def rows(missing: tuple[float, ...], every: bool) -> tuple[Row, ...]:
    """Six methods and the bound that discards incomplete rows at each share of `missing` rows, the mean as a floor, the
    bound that lacks nothing, and the grid of Figure 6 at 10 %. All choose among as many candidates: nine, or three."""
    c, both = classification_scales(every, {"latent": (10, 30, 60)}), both_scales(every)
    candidates: dict[str, tuple[Settings, ...]] = {
        "DCCAE": classification_scales(every, {"imputer_reconstruction": (0.001, 0.01, 0.1)}),
        "CorrNet": classification_scales(every, {"imputer_correlation": (0.5, 2.0, 5.0)}),
        "SDGM+": imputation_weights(every),
        "SiMVAE": both,
    }

    def at(share: float, system: str, label: str = "", **more: bool) -> Row:
        return Row(system, candidates.get(system, c), factors={FACTOR: share}, label=label, missing=share, **more)

    return (
        *(at(share, name) for name in METHODS for share in missing),
        *(at(share, "SiMVAE", PARTIAL, discard=True) for share in missing),
        Row("SiMVAE", both, label=FULL),
        *(
            Row("SiMVAE", ({"c1": c1, "c2": c2},), factors={"c1": c1, "c2": c2}, missing=0.1)
            for c1 in SCALES
            for c2 in SCALES
        ),
        *(at(share, "MeanImputation", "mean", floor=True) for share in missing),
    )


def says(sentence: str, systems: tuple[str, ...], baselines: tuple[str, ...], where: str, **more: Any) -> Claim:
    """A claim of Section 4.3 at every label fraction and share of missing views of the run."""
    given = {"fractions": (), "factor": FACTOR} | more
    return Claim(sentence, f"P2, Section {where}", systems, baselines, (), **given)


ACCURACY, IMPUTATION = "4.3.2, Figure 3", "4.3.3, Figure 4"
SEMI_SUPERVISED = ("SiMVAE", "CoNet", "SDGM+")
ERRORS: dict[str, Any] = {"errors": "missing rows"}
CLAIMS = (
    says(
        "SiMVAE consistently outperforms the compared methods.", ("SiMVAE",), METHODS[:-1], ACCURACY, significant=False
    ),
    says(
        "Compared with the two-stage methods the advantage of SiMVAE is significant.", ("SiMVAE",), TWO_STAGE, ACCURACY
    ),
    says(
        "Compared with the two-stage methods the advantage of SiMVAE is significant where labels are sufficient (3 %).",
        ("SiMVAE",),
        TWO_STAGE,
        ACCURACY,
        fractions=(0.03,),
    ),
    says("SiMVAE shows obvious advantage over CoNet and SDGM+.", ("SiMVAE",), ("CoNet", "SDGM+"), ACCURACY),
    says(
        "SiMVAE with even about 50 % incomplete samples achieves comparable results to the fully complete case.",
        ("SiMVAE",),
        (FULL,),
        ACCURACY,
        kind="near",
        at=(0.5,),
        margin=0.02,
    ),
    says(
        "SiMVAE's performance is closer to FullData than to PartialData.",
        ("SiMVAE",),
        (FULL, PARTIAL),
        ACCURACY,
        kind="closer",
    ),
    says(
        "As the fraction of missing data increases, the distance between original and recovered modalities increases.",
        METHODS,
        (),
        IMPUTATION,
        kind="rises",
        **ERRORS,
    ),
    says(
        "The semi-supervised imputation methods consistently outperform the unsupervised imputation methods.",
        SEMI_SUPERVISED,
        TWO_STAGE,
        IMPUTATION,
        significant=False,
        **ERRORS,
    ),
    says(
        "More labelled training data improve the imputation performance of semi-supervised methods.",
        SEMI_SUPERVISED,
        (),
        IMPUTATION,
        kind="more_labels",
        **ERRORS,
    ),
    says(
        "SoftImputeALS shows the worst imputation performance.",
        METHODS[1:],
        METHODS[:1],
        IMPUTATION,
        significant=False,
        **ERRORS,
    ),
    says(
        "CoNet and SDGM+ obtain comparable imputation errors to SiMVAE.",
        ("CoNet", "SDGM+"),
        ("SiMVAE",),
        IMPUTATION,
        kind="near",
        margin=0.05,
        **ERRORS,
    ),
    says(
        "SiMVAE is not very sensitive to the values of c1 and c2.",
        tuple(f"SiMVAE, c1 {c1:g}, c2 {c2:g}" for c1 in SCALES for c2 in SCALES),
        (),
        "4.3.4, Figure 6",
        kind="near",
        margin=0.05,
        factor="",
    ),
)

STUDY = Study(
    name="simvae_missing_views",
    title="Semi-supervised classification and imputation with missing views",
    paper=PAPER,
    targets=(),
    metric="accuracy",
    presets=("paper", "author_code"),
    view=ALL_VIEWS,
    view_names={"eeg": "EEG", "eye": "Eye", "peripheral": "PPS"},
    settings=SETTINGS,
    marks=(),
    scales={
        "demo": Scale(
            "seed-twin-demo",
            rows((0.1, 0.5, 0.9), every=False),
            seeds=2,
            selection_seeds=2,
            label_fractions=(0.03,),
        ),
        "full": Scale(
            "seed-twin",
            rows((0.1, 0.3, 0.5, 0.7, 0.9), every=True),
            seeds=20,
            selection_seeds=3,
            label_fractions=(0.01, 0.02, 0.03),
        ),
    },
    notes=(
        "CoNet is written after what P2 says of it and its title, for it has neither code nor equations within reach: its rows "
        "are of our reading of it.",
        "SDGM+ tells classes from the views that no row lacks and from what it expects of the last one, so that it makes no "
        "use of the last view of development and test rows.",
        "The last stage of every row has the same learning rate and passes; where it is SMVAE, it sees filled-in rows as if "
        "complete. Labelled rows are among the unlabelled ones too.",
        "The last view of the task is the one that rows lack, as large a share of the labelled rows as of the others; "
        "development and test rows lack none. Of each class a labelled row keeps its views as long as there is room; "
        "PartialData is left out where fewer complete labelled rows remain than there are classes.",
        "Views are z-scored with the training rows that have them, of each seed its own; where incomplete rows are discarded, "
        "with those that remain.",
    ),
    tables=(
        Table("accuracy", "Accuracy with missing views", "P2, Figure 3", kind="factor", factor=FACTOR),
        Table(
            "nmse", "Imputation of missing views", "P2, Figure 4", kind="factor", factor=FACTOR, errors="missing rows"
        ),
        Table("nmse_all", "Imputation, whole matrix", "P2, Figure 4", kind="factor", factor=FACTOR, errors="all rows"),
    ),
    figures=(
        Figure("figure3", "factor_lines", "Accuracy with missing views", "P2, Figure 3", factors=(FACTOR,)),
        Figure(
            *("figure4", "factor_lines", "Imputation of missing views", "P2, Figure 4"),
            factors=(FACTOR,),
            errors="missing rows",
        ),
        Figure(
            *("figure4_all", "factor_lines", "Imputation, whole matrix", "P2, Figure 4"),
            factors=(FACTOR,),
            errors="all rows",
        ),
        Figure("figure5", "imputed", "Imputed rows", "P2, Figure 5", factors=(FACTOR,)),
        Figure("figure6", "heat_map", "c1 and c2", "P2, Figure 6", system="SiMVAE", factors=("c1", "c2")),
    ),
    claims=CLAIMS,
    searches=(Search("SiMVAE", smvae.simvae), Search("SDGM+", smvae.sdgm_plus), Search("CoNet", smvae.smvae)),
)

if __name__ == "__main__":
    main(STUDY)
