"""How numbers are written in reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from affect.stats import LEVEL, widest_coverage

MINUS = "\u2212"


def value(x: float) -> str:
    """A correlation to three decimals."""
    return _signed(f"{x:.3f}")


def spread(mean: float, deviation: float) -> str:
    """Mean ± standard deviation as P2 prints them: `.861±.037`; the mean alone where there is one value."""
    shown = [f"{x:.3f}".replace("0.", ".", 1) for x in (mean, deviation) if not math.isnan(x)]
    return "±".join(shown)


def difference(x: float) -> str:
    return "–" if math.isnan(x) else _signed(f"{x:+.3f}")


def interval(low: float, high: float) -> str:
    return "–" if math.isnan(low) or math.isnan(high) else f"{difference(low)} to {difference(high)}"


def narrow(n_seeds: int) -> tuple[str, ...]:
    """A sentence where so few seeds make a bootstrap interval too narrow, or nothing."""
    if n_seeds < 2 or widest_coverage(n_seeds) >= 1 - LEVEL:
        return ()
    return (
        f"With {n_seeds} seeds the interval reaches at most from the smallest to the largest difference, which covers "
        f"{100 * widest_coverage(n_seeds):.0f} % where 95 % are due.",
    )


def p_value(p: float) -> str:
    """Three decimals, never a p of zero; `–` where the test could not be made."""
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(x: float) -> str:
    """A relative gain to a tenth of a per cent, signed."""
    return "–" if not math.isfinite(x) else _signed(f"{100 * x:+.1f} %")


def labels(fraction: float) -> str:
    """A label fraction in words."""
    return "all labels" if fraction == 1 else f"{100 * fraction:g} % of the labels"


def count(n: float) -> str:
    return "unknown" if math.isnan(n) else f"{n:,.0f}"


def seeds(numbers: Sequence[int]) -> str:
    """Seed numbers in short: `0 to 9`, or a list with gaps."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers[:12])) + (", …" if len(numbers) > 12 else "")


def setting(x: object) -> str:
    """A hyperparameter's value, short and exact."""
    if isinstance(x, float):
        return f"{x:g}"
    if isinstance(x, list | tuple):
        return "/".join(setting(item) for item in x)
    return str(x)


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _signed(text: str) -> str:
    """With a true minus, and none before a rounded zero."""
    if not text.strip("+-0. %"):
        return text.lstrip("+-")
    return text.replace("-", MINUS)
