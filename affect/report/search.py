"""What a search found, for its report: history, importances, slices and the ablation path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from affect.report import numbers
from affect.report.analysis import Analysis
from affect.report.canvas import COLOURS, DECADES, GREYS, paint, panels
from affect.report.cube import PARTITIONS
from affect.report.document import Block, Bullets, Cell, Grid, Heading, Image, Paragraph
from affect.report.evidence import SearchEvidence
from affect.report.tidy import csv
from affect.stats import bootstrap_interval, sign_flip

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_SHOWN: Mapping[str, dict[str, Any]] = {
    "complete": {"color": COLOURS[0], "marker": "o", "s": 16, "label": "all epochs", "zorder": 3},
    "stopped": {"color": GREYS[2], "marker": "x", "s": 12, "label": "stopped early", "linewidths": 0.8},
}


def search_blocks(search: SearchEvidence, analysis: Analysis) -> tuple[list[Block], dict[str, bytes]]:
    """The search's part of a report, and the files beside it: figures and `suggestions.csv`."""
    files: dict[str, bytes] = {"suggestions.csv": csv(search.history)}
    corpus, metric = analysis.resolved.corpus, analysis.resolved.study.metric
    blocks: list[Block] = [Heading(2, f"Search of {search.record.system}"), _summary(search)]
    if search.record.winner is not None:
        blocks.append(winner_grid(search.record.winner, analysis))
    for name, title, caption, make in (
        ("history", "History", _history_caption(search), lambda: history(search, metric)),
        ("importance", "Importance", _IMPORTANCE, lambda: importance(search.record.importances)),
        ("slices", "Slices", _SLICES, lambda: slices(search.history, metric)),
    ):
        blocks.append(Heading(3, title))
        drawn = paint(make, corpus)
        if drawn is None:
            blocks.append(Paragraph("Not drawn: too few suggestions went all the way."))
            continue
        files |= {f"{name}.{kind}": content for kind, content in drawn.items()}
        blocks.append(Image(name, caption, f"{title} of the search of {search.record.system}"))
    if search.path is not None and len(search.path):
        blocks += [Heading(3, "Ablation path"), path_grid(search, metric)]
    return blocks, files


_IMPORTANCE = (
    "Share of each parameter in what sets the better suggestions apart (PED-ANOVA), over those that went all the way."
)
_SLICES = (
    "Development value of each suggestion that did not diverge against each of its parameters; crosses: stopped early, at "
    "what they had."
)
FIGURES = ("history", "importance", "slices")


def _history_caption(search: SearchEvidence) -> str:
    text = "Mean development value of each suggestion, and the best so far."
    text += " Dashed: the hand-set configuration." * (search.record.hand_set is not None)
    text += " Right: against the optimiser steps spent, beside a search that stops nothing." * (
        search.control is not None
    )
    return text


def _summary(search: SearchEvidence) -> Bullets:
    record, frame = search.record, search.history
    items = [_counted("Suggestions", frame) + f"; judged on {numbers.plural(record.search_seeds, 'search seed')}."]
    if len(frame) and frame["number"].max() >= len(frame):
        items.append("What was under way when the run was interrupted was asked anew under another number.")
    if record.rungs:
        items.append(
            f"Compared after {', '.join(map(str, record.rungs))} epochs: the best 1/{record.reduction} of all that were known "
            "to have come so far went on (ASHA, each suggestion by itself)."
        )
    if record.hand_set is not None:
        spared = ", which is never stopped" if record.rungs else ""
        seeds = numbers.plural(record.search_seeds, "search seed")
        items.append(f"The hand-set configuration{spared}: {numbers.value(record.hand_set)} on {seeds}.")
    if search.control is not None:
        items.append(
            _counted("With nothing stopped, for as many optimiser steps", search.control)
            + ". One run of each: the difference between them has no error bar."
        )
    if record.winner is not None:
        items.append(
            f"Winner, of the refitted suggestions the best on development data of fresh seeds: {record.winner}. Values on "
            "search seeds flatter, for the best of many were picked by them."
        )
    elif record.refits is not None and len(record.refits.rows) == 1:
        items.append("Nothing to refit: no suggestion but the hand-set configuration went all the way.")
    return Bullets(tuple(items))


