"""What several systems refuse alike, in the same sentences."""

from __future__ import annotations

from affect.data.task import FitData
from affect.errors import UserError
from affect.systems.base import Facts
from affect.trial import Settings


def refuse_hidden(system: str, settings: Settings, name: str = "hidden") -> None:
    """A `UserError` for a setting `name` that lists no widths."""
    parts = str(settings[name]).split("-")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise UserError(f"{system}: {name}={settings[name]} is not a list of widths such as 100-50.")


def refuse_single_view(system: str, facts: Facts) -> None:
    """A `UserError` for a task of one view, for systems that relate views."""
    if len(facts.widths) < 2:
        raise UserError(f"{system} relates views to each other, but there is one view only.")


def refuse_latent(system: str, settings: Settings, facts: Facts, prefix: str = "") -> None:
    """A `UserError` for a latent space of more dimensions than there are rows to learn it from; `prefix` is that of the
    settings' names."""
    for name in ("latent", "auxiliary", "inputs_latent"):
        if 0 < facts.n_pool < int(settings.get(name, 0)):
            raise UserError(
                f"{system}: {prefix}{name}={settings[name]} is more dimensions than there are rows, {facts.n_pool}."
            )


def refuse_absent_classes(system: str, data: FitData) -> None:
    """A `UserError` where no labelled row is of some class."""
    without = sorted(set(range(data.classes)) - set(data.y_labelled[:, 0].astype(int).tolist()))
    if without:
        rows, target = len(data.labelled), data.targets[0]
        raise UserError(f"{system}: none of the {rows} labelled rows is of class {without[0]} of {target}.")
