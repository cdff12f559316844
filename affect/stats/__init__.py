"""Statistics: concordance, and tests of one system against another. Pure NumPy and SciPy."""

from affect.stats.comparisons import fisher_z, holm, paired_t, sign_flip
from affect.stats.concordance import ccc, ccc_columns
from affect.stats.intervals import bootstrap_interval, mean_interval
from affect.stats.metrics import accuracy_columns, score_columns
from affect.stats.resolution import LEVEL, resolvable, seeds_needed, smallest_p, widest_coverage

__all__ = [
    "LEVEL",
    "accuracy_columns",
    "bootstrap_interval",
    "ccc",
    "ccc_columns",
    "fisher_z",
    "holm",
    "mean_interval",
    "paired_t",
    "resolvable",
    "score_columns",
    "seeds_needed",
    "sign_flip",
    "smallest_p",
    "widest_coverage",
]