def winner_grid(winner: str, analysis: Analysis) -> Grid:
    """The winner against the hand-set configuration (the first row), on the mean of all targets, paired by seed."""
    hand = analysis.cube.systems[0]
    rows: list[tuple[Cell, ...]] = []
    gains: list[float] = []
    for partition in ("development", "test"):
        p = PARTITIONS.index(partition)
        ours, theirs = (_over_targets(analysis, name, p) for name in (winner, hand))
        d = (ours - theirs)[~np.isnan(ours - theirs)]
        low, high = bootstrap_interval(d)
        gains.append(float(d.mean()) if len(d) else float("nan"))
        means = (float(side.mean()) if len(side) else float("nan") for side in (ours, theirs))
        rows.append(
            (
                Cell(partition.capitalize()),
                *(Cell(numbers.value(mean) if np.isfinite(mean) else "–") for mean in means),
                Cell(numbers.difference(gains[-1])),
                Cell(numbers.interval(float(low), float(high))),
                Cell(numbers.p_value(float(sign_flip(d)))),
                Cell(str(len(d))),
            )
        )
    return Grid(
        name="winner",
        caption=f"{winner} against {hand}, mean of all targets",
        columns=("Partition", "Winner", "Hand-set", "Difference", "95 % interval", "Sign-flip p", "Seeds"),
        rows=tuple(rows),
        notes=(
            "Paired by seed, one-tailed. The winner was picked by the development values of these very seeds, which "
            "flatters it there; the test part had no say in anything.",
            *numbers.narrow(len(d)),
            *(
                ("Keep the hand-set settings: no suggestion is above them on development data.",)
                if gains[0] <= 0
                else (f"To use the winner's settings: --set {_options(winner, analysis)}.",)
            ),
        ),
    )


def _options(name: str, analysis: Analysis) -> str:
    """What a row sets, as a command line says it."""
    (row,) = (row for row in analysis.resolved.rows if row.name == name)
    return " ".join(f"{setting}={value}" for setting, value in sorted(row.candidates[0].items()))


def _over_targets(analysis: Analysis, name: str, p: int) -> np.ndarray:
    """Mean over targets of one row in partition `p`, per seed; a target that the row gives no weight counts as zero."""
    cube = analysis.cube
    s = cube.systems.index(name)
    unscored = ~cube.expected[cube.main, s].any(axis=1)
    return np.asarray(np.where(unscored[:, None], 0.0, cube.values[cube.main, s, :, p]).mean(axis=0))


def _counted(what: str, frame: pd.DataFrame) -> str:
    counts = frame["status"].value_counts().sort_index()
    each = ", ".join(f"{count} {status}" for status, count in counts.items())
    best = frame.loc[frame["status"] == "complete", "value"].max()
    steps = f"{int(frame['steps'].sum()):,} optimiser steps"
    return f"{what}: {len(frame)} ({each}), {steps}, best {'–' if np.isnan(best) else numbers.value(best)}"


def history(search: SearchEvidence, metric: str) -> Canvas | None:
    """Values by suggestion with the best so far; with a control, the best so far of both against steps spent."""
    from matplotlib.ticker import EngFormatter

    frame = search.history
    if not (frame["status"] == "complete").any():
        return None
    canvas, axes = panels(1 if search.control is None else 2, 2.9, width=3.6)
    for status, style in _SHOWN.items():
        some = frame[frame["status"] == status]
        axes[0].scatter(some["number"], some["value"], **style)
    axes[0].step(
        frame["number"], _best_so_far(frame), where="post", color=COLOURS[2], linewidth=1.2, label="best so far"
    )
    if search.record.hand_set is not None:
        axes[0].axhline(search.record.hand_set, color=GREYS[1], linewidth=0.9, linestyle="--", label="hand-set")
    axes[0].set_xlabel("Suggestion")
    axes[0].set_ylabel(f"Development {metric.upper()}, mean of targets")
    axes[0].legend(loc="lower right")
    if search.control is not None:
        for part, colour, name in (
            (frame, COLOURS[2], "weak ones stopped" if search.record.rungs else "as many epochs for all"),
            (search.control, COLOURS[4], "nothing stopped"),
        ):
            axes[1].step(
                part["steps"].cumsum(), _best_so_far(part), where="post", color=colour, linewidth=1.3, label=name
            )
        # On a scale of its own: what stopped suggestions had would flatten it.
        axes[1].set_ylabel("Best so far")
        axes[1].set_xlabel("Optimiser steps")
        axes[1].xaxis.set_major_formatter(EngFormatter())
        axes[1].legend(loc="upper left")
    for panel in axes:
        panel.grid(True)
    return canvas


