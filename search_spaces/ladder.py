"""P1: candidate settings of the ladder paper's systems, as declarations."""

from __future__ import annotations

from affect.study import Settings
from affect.systems.ladder import ATTRIBUTES


def single_tasks() -> tuple[Settings, ...]:
    """One model per attribute: nothing to choose, each attribute has exactly one."""
    return tuple({"target": name} for name in ATTRIBUTES)


def attribute_weights(parts: int) -> tuple[Settings, ...]:
    """α, β ≥ 0 with α + β ≤ 1 on a grid of step 1/`parts` (Section IV-D): 66 points for 10 parts, 10 points for 3."""
    return tuple(
        {"alpha": alpha / parts, "beta": beta / parts}
        for alpha in range(parts + 1)
        for beta in range(parts + 1 - alpha)
    )
