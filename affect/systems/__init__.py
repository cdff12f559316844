"""Systems: models that can be fitted, by the name of their table row."""

from __future__ import annotations

from affect.errors import UserError
from affect.systems.base import System


def registry() -> dict[str, System]:
    """All systems by name. To add a family: write its module and list it here."""
    from affect.systems import classic, conet, floors, generative, imputation, ladder, mopoe, multiview, represented

    families = (ladder, generative, multiview, mopoe, imputation, conet, represented, classic, floors)
    return {system.name: system for family in families for system in family.SYSTEMS}


def get_system(name: str) -> System:
    systems = registry()
    if name not in systems:
        raise UserError(f"Unknown system {name}; known systems are {', '.join(systems)}.")
    return systems[name]
