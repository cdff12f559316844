"""The leakage gate: what of a corpus could make scores too good, found once, when it is written, for each protocol.

Groups, recordings and texts that lie in two partitions come from the sample table; rows that are copies of each other
(`copies.py`) and columns that tell the label from the views. A study under `leak_free` is stopped by the kinds in
`STOPPING` unless its command line names them; under `as_published` findings are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from affect.data.checks import plain_text, quoted, shown, straddling, ungrouped
from affect.data.copies import Sketch, copies, sketch, steps, take
from affect.data.manifest import LEAK_FREE, PARTITIONS, SCORED, STOPPING, UNKNOWN, Finding, TargetInfo, ViewInfo
from affect.errors import UserError
from affect.streams import stream
from affect.study import CorpusFacts

SAMPLE_ROWS, SAMPLE_BYTES = 4096, 128 << 20
"""Rows of a view on which columns are scaled and compared with labels: the first bound that is reached."""
FEWEST_ROWS = 50
"""Fewer labelled training rows than this in the sample let one of many columns fit by chance."""
TELLING = 0.7
"""Share of a target that a column must explain by itself to be suspected. The best of speech (QCC) explain .45, of
handwritten digits .35, of text (EmoBank) .07, of the twins .30; the label plus noise of half its standard deviation
explains .8. For one class against the rest, the best are .95 (digits, by the holes in an 8) and .45 (twins)."""
GAP = 0.5
"""A suspect leaves at most this share of what the best ordinary column leaves unexplained."""
MOST_SUSPECTS = 5
"""Columns of a view that may encode one label together, or as many as it has classes; if more explain it, it is easy
rather than leaked, unless they are nearly the label itself."""
NEARLY = 0.95
"""Share of a target that a column must explain to be nearly the label itself, as a rater's vote among features can be.
A family of such columns, with no other above `TELLING`, is the label however many they are, up to `NEARLY_ALL`."""
NEARLY_ALL = 0.25
"""Share of the columns of a view beyond which even those make it easy rather than leaked."""
FEWEST_OF_CLASS = 10
"""Fewer rows of a class than this may lie side by side in one of many columns by chance."""
CHUNK = 512
"""Columns that are ranked at once."""

Told = tuple[str, str]
"""Kind of a finding and its sentence."""


def findings(
    folder: Path,
    samples: pd.DataFrame,
    views: Mapping[str, ViewInfo],
    columns: Mapping[str, Sequence[str]],
    targets: Mapping[str, TargetInfo],
    groups: str,
    protocols: Mapping[str, str],
) -> tuple[Finding, ...]:
    """The findings of every protocol in the written `views` of `folder`, in the order of the protocols.

    `samples` is the stored sample table; `columns` names the columns of a view [N, D] that have names.
    """
    named = {view: partial(_named, view, info, columns[view]) for view, info in views.items()}
    sketches: dict[str, Sketch] = {}
    encoded: dict[tuple[str, str], list[str]] = {}
    order = _labelled(samples, targets, protocols)
    for view, info in views.items():
        file = folder / info.file
        most = SAMPLE_BYTES // (4 * math.prod(info.shape[1:]))
        known = order[samples[info.present].to_numpy()[order] == 1] if info.present else order
        rows = known[: min(SAMPLE_ROWS, max(FEWEST_ROWS, most))]
        sample = np.concatenate([take(file, rows[here]) for here in steps(file, len(rows))])
        sketches[view] = sketch(file, sample, stream(0, "leakage", view))
        for column in dict.fromkeys(c for p, c in protocols.items() if info.protocol in ("", p)):
            training = samples[column].to_numpy(object)[rows] == "train"
            labels = samples.iloc[rows[training]]
            encoded[view, column] = _encodings(sample[training], labels, targets, named[view])
    texts = np.zeros(len(samples), np.int64)
    if "text" in samples.columns:
        texts = pd.factorize(samples["text"].map(plain_text))[0]
    recurring: dict[tuple[str, ...], list[Told]] = {}
    found = []
    for protocol, column in protocols.items():
        usable = [view for view, info in views.items() if info.protocol in ("", protocol)]
        # Protocols may share partitions and views.
        key = (column, *usable)
        if usable and key not in recurring:
            present = np.ones((len(samples), len(usable)), bool)
            for number, view in enumerate(usable):
                if mask := views[view].present:
                    present[:, number] = samples[mask].to_numpy() == 1
            recurring[key] = _recurring([sketches[view] for view in usable], present, texts, samples, column)
        told = of_table(samples, column, groups, protocols) + recurring.get(key, [])
        for view in usable:
            of_columns = [("label_encoded", sentence) for sentence in encoded[view, column]]
            of_columns += _repeated(sketches[view], named[view])
            if of_columns and not columns[view]:
                kind, sentence = of_columns[0]
                of_columns[0] = kind, f"{sentence.removesuffix('.')}; columns are counted from 0."
            told += of_columns
        found += [Finding(protocol, kind, sentence) for kind, sentence in told]
    return tuple(found)


def permit(facts: CorpusFacts, protocol: str, allowed: Sequence[str]) -> CorpusFacts:
    """`facts` in which the kinds that `allowed` names are marked so; refused where another stops a study."""
    if protocol != LEAK_FREE:
        return facts
    told = list(zip(facts.kinds, facts.findings, strict=False))
    refused: dict[str, str] = {}
    for kind, text in told:
        if kind in STOPPING and kind not in allowed:
            refused.setdefault(kind, text)
    if refused:
        reasons = "; ".join(f"{kind}: {text.removesuffix('.')}" for kind, text in refused.items())
        raise UserError(
            f"{facts.name}: what was found in this corpus stops a study under {LEAK_FREE} ({reasons}); add --allow "
            f"{' '.join(refused)} to run it all the same."
        )
    notes = facts.findings[len(told) :]
    marked = [
        (f"{kind} (allowed)", f"{text} Allowed by --allow {kind}.") if kind in STOPPING else (kind, text)
        for kind, text in told
    ]
    return replace(facts, kinds=tuple(kind for kind, _ in marked), findings=(*(text for _, text in marked), *notes))


def of_table(samples: pd.DataFrame, column: str, groups: str, protocols: Collection[str]) -> list[Told]:
    """What the sample table alone tells: groups unknown, missing or in two partitions, recordings in two, texts that recur."""
    told = []
    if groups == UNKNOWN:
        told.append(
            ("groups_unknown", "Groups are unknown: rows of one speaker or recording may lie in several partitions.")
        )
    else:
        if apart := _apart(samples, "group", column, f"groups ({groups})"):
            told.append(("groups_straddle", apart))
        alone = ungrouped(samples["group"].to_numpy(object), samples[column].to_numpy(object))
        if alone.any():
            scored = samples[column].isin(SCORED).sum()
            first = shown(samples["id"].to_numpy(object)[alone][0])
            # A partition of its own can keep the promise that this one cannot.
            outcome = "" if LEAK_FREE in protocols else f", so protocol {LEAK_FREE} is not offered"
            sentence = f"{alone.sum():,} of {scored:,} scored rows have no group ({groups}), the first of them {first}"
            told.append(("groups_unknown", f"{sentence}{outcome}."))
    if "recording" in samples.columns and (apart := _apart(samples, "recording", column, "recordings")):
        told.append(("recordings_straddle", apart))
    if "text" in samples.columns:
        texts = samples["text"].map(plain_text).to_numpy(object)
        count = len(straddling(texts, samples[column].to_numpy(object)))
        if count:
            told.append(("texts_recur", f"{count} texts recur in two or more of train, development and test."))
    return told


def _apart(samples: pd.DataFrame, key: str, column: str, what: str) -> str:
    """A sentence on the values of `key` that lie in two scored partitions; empty where none does."""
    apart = straddling(samples[key].to_numpy(object), samples[column].to_numpy(object))
    if not apart:
        return ""
    total = samples.loc[samples[column].isin(SCORED), key].nunique()
    first, names = next(iter(apart.items()))
    return (
        f"{len(apart)} of {total} {what} lie in two or more of train, development and test; {quoted(first)} lies in "
        f"{', '.join(names)}."
    )


def _recurring(
    sketches: Sequence[Sketch], present: np.ndarray, texts: np.ndarray, samples: pd.DataFrame, column: str
) -> list[Told]:
    """Rows of development and test that an earlier partition holds as well, and those of test among unlabelled rows.
    `present` [N, V]: earlier rows that lack views count as copies of rows that are the same in the others."""
    partitions = samples[column].to_numpy(object)
    train, development, test, unlabelled = (np.flatnonzero(partitions == name) for name in PARTITIONS)
    pairs = ((development, train), (test, np.concatenate([train, development])))

    def copied(of: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Exact and near copies [2, n] of the rows `of` [n]."""
        best = np.full((2, len(of)), -1)
        for views in np.unique(present[among], axis=0):
            same = among[(present[among] == views).all(axis=1)]
            there = [sketch for sketch, has in zip(sketches, views, strict=True) if has]
            if there:
                best = np.maximum(best, copies(there, texts, of, same))
        best[1, best[0] >= 0] = -1
        return best

    found = [(of, *copied(of, among)) for of, among in pairs]
    rows, exact, near = (np.concatenate(parts) for parts in zip(*found, strict=True))
    hidden = copied(test, unlabelled).max(axis=0)
    told = []
    for kind, of, partner, where in (
        ("rows_recur", rows, exact, "development and test occur in another partition as well, the same in every view"),
        ("rows_nearly_recur", rows, near, "development and test occur in another partition as well, but for noise"),
        ("unlabelled_recur", test, hidden, "test occur among the unlabelled rows as well"),
    ):
        if count := np.count_nonzero(partner >= 0):
            first = np.argmax(partner >= 0)
            pair = [f"{shown(samples['id'].iloc[row])} of {partitions[row]}" for row in (of[first], partner[first])]
            told.append((kind, f"{count:,} of {len(of):,} rows of {where}, such as {' and '.join(pair)}."))
    return told


