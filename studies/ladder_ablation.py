#!/usr/bin/env python
"""P1, Table I and Figure 3: what do ladder networks, multitask learning and unlabelled data each add?

Six systems on one corpus, scored by CCC on arousal, valence and dominance; floors from scikit-learn below them.

    python studies/ladder_ablation.py                                    # demo on synthetic data, minutes
    python studies/ladder_ablation.py --corpus corpora/qcc --label-fraction 1.0 0.1 0.02 --seeds 10
    python studies/ladder_ablation.py --scale full --plan                # what the paper's size would cost
"""

from affect.command import main
from affect.study import Claim, Figure, Mark, Row, Scale, Study, Table
from search_spaces.ladder import PAPER, SETTINGS, attribute_weights, single_tasks

LADDERS = ("Lad+L+STL", "Lad+L+MTL", "Lad+UL+STL", "Lad+UL+MTL")
UNLABELLED = LADDERS[2:]
BASELINES = ("STL", "MTL")
GAINED = ("arousal", "dominance")


def rows(parts: int) -> tuple[Row, ...]:
    """The paper's six rows, every MTL row choosing α and β from the same grid, and the floors."""
    systems = ("STL", "MTL", *LADDERS)
    candidates = {"STL": single_tasks(), "MTL": attribute_weights(parts)}
    return (
        *(Row(name, candidates[name.rpartition("+")[2]]) for name in systems),
        *(Row(name, floor=True) for name in ("ridge", "svr", "tfidf_ridge")),
    )


STUDY = Study(
    name="ladder_ablation",
    title="Ladder networks for speech emotion attributes: within-corpus ablation",
    paper=PAPER,
    targets=("arousal", "valence", "dominance"),
    metric="ccc",
    marks=(Mark("•", "STL"), Mark("∗", "MTL")),
    scales={
        "demo": Scale(corpus="podcast-twin-demo", rows=rows(parts=3), seeds=9),
        "full": Scale(corpus="podcast-twin", rows=rows(parts=10), seeds=10),
    },
    settings=SETTINGS,
    notes=(
        "STL: a network that learns one attribute. MTL: one that learns all three, weighted by α, β and 1 − α − β, which are "
        "chosen for each attribute. Lad: a ladder network, which also reconstructs its inputs and hidden layers from noisy "
        "ones; Lad+L those of labelled rows, Lad+UL those of unlabelled rows too. ridge is linear and svr support "
        "vector regression on the same features, tfidf_ridge is linear on the words of a text.",
        "CCC: Lin's concordance correlation coefficient.",
        "The ladders' weights start with variance 1/fan_in, as in the reference ladder network; those of STL and MTL as "
        "torch's default has it.",
        "Lad+L rows with fewer than all labels: batch-norm statistics at inference come from training inputs without "
        "labels too.",
        "Unlabelled data: all training inputs, labelled ones included, and the corpus' unlabelled rows.",
        "Ladders: the prediction after an epoch, by which epochs are chosen, takes its batch-norm statistics from at most "
        "1,024 training inputs, that of the model that is scored from at most 8,192.",
        "Lad+UL rows: an unlabelled update leaves the output layer alone, of which its costs do not depend; momentum does not "
        "move it either.",
    ),
    tables=(Table("table1", "Within-corpus evaluation", "P1, Table I", published="ladder_table1"),),
    figures=(
        Figure("figure3", "mean_bars", "Mean of development and test", "P1, Figure 3", published="ladder_table1"),
        Figure("label_fractions", "label_fractions", "Test CCC against the labels used", "not in the paper"),
        Figure("learning_curves", "learning_curves", "Development CCC by epoch", "not in the paper"),
    ),
    claims=(
        Claim(
            "On the development set the best ladder network is significantly better than STL for arousal and dominance.",
            "P1, Section V-A",
            *(LADDERS, ("STL",), GAINED, "development"),
            any_of=True,
        ),
        Claim(
            "On the development set the best performance for arousal and dominance is that of the ladder network with "
            "MTL and labelled data only.",
            "P1, Section V-A",
            *(("Lad+L+MTL",), (), GAINED, "development"),
            kind="best_row",
        ),
        Claim(
            "On the test set the ladder networks are significantly better than both baselines for arousal.",
            "P1, Section V-A",
            *(LADDERS, BASELINES, ("arousal",)),
        ),
        Claim(
            "On the test set the ladder networks with unlabelled data are significantly better than both baselines for "
            "dominance.",
            "P1, Section V-A",
            *(UNLABELLED, BASELINES, ("dominance",)),
        ),
        Claim(
            "On the test set the ladder networks with unlabelled data give the best performance for arousal and "
            "dominance.",
            "P1, Section V-A",
            *(UNLABELLED, (), GAINED),
            kind="best_row",
        ),
        Claim(
            "For valence the baselines achieve better results.",
            "P1, Section V-A",
            *(BASELINES, LADDERS, ("valence",)),
            significant=False,
        ),
        Claim(
            "Over STL the proposed architectures gain 3.0 % for arousal and 3.5 % for dominance (mean of development "
            "and test).",
            "P1, Section V-A, Figure 3",
            *(LADDERS, ("STL",), GAINED, "mean"),
            kind="relative_gain",
            published="ladder_table1",
        ),
    ),
)

if __name__ == "__main__":
    main(STUDY)
