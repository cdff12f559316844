"""What this process knows of the Ray job that it is, where Ray's job server has started it in a copy of the code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from affect.errors import UserError

CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""The variable by which Ray's job server hands a job its settings; no other process has it."""


def metadata() -> Mapping[str, str] | None:
    """What was said of this job when it was submitted; None where this is no job."""
    config = os.environ.get(CONFIG)
    return None if config is None else json.loads(config).get("metadata", {})


def is_absolute(place: str) -> bool:
    """Whether a folder or URI means the same wherever it is read."""
    return "://" in place or Path(place).is_absolute()


def refuse_lost(places: Mapping[str, str | None]) -> None:
    """Refuse option → place (None: not given) where a job would write into its copy of the code, which Ray removes."""
    if metadata() is None:
        return
    for option, place in places.items():
        if place is not None and not is_absolute(place):
            raise UserError(
                f"{option} {place}: would be lost with this job's copy of the code; give an absolute path or a URI, "
                "or submit with `affect submit`, which does so."
            )