def _encodings(
    sample: np.ndarray, labels: pd.DataFrame, targets: Mapping[str, TargetInfo], name: Callable[[int], str]
) -> list[str]:
    """A sentence for every column of `sample` [n, D], training rows with `labels`, that tells a target by itself."""
    told = []
    # Targets that are known for the same rows, as most are, share one sorting of the columns.
    alike: dict[bytes, dict[str, np.ndarray]] = {}
    for target in targets:
        values = labels[target].to_numpy()
        there = ~np.isnan(values)
        if there.sum() >= FEWEST_ROWS and np.ptp(values[there]) > 0:
            alike.setdefault(there.tobytes(), {})[target] = values[there]
    for known, group in alike.items():
        scores = explained(sample[np.frombuffer(known, bool)], group, targets)
        for target, score in scores.items():
            most = max(MOST_SUSPECTS, len(targets[target].classes))
            suspects, rest = suspected(score, most)
            if len(suspects) > most:
                told.append(
                    f"{name(suspects[0])} and {len(suspects) - 1:,} other columns by themselves explain "
                    f"{score[suspects[-1]]:.0%} or more of {target} on the training rows; the best of the others "
                    f"explains {rest:.0%}."
                )
                continue
            such = f", as one of {len(suspects)} such columns" if len(suspects) > 1 else ""
            told += [
                f"{name(column)} by itself explains {score[column]:.0%} of {target} on the training rows{such}; the best "
                f"of the other columns explains {rest:.0%}."
                for column in suspects
            ]
    return told


