"""Tasks: a corpus seen through one protocol, with the test targets sealed away from fitting."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from affect.data.checks import check_targets
from affect.data.corpus import Corpus
from affect.data.manifest import PARTITIONS, SCORED
from affect.errors import UserError
from affect.streams import stream
from affect.trial import TaskSpec

FEWEST_LABELS = 8
"""CCC of a batch needs a handful of rows; fewer labels than this are refused."""
CLIP = 100.0
"""Normalised inputs are clipped at this many standard deviations: a single 1e12 outlier in a test row must not
overflow float32, and no column of n rows holds a larger z-score than sqrt(n)."""


def by_column(views: torch.Tensor, widths: Sequence[int] | torch.Tensor) -> torch.Tensor:
    """What is said of each view [..., V], said of each of its columns [..., D]."""
    return torch.repeat_interleave(views, torch.as_tensor(widths, device=views.device), -1)


@dataclass(frozen=True)
class Inputs:
    """Rows of one or more views side by side, normalised as they are taken: (x - mean) * scale, clipped. The arrays
    themselves are never copied."""

    arrays: tuple[np.ndarray, ...]
    """One [M, D_v] per view, possibly a memory map."""
    rows: np.ndarray
    """[n] rows of the arrays that these inputs are."""
    mean: np.ndarray
    scale: np.ndarray
    """[D] one over the standard deviation of each column of the views, 0 for constant columns."""
    text: np.ndarray | None = None
    """[n] strings, for systems that fit on text."""
    present: np.ndarray | None = None
    """[n, V] whether a row has a view; None where all are there. A missing view is taken as zeros: its training means."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def widths(self) -> tuple[int, ...]:
        """D_v of each view."""
        return tuple(int(array.shape[1]) for array in self.arrays)

    @property
    def width(self) -> int:
        """D, columns of all views."""
        return sum(self.widths)

    @cached_property
    def _tensors(self) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor, torch.Tensor]:
        with warnings.catch_warnings():
            # torch warns that a memory map is not writable; nothing here writes to it.
            warnings.simplefilter("ignore", UserWarning)
            arrays = tuple(torch.from_numpy(array) for array in self.arrays)
        mean, scale = (torch.from_numpy(values.astype(np.float32)) for values in (self.mean, self.scale))
        return arrays, torch.from_numpy(self.rows), mean, scale

    def take(self, index: torch.Tensor | slice) -> torch.Tensor:
        """Rows `index` (positions 0..n-1) as float32 [len(index), D]."""
        arrays, rows, mean, scale = self._tensors
        columns = [torch.index_select(array, 0, rows[index]) for array in arrays]
        taken = columns[0] if len(columns) == 1 else torch.cat(columns, 1)
        taken = taken.sub_(mean).mul_(scale).clamp_(-CLIP, CLIP)
        present = self.views_of(index)
        if present is not None:
            taken *= by_column(present, self.widths)
        return taken

    def views_of(self, index: torch.Tensor | slice) -> torch.Tensor | None:
        """Which views rows `index` have, [len(index), V] of 0 and 1; None where all have all."""
        return None if self.present is None else torch.from_numpy(self.present)[index].float()

    def numpy(self, index: np.ndarray | None = None) -> np.ndarray:
        """Rows `index` (all by default) as float32 [n, D]."""
        return self.take(slice(None) if index is None else torch.from_numpy(index)).numpy()


@dataclass(frozen=True)
class FitData:
    """All that a fit may see: training inputs, the labelled subset's targets, development inputs and targets."""

    train: Inputs
    """[N] training rows, followed by the corpus' unlabelled rows or, in a transductive task, by the test part's."""
    labelled: np.ndarray
    """[n_l] positions in `train` whose targets are known."""
    targets: tuple[str, ...]
    y_labelled: np.ndarray
    """[n_l, T] in the targets' own units."""
    target_mean: np.ndarray
    target_std: np.ndarray
    """[T] of the labelled subset alone."""
    development: Inputs
    y_development: np.ndarray
    n_train: int
    """How many rows of `train` belong to the training partition (the rest is the corpus' unlabelled part)."""
    pool: np.ndarray | None = None
    """[n] positions in `train` of the unlabelled pool; None where it is all of them. Fits use no other row."""
    epoch_rows: int = 0
    """Rows of a pass over all that an inductive fit on whole rows would have: what a task holds back must not decide how
    long a fit trains. 0: the pool's."""
    classes: int = 0
    """How many classes the one target has, whose values are their numbers; 0 for continuous targets."""

    @property
    def metric(self) -> str:
        """What development values are: see `affect.stats.metrics`."""
        return "accuracy" if self.classes else "ccc"


