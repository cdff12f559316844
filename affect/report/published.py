"""Published values of the papers, kept as data in `reports/published`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from affect.errors import UserError

FOLDER = Path(__file__).parents[2] / "reports" / "published"
"""In the checkout that the package is run from: these values are part of the project, not of the package."""


@dataclass(frozen=True)
class Published:
    """Values of one table of a paper; None where the available text lacks them."""

    source: str
    reason: str
    """Why values are lacking: one sentence."""
    cells: Mapping[str, Mapping[str, Mapping[str, float | list[float] | None]]]
    """partition → system → target → value; in tables by label fraction → [mean, standard deviation]"""
    gains: Mapping[str, float | None]
    """target → relative gain (0.03 is 3 %) over `gains_baseline`, mean of development and test; may be empty"""
    gains_baseline: str
    gains_source: str

    def cell(self, partition: str, system: str, target: str) -> float | None:
        value = self.cells.get(partition, {}).get(system, {}).get(target)
        return None if isinstance(value, list) else value

    def spread(self, partition: str, system: str, fraction: str) -> tuple[float, float] | None:
        """Mean and standard deviation at a label fraction such as `0.01`."""
        value = self.cells.get(partition, {}).get(system, {}).get(fraction)
        return (value[0], value[1]) if isinstance(value, list) else None

    @property
    def has_cells(self) -> bool:
        return any(v is not None for rows in self.cells.values() for row in rows.values() for v in row.values())


def published_for(name: str | None, corpus: str, folder: Path | None = None) -> Published | None:
    """`read_published`, with `{corpus}` in `name` standing for a corpus or the corpus of a twin; None where the paper has
    no values for that one."""
    if name is None or "{corpus}" not in name:
        return read_published(name, folder or FOLDER)
    of = corpus.removesuffix("-demo").removesuffix("-twin")
    known = name.format(corpus=of)
    return (
        read_published(known, folder or FOLDER) if ((folder or FOLDER) / known).with_suffix(".json").is_file() else None
    )


def read_published(name: str | None, folder: Path = FOLDER) -> Published | None:
    """Read `name` (with or without `.json`) in `folder`; None for no name. UserError: missing or unreadable."""
    if name is None:
        return None
    path = (folder / name).with_suffix(".json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        gains = content.get("relative_gains", {"targets": {}, "baseline": "", "source": ""})
        return Published(
            source=content["source"],
            reason=content["reason"],
            cells=content["cells"],
            gains=gains["targets"],
            gains_baseline=gains["baseline"],
            gains_source=gains["source"],
        )
    except FileNotFoundError:
        if not folder.is_dir():
            raise UserError(
                f"The published values are not beside the package ({folder} does not exist): install affect from its "
                "checkout with `pip install --editable .`."
            ) from None
        raise UserError(f"The published values {path} are missing.") from None
    except (KeyError, ValueError) as error:
        raise UserError(f"The published values {path} cannot be read: {error!r}.") from None