def explained(
    columns: np.ndarray, labels: Mapping[str, np.ndarray], targets: Mapping[str, TargetInfo]
) -> dict[str, np.ndarray]:
    """Target → [D] how much each of `columns` [n, D] alone explains of its labels [n]: 0 is chance, 1 is all.

    Continuous: the squared rank correlation or, for a column in which the label goes up and down, how much closer than by
    chance the ranks of neighbours are (one minus half of von Neumann's ratio), whichever is more. Classes: how much more
    often than by chance rows that are neighbours in the column share their class (like Cohen's kappa). Ranks would not do
    for classes: features that merely put ten of them into a good order have a correlation ratio of .98. Where every class
    but one is told from the rest by some column, as by indicators or posteriors, that counts too; a column that tells one
    class of many may be an honest one (the holes in a digit tell an 8). Rows are in random order, which settles ties.
    """
    found: dict[str, list[np.ndarray]] = {target: [] for target in labels}
    for start in range(0, columns.shape[1], CHUNK):
        order = np.argsort(np.ascontiguousarray(columns[:, start : start + CHUNK].T), axis=1, kind="stable")
        for target, values in labels.items():
            score = _of_classes if targets[target].kind == "class" else _of_scale
            found[target].append(score(values, order))
    return {target: _whole(np.concatenate(parts, axis=1)) for target, parts in found.items()}