@dataclass(frozen=True)
class Part:
    """One partition with its targets, for the final evaluation."""

    name: str
    inputs: Inputs
    targets: np.ndarray
    ids: np.ndarray


class Task:
    """A corpus under a `TaskSpec`. `fit_data(seed)` is what fitting sees; `parts(seed)` is opened after the fit."""

    def __init__(self, corpus: Corpus, spec: TaskSpec) -> None:
        _refuse_unread(spec)
        self.corpus = corpus
        self.spec = spec
        self.classes = _classes(corpus, spec)
        samples = corpus.samples
        partition = corpus.partition(spec.protocol)
        self._rows = {name: np.flatnonzero(partition == name) for name in PARTITIONS}
        self._targets = corpus.labels(spec.targets)
        labelled = np.isfinite(self._targets).all(axis=1)
        for name in ("development", "test"):
            self._rows[name] = self._rows[name][labelled[self._rows[name]]]
        self._labelled_train = self._rows["train"][labelled[self._rows["train"]]]
        scored = {**self._rows, "train": self._labelled_train}
        for name in SCORED:
            if len(scored[name]) == 0:
                raise UserError(
                    f"{corpus.folder}: partition {name} has no row labelled for {', '.join(spec.targets)} "
                    f"under protocol {spec.protocol}."
                )
        self._arrays = tuple(corpus.view(name, spec.protocol) for name in spec.views)
        for name, array in zip(spec.views, self._arrays, strict=True):
            if array.ndim != 2:
                raise UserError(
                    f"{corpus.folder}: view {name} has shape {list(array.shape)}, but systems take rows of features "
                    "[N, D]; choose another with --view."
                )
        self._has = corpus.present(spec.views)
        self._moments: dict[int | None, tuple[np.ndarray, np.ndarray]] = {}
        self._text = samples["text"].to_numpy() if "text" in samples.columns else None

    def _normalisation(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each view over the training rows that have it and are not discarded: where views are missing, of each seed."""
        key = seed if self.spec.missing else None
        if key not in self._moments:
            train = self._rows["train"]
            there = np.ones((len(train), len(self._arrays)), bool)
            if (present := self._present(seed)) is not None:
                there = present[: len(train)]
                there = there.all(axis=1, keepdims=True) & there if self.spec.discard else there
            moments = [column_moments(array, train[has]) for array, has in zip(self._arrays, there.T, strict=True)]
            mean, scale = (np.concatenate(columns) for columns in zip(*moments, strict=True))
            self._moments[key] = mean, scale
        return self._moments[key]

    def _inputs(self, rows: np.ndarray, seed: int) -> Inputs:
        mean, scale = self._normalisation(seed)
        text = None if self._text is None else self._text[rows]
        present = None if self._has is None or self._has[rows].all() else self._has[rows]
        return Inputs(self._arrays, rows, mean, scale, text, present)

    def _train(self, seed: int) -> Inputs:
        return self._inputs(self._train_rows, seed)

    @cached_property
    def _train_rows(self) -> np.ndarray:
        return np.concatenate([self._rows["train"], self._rows[self._beside]])

    @property
    def _beside(self) -> str:
        """The partition whose inputs a fit gets beside those of the training part."""
        return "test" if self.spec.transductive else "unlabelled"

    def _present(self, seed: int) -> np.ndarray | None:
        """[N, V] which views the rows of `train` have; None where all have all. Of those that lack none in the corpus, the
        heads of one permutation per seed lack the last, as large a share of the labelled rows as of the others, so that
        10 % ⊂ 30 %. The rows that lead the labelled subset come last: of each class a row with label keeps its views as
        long as there is room."""
        own = None if self._has is None else self._has[self._train_rows]
        if self.spec.missing == 0:
            return own
        n = len(self._train_rows) - (len(self._rows["test"]) if self.spec.transductive else 0)
        present = np.ones((len(self._train_rows), len(self._arrays)), bool) if own is None else own
        drawn = self._label_order(seed)
        drawn = drawn[present[drawn].all(axis=1)]
        _, first = np.unique(self._targets[self._rows["train"][drawn], 0], return_index=True)
        leading = drawn[np.sort(first)] if self.classes else drawn[:0]
        order = stream(seed, "missing_views", self.spec.fold).permutation(n)
        order = np.concatenate([order[~np.isin(order, leading)], leading])
        order = order[present[order].all(axis=1)]
        known = np.isin(order, self.labelled(seed))
        for rows in (order[known], order[~known]):
            present[rows[: len(rows) - complete_count(len(rows), self.spec.missing)], -1] = False
        return present

    def _label_order(self, seed: int) -> np.ndarray:
        """Positions (in the training partition) of all rows with a label, in the order in which subsets take them. Where
        the target is a class, the first row of each class leads, so that no class is without a label."""
        order = stream(seed, "label_subset", self.spec.fold).permutation(len(self._labelled_train))
        if self.classes:
            _, first = np.unique(self._targets[self._labelled_train[order], 0], return_index=True)
            order = np.concatenate([order[np.sort(first)], np.delete(order, first)])
        position = np.full(len(self._targets), -1, np.int64)
        position[self._rows["train"]] = np.arange(len(self._rows["train"]))
        return position[self._labelled_train[order]]

    def labelled(self, seed: int) -> np.ndarray:
        """Positions (in the training partition) of the labelled subset: the head of one order per seed, so that
        1 % ⊂ 2 % ⊂ 10 % and every system of a study sees the same subset."""
        count = labelled_count(len(self._labelled_train), self.spec.label_fraction, self.classes)
        return np.sort(self._label_order(seed)[:count])

    def incomplete(self, seed: int) -> Inputs | None:
        """The rows of a fit's training inputs that lack the last view although the corpus has it; None where the task hides
        none."""
        present = self._present(seed)
        if present is None or not self.spec.missing or self.spec.discard:
            return None
        hidden = ~present[:, -1] if self._has is None else ~present[:, -1] & self._has[self._train_rows, -1]
        return _some(replace(self._train(seed), present=present), np.flatnonzero(hidden))

    def norm_of_last_view(self, seed: int) -> float:
        """Frobenius norm of the last view, over all training and unlabelled rows that the corpus has it of, normalised."""
        train = self._train(seed)
        n = len(train) - (len(self._rows["test"]) if self.spec.transductive else 0)
        return float(np.linalg.norm(train.numpy(np.arange(n))[:, -train.widths[-1] :]))

    def fit_data(self, seed: int) -> FitData:
        labelled, present = self.labelled(seed), self._present(seed)
        train, n_train = self._train(seed), len(self._rows["train"])
        pool = None
        if present is not None and self.spec.discard:
            # `train` stays the same rows for all seeds: replicates of a pack take theirs from the same arrays.
            pool = np.flatnonzero(present.all(axis=1))
            labelled = np.intersect1d(labelled, pool)
        elif present is not None:
            train = replace(train, present=present)
        if self.spec.transductive:
            pool = np.concatenate([labelled, np.arange(n_train, len(train))])
        y = self._targets[train.rows[labelled]]
        std = np.ones(1) if self.classes else y.std(axis=0)
        development = self._rows["development"]
        return FitData(
            train=train,
            labelled=labelled,
            targets=self.spec.targets,
            y_labelled=y,
            target_mean=np.zeros(1) if self.classes else y.mean(axis=0),
            target_std=np.where(std > 0, std, 1.0),
            development=self._inputs(development, seed),
            y_development=self._targets[development],
            n_train=n_train,
            pool=pool,
            epoch_rows=n_train + len(self._rows["unlabelled"]),
            classes=self.classes,
        )

    def parts(self, seed: int) -> list[Part]:
        """Labelled training rows that lack no view in the corpus, development and test with their targets. For finished fits
        only."""
        ids = self.corpus.samples["id"].to_numpy()
        train = self._rows["train"][self.labelled(seed)]
        rows = {
            "train": train if self._has is None else train[self._has[train].all(axis=1)],
            "development": self._rows["development"],
            "test": self._rows["test"],
        }
        return [Part(name, self._inputs(r, seed), self._targets[r], ids[r]) for name, r in rows.items() if len(r)]


def _some(inputs: Inputs, index: np.ndarray) -> Inputs:
    """Rows `index` of `inputs`."""
    return replace(
        inputs,
        rows=inputs.rows[index],
        text=None if inputs.text is None else inputs.text[index],
        present=None if inputs.present is None else inputs.present[index],
    )


def _classes(corpus: Corpus, spec: TaskSpec) -> int:
    """Classes of the one target that `accuracy` scores, each of which has a labelled training row; 0 for `ccc`."""
    kind = "class" if spec.metric == "accuracy" else "continuous"
    check_targets(spec.targets, corpus.manifest.targets, corpus.folder)
    infos = [corpus.manifest.targets[target] for target in spec.targets]
    for target, info in zip(spec.targets, infos, strict=True):
        if info.kind != kind:
            raise UserError(f"{corpus.folder}: target {target} is {info.kind}, but this study scores {spec.metric}.")
    if kind == "continuous":
        return 0
    (target,), (info,) = spec.targets, infos
    train = corpus.samples.loc[corpus.partition(spec.protocol) == "train", target]
    for number, name in enumerate(info.classes):
        if not (train == number).any():
            raise UserError(
                f"{corpus.folder}: no training row of protocol {spec.protocol} is labelled {name} in {target}."
            )
    return len(info.classes)


def labelled_count(n: int, fraction: float, classes: int = 0) -> int:
    """Labels that `fraction` of n training rows leaves, or a `UserError` when they are too few."""
    if not 0 < fraction <= 1:
        raise UserError(f"Label fraction {fraction:g} leaves the range (0, 1]; 0.1 keeps a tenth of the labels.")
    count, fewest = round(n * fraction), classes or FEWEST_LABELS
    if count < fewest:
        raise UserError(
            f"Label fraction {fraction:g} leaves {count} of {n} labelled training rows; it must leave at least {fewest}."
        )
    return count


def complete_count(n: int, missing: float) -> int:
    """How many of n rows have all views when the share `missing` lacks one."""
    return n - round(n * missing)


def complete_labels(n: int, missing: float, classes: int = 0) -> int:
    """`complete_count` of n labelled rows, or a `UserError` when it is too small to fit on."""
    count, fewest = complete_count(n, missing), classes or FEWEST_LABELS
    if count < fewest:
        raise UserError(
            f"Missing views: {missing:g} of {n} labelled rows leaves {count} complete ones; what discards the others "
            f"needs at least {fewest}."
        )
    return count


def _refuse_unread(spec: TaskSpec) -> None:
    """Refuse what a `TaskSpec` can say but no code computes: it would be hashed into ids without changing a result."""
    for name in ("selection", "version"):
        value, only = getattr(spec, name), getattr(TaskSpec, name)
        if value != only:
            raise UserError(f"Task {name} {value}: not known here; there is {only} alone.")
    if not 0 <= spec.missing < 1:
        raise UserError(f"Missing views: {spec.missing:g} of the training rows is no share in [0, 1).")
    if spec.discard and not spec.missing:
        raise UserError("Missing views: a task without any cannot discard the rows that lack them.")
    if spec.missing and len(spec.views) < 2:
        raise UserError(f"Missing views: a task with the view {spec.view} alone cannot do without it.")


def column_moments(array: np.ndarray, rows: np.ndarray, chunk: int = 8192) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and one over the (biased) standard deviation [D] of the columns over `rows`, 0 for constant columns.

    Two passes in float64, a chunk of rows at a time, so that 1e12 outliers neither overflow nor cancel.
    """
    total = np.zeros(array.shape[1])
    for start in range(0, len(rows), chunk):
        total += array[rows[start : start + chunk]].sum(axis=0, dtype=np.float64)
    mean = total / max(len(rows), 1)
    square = np.zeros(array.shape[1])
    for start in range(0, len(rows), chunk):
        square += np.square(array[rows[start : start + chunk]] - mean).sum(axis=0)
    std = np.sqrt(square / max(len(rows), 1))
    # Rounding leaves a constant column with a tiny standard deviation relative to its value.
    constant = std <= 1e-7 * np.abs(mean)
    return mean, np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, std))
