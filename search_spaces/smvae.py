"""P2: candidate settings of the multi-view generative paper's systems, and the spaces that searches of them draw from."""

from __future__ import annotations

from affect.study import Settings

SCALES = (0.1, 0.5, 1.0)
"""The paper's values of c, c1 and c2 (Sections 4.2.1 and 4.3.1)."""


def classification_scales() -> tuple[Settings, ...]:
    """Values of c (Eq. 8): three candidates for every generative row."""
    return tuple({"c": c} for c in SCALES)
