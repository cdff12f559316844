#!/usr/bin/env python
"""P1, Section IV-D: what the ladder's hyperparameters are worth, by grids and by searches.

python studies/ladder_hyperparameters.py                                        # grids, demo on synthetic data
python studies/ladder_hyperparameters.py --corpus corpora/qcc --label-fraction 1.0 0.1 0.02    # and curves over labels
python studies/ladder_hyperparameters.py --corpus corpora/qcc --label-fraction 0.1 --search 100 --systems Lad+UL+MTL MTL
"""

from affect.command import main
from affect.study import Figure, Row, Scale, Search, Space, Study, grid
from search_spaces import ladder
from search_spaces.ladder import LAMBDAS, PAPER, SETTINGS, every_lambda

SYSTEM = "Lad+UL+MTL"
SECTION = "P1, Section IV-D"
OURS = "not in the paper"
TOGETHER = (("alpha", "beta"), ("lambda_0", "lambda_1", "lambda_2"))
"""One factor each of the ablation path: neither weights nor reconstruction costs mean much one at a time."""


def rows(parts: int, rates: tuple[float, ...]) -> tuple[Row, ...]:
    """One grid per figure; what a grid does not vary is hand-set."""
    weights = ladder.attribute_weights(parts)
    return (
        *grid(SYSTEM, every_lambda, {"λ": LAMBDAS}),
        *grid(SYSTEM, lambda variance: {"noise_variance": variance}, {"σ²": (0.03, 0.1, 0.3, 1.0)}),
        *grid(SYSTEM, lambda share: {"unlabelled_fraction": share}, {"pool": (0.1, 0.25, 0.5, 1.0)}),
        *(Row(SYSTEM, (point,), factors={"α": point["alpha"], "β": point["beta"]}) for point in weights),
        *grid(
            SYSTEM, lambda value, rate: {**every_lambda(value), "learning_rate": rate}, {"λ": LAMBDAS, "rate": rates}
        ),
    )


def search(system: str, space: Space) -> Search:
    """Judged on two seeds: what is best for the labels of one is worse than hand-set for those of others (QCC)."""
    return Search(system, space, reduction=4, seeds=2, together=TOGETHER, start=ladder.start, control=True)


STUDY = Study(
    name="ladder_hyperparameters",
    title="Hyperparameters of ladder networks for speech emotion attributes",
    paper=PAPER,
    targets=("arousal", "valence", "dominance"),
    metric="ccc",
    marks=(),
    scales={
        "demo": Scale(corpus="podcast-twin-demo", rows=rows(parts=3, rates=(5e-4, 2e-3)), seeds=2),
        "full": Scale(corpus="podcast-twin", rows=rows(parts=10, rates=(1e-5, 5e-5, 2e-4, 1e-3)), seeds=10),
    },
    settings=SETTINGS,
    figures=(
        Figure("lambda", "factor_curve", "Weight of the reconstruction costs", SECTION, system=SYSTEM, factors=("λ",)),
        Figure("noise", "factor_curve", "Variance of the noise", OURS, system=SYSTEM, factors=("σ²",)),
        Figure("pool", "factor_curve", "Share of the unlabelled pool", OURS, system=SYSTEM, factors=("pool",)),
        Figure("lambda_labels", "label_fractions", "λ by labels used", OURS, system=SYSTEM, factors=("λ",)),
        Figure("pool_labels", "label_fractions", "The pool by labels used", OURS, system=SYSTEM, factors=("pool",)),
        Figure("weights", "heat_map", "Weights of arousal and valence", SECTION, system=SYSTEM, factors=("α", "β")),
        Figure("lambda_rate", "heat_map", "λ and learning rate", OURS, system=SYSTEM, factors=("λ", "rate")),
    ),
    searches=(
        search(SYSTEM, ladder.unlabelled_ladder),
        search("Lad+L+MTL", ladder.ladder),
        search("MTL", ladder.mtl),
    ),
)

if __name__ == "__main__":
    main(STUDY)
