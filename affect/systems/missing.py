"""Views that may be missing: which they are, and the networks q_ψ(x_m | x_o) that stand in for them (P2, Eq. 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from affect.data.task import FitData, by_column
from affect.errors import UserError
from affect.systems.base import Hyperparameter
from affect.systems.gaussians import log_density, split
from affect.systems.perceptrons import Perceptron
from affect.systems.training import Parameters

if TYPE_CHECKING:
    from affect.systems.vae import Joined

INCOMPLETE = Hyperparameter(
    "last", structural=True, help="views that may be missing: last, all, or their numbers from 1 joined by +"
)


def incomplete_views(system: str, setting: str, views: int) -> tuple[int, ...]:
    """The views (0-based) that `setting` names, or a `UserError`."""
    words = {"last": (views - 1,), "all": tuple(range(views))}
    parts = setting.split("+")
    if setting not in words and not all(part.isdecimal() and 0 < int(part) <= views for part in parts):
        raise UserError(f"{system}: incomplete={setting} does not name some of the {views} views.")
    if views < 2:
        raise UserError(f"{system} fills in a view from the others, but there is one view only.")
    return words[setting] if setting in words else tuple(sorted({int(part) - 1 for part in parts}))


def refuse_contradictions(system: str, data: FitData, setting: str | None) -> None:
    """Raise `UserError` for views of unequal length, for a mask that does not fit them or leaves nothing to learn from, and
    for views that rows lack although `setting` (see `INCOMPLETE`; None: any may be missing) does not name them."""
    inputs = data.train
    lengths = [len(array) for array in inputs.arrays]
    if len(set(lengths)) > 1:
        raise UserError(
            f"{system}: the views have {' and '.join(map(str, lengths))} rows, but a row is one sample in all."
        )
    if inputs.present is None:
        return
    views, present = len(lengths), inputs.present > 0
    if present.shape != (len(inputs), views):
        raise UserError(
            f"{system}: missing views are given as {list(present.shape)} for {len(inputs)} rows of {views} views."
        )
    nothing = int((~present.any(1)).sum())
    if nothing:
        raise UserError(f"{system}: {nothing} of {len(inputs)} training rows have no view at all.")
    may = range(views) if setting is None else incomplete_views(system, setting, views)
    for view, rows in enumerate((~present).sum(0).tolist()):
        if rows == len(inputs):
            raise UserError(f"{system}: no training row has view {view + 1}; leave the view out.")
        if rows and view not in may:
            raise UserError(
                f"{system}: {rows} training rows lack view {view + 1}, which incomplete={setting} does not name."
            )


def columns(values: Tensor, widths: Sequence[int], views: Sequence[int]) -> Tensor:
    """The columns of some of the views, side by side."""
    pieces = values.split(list(widths), -1)
    return pieces[views[0]] if len(views) == 1 else torch.cat([pieces[v] for v in views], -1)


Moments = tuple[Tensor, Tensor]
"""Mean and log-variance [K, B, D] of a Gaussian."""


@dataclass(frozen=True)
class Imputer:
    """q_ψ of one view: a Gaussian given other views, of which the missing ones are zeros and said to be missing."""

    net: Perceptron
    view: int
    given: tuple[int, ...]
    flags: tuple[int, ...]
    """Those of `given` that may be missing themselves."""

    def moments(self, p: Parameters, x: Tensor, widths: Sequence[int], present: Tensor | None) -> Moments:
        """From inputs [K, B, D]."""
        parts = {"x": columns(x, widths, self.given)}
        if self.flags:
            flags = x.new_ones(*x.shape[:2], len(self.flags))
            parts["present"] = flags if present is None else present[..., list(self.flags)].to(x.dtype)
        return split(self.net.output(p, self.net.enter(p, parts)))


def imputers(
    widths: Sequence[int], missing: Sequence[int], hidden: tuple[int, ...], units: str, *, from_each_other: bool
) -> tuple[Imputer, ...]:
    """One for each view that may be `missing`, given those that never are, and the other missing ones `from_each_other`."""
    made = []
    for m in missing:
        given = tuple(v for v in range(len(widths)) if v != m and (from_each_other or v not in missing))
        flags = tuple(v for v in given if v in missing)
        parts = {"x": sum(widths[v] for v in given)} | ({"present": len(flags)} if flags else {})
        made.append(Imputer(Perceptron(f"imputer{m + 1}", parts, hidden, 2 * widths[m], units), m, given, flags))
    return tuple(made)


def surprise(truth: Sequence[Tensor], found: Sequence[Moments], joined: Joined) -> tuple[Tensor, Tensor]:
    """Σ -log q_ψ(x_m | x_o) [K] over this worker's complete rows and the views that may be missing (Eqs. 17 and 18),
    and how many rows of the whole batches are complete [K]. `truth`: those views [K, B, D_m]; `found`: their moments."""
    x, present = joined.x, joined.present
    whole = x.new_ones(x.shape[:2]) if present is None else present.all(-1).to(x.dtype)
    own = x.new_zeros(len(x))
    for value, each in zip(truth, found, strict=True):
        own = own - (log_density(value, *each) * whole).sum(1)
    (complete,) = joined.shard.reduce(whole.sum(1))
    return own, complete


def impute(made: Sequence[Imputer], widths: Sequence[int], p: Parameters, x: Tensor, present: Tensor) -> Tensor:
    """Inputs [n, D] with the views that rows lack, as `present` [n, V] says, at their mean E[q_ψ(x_m | x_o)] → [K, n, D]."""
    there = (present > 0).expand(len(p[made[0].net.name + ".b1"]), -1, -1)
    x = torch.where(by_column(there, widths), x, 0)
    views = list(x.split(list(widths), -1))
    for each in made:
        mean, _ = each.moments(p, x, widths, there)
        views[each.view] = torch.where(there[..., each.view, None], views[each.view], mean)
    return torch.cat(views, -1)