def _whole(scores: np.ndarray) -> np.ndarray:
    """[D] from the scores [1 + classes, D] of the target and of each class against the rest, where they count."""
    told = np.count_nonzero(scores[1:].max(axis=1) >= TELLING)
    best: np.ndarray = scores.max(axis=0) if told >= max(2, len(scores) - 2) else scores[0]
    return best


def _of_scale(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """[1, D] the share of continuous `values` [n] that columns explain which sort their rows into `order` [D, n]."""
    rank = np.arange(len(values)) - (len(values) - 1) / 2
    ranks = pd.Series(values).rank().to_numpy() - (len(values) + 1) / 2
    by_column = ranks[order]
    squares = ranks @ ranks
    correlated = np.square(by_column @ rank) / (rank @ rank * squares)
    near = 1 - np.square(np.diff(by_column)).sum(axis=1) / (2 * squares)
    return np.maximum(correlated, near)[None]


def _of_classes(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """[1 + classes, D] the same for classes: of all together, and of each that has rows enough against the rest."""
    classes, counts = np.unique(values, return_counts=True)
    scores = [_agreement(values[order], counts / len(values))]
    if len(classes) > 2:
        for one, count in zip(classes, counts, strict=True):
            if count >= FEWEST_OF_CLASS:
                share = count / len(values)
                scores.append(_agreement((values == one)[order], np.array([share, 1 - share])))
    return np.stack(scores)


def _agreement(by_column: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """[D] how much more often than by chance neighbours in [D, n] are the same, given the `shares` of all values."""
    chance = np.square(shares).sum()
    return ((by_column[:, 1:] == by_column[:, :-1]).mean(axis=1) - chance) / (1 - chance)


def suspected(score: np.ndarray, most: int = MOST_SUSPECTS) -> tuple[np.ndarray, float]:
    """At most `most` columns whose `score` [D] is high and far above the best of the others, and that one's; nothing is
    beside a last. More than `most` where all of them are nearly the label and no other column is suspicious."""
    order = np.argsort(-score, kind="stable")
    near = int(np.count_nonzero(score >= NEARLY))
    if most < near <= NEARLY_ALL * len(score) and score[order[near]] < TELLING:
        return order[:near], float(score[order[near]])
    for count in range(min(most, len(order)), 0, -1):
        last = score[order[count - 1]]
        rest = float(score[order[count]]) if count < len(order) else 0.0
        if last >= TELLING and 1 - last <= GAP * (1 - rest):
            return order[:count], rest
    return order[:0], 0.0


def _repeated(view: Sketch, name: Callable[[int], str]) -> list[Told]:
    if not view.repeated:
        return []
    later, earlier = view.repeated[0]
    count = len(view.repeated)
    what = "columns are" if count > 1 else "column is"
    first = f"{name(later)} is {name(earlier)}"
    return [("columns_repeat", f"{count:,} {what} identical to an earlier one of the same view: {first}.")]


def _labelled(samples: pd.DataFrame, targets: Mapping[str, TargetInfo], protocols: Mapping[str, str]) -> np.ndarray:
    """Rows with a label that are scored under any protocol, shuffled."""
    scored = samples[list(protocols.values())].isin(SCORED).any(axis=1)
    rows = np.flatnonzero(scored & samples[list(targets)].notna().any(axis=1))
    return stream(0, "leakage", "rows").permutation(rows)


def _named(view: str, info: ViewInfo, names: Sequence[str], column: int) -> str:
    """A column of a view [N, ...] in a sentence: by its name, or counted from 0."""
    place = names[column] if names else ",".join(map(str, np.unravel_index(column, info.shape[1:])))
    return f"column {place} of view {view}"
