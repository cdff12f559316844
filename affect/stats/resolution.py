"""What a number of paired seeds can resolve, known before anything is trained."""

from __future__ import annotations

LEVEL = 0.05
"""Level of every test."""


def smallest_p(n_seeds: int) -> float:
    """Smallest p that a sign-flip test over `n_seeds` pairs can give: 1/2^n."""
    return 0.5**n_seeds


def widest_coverage(n_seeds: int) -> float:
    """What an interval from the smallest to the largest of `n_seeds` differences covers: the truth, which half of all
    differences exceed, is outside where all lie on one side of it. No bootstrap interval reaches further."""
    return max(0.0, 1 - 2 * smallest_p(n_seeds))


def resolvable(n_seeds: int, comparisons: int, level: float = LEVEL) -> bool:
    """Whether with `n_seeds` the best of `comparisons` comparisons can reach `level` after Holm."""
    return smallest_p(n_seeds) * max(1, comparisons) <= level


def seeds_needed(comparisons: int, level: float = LEVEL) -> int:
    """Fewest seeds with which the best of `comparisons` comparisons can reach `level` after Holm."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    seeds = 1
    while not resolvable(seeds, comparisons, level):
        seeds += 1
    return seeds
