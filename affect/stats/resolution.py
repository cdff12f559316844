"""What a number of paired seeds can resolve, known before anything is trained."""

from __future__ import annotations


def smallest_p(n_seeds: int, two_sided: bool = False) -> float:
    """Smallest p that a sign-flip or signed-rank test over `n_seeds` pairs can give: 1/2^n, two-sided 2/2^n."""
    return min(1.0, (2.0 if two_sided else 1.0) * 0.5**n_seeds)


def seeds_needed(comparisons: int, level: float = 0.05, two_sided: bool = False) -> int:
    """Fewest seeds with which the best of `comparisons` comparisons can reach `level` after Holm."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    seeds = 1
    while smallest_p(seeds, two_sided) * max(1, comparisons) > level:
        seeds += 1
    return seeds