def _best_so_far(frame: pd.DataFrame) -> np.ndarray:
    complete = frame["value"].where(frame["status"] == "complete")
    return complete.cummax().ffill().to_numpy(np.float64)


def importance(shares: Mapping[str, float]) -> Canvas | None:
    """Importances as bars, the largest on top."""
    if not shares:
        return None
    ordered = sorted(shares.items(), key=lambda item: item[1])
    canvas, (panel,) = panels(1, 0.7 + 0.26 * len(ordered), width=4.6)
    panel.barh([name for name, _ in ordered], [share for _, share in ordered], 0.7, color=COLOURS[0])
    panel.set_xlabel("Importance")
    panel.xaxis.grid(True)
    panel.tick_params(length=0)
    return canvas


def slices(frame: pd.DataFrame, metric: str) -> Canvas | None:
    """Values against each parameter, a panel each."""
    from matplotlib.ticker import NullFormatter

    parameters = pd.DataFrame(frame["parameters"].map(json.loads).tolist(), index=frame.index)
    if parameters.empty or not (frame["status"] == "complete").any():
        return None
    columns = min(4, parameters.shape[1])
    rows = -(-parameters.shape[1] // columns)
    canvas, axes = panels(columns, 0.3 + 2.1 * rows, rows=rows, width=2.2, share_y=True)
    for panel, name in zip(axes, parameters, strict=False):
        values = parameters[name]
        numeric = pd.api.types.is_numeric_dtype(values)
        for status, style in _SHOWN.items():
            mask = (frame["status"] == status) & values.notna()
            panel.scatter(values[mask] if numeric else values[mask].astype(str), frame.loc[mask, "value"], **style)
        if numeric and values.min() > 0 and values.max() / values.min() > DECADES:
            panel.set_xscale("log")
            # Whole decades, labelled alone: labels between them would overlap.
            panel.set_xlim(0.8 * 10 ** np.floor(np.log10(values.min())), 1.25 * 10 ** np.ceil(np.log10(values.max())))
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(name)
        panel.grid(True)
    for panel in axes[parameters.shape[1] :]:
        panel.set_visible(False)
    for panel in axes[::columns]:
        panel.set_ylabel(f"Development {metric.upper()}")
    return canvas


def path_grid(search: SearchEvidence, metric: str) -> Grid:
    """Development and test means along the ablation path; `search.path` must be there."""
    assert search.path is not None
    assert search.record.path is not None
    # As in the search, a target that a step gives no weight counts as zero.
    targets = len(search.record.path.study.targets)
    each = search.path.groupby(["system", "partition", "target"])["value"].mean()
    means = each.groupby(level=["system", "partition"]).sum(min_count=1) / targets
    lost = int((search.path["status"] == "diverged").sum())
    names = [row.name for row in search.record.path.rows]
    rows, before = [], float("nan")
    for name in names:
        now = means.get((name, "development"), float("nan"))
        test = means.get((name, "test"), float("nan"))
        texts = (numbers.value(x) if np.isfinite(x) else "–" for x in (now, test))
        rows.append((Cell(name), *(Cell(text) for text in texts), Cell(numbers.difference(now - before))))
        before = now
    seeds = numbers.plural(search.record.path.seeds, "fresh seed")
    return Grid(
        name="path",
        caption="From the hand-set configuration to the winner, one factor at a time",
        columns=("Setting changed", "Development", "Test", "Gain on development"),
        rows=tuple(rows),
        notes=(
            f"Mean {metric.upper()} of all targets over {seeds}. The changes were ordered by what they gain on development "
            "data of these seeds, which flatters those that come first."
            + (f" {numbers.plural(lost, 'value')} of diverged trials left out." if lost else ""),
        ),
    )
