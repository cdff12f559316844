"""Copies of rows in small corpora: what is found, beside all pairs compared one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.data import copies
from affect.data.copies import CLIP, FEWEST_COLUMNS, FLOOR, NEAR, sketch


@st.composite
def planted(draw: st.DrawFn) -> tuple[list[np.ndarray], np.ndarray, list[tuple[int, int, bool]]]:
    """Views [N, D] of up to 60 rows, their partitions 0..2, and the (row, copy, exact) planted in them."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(10, 60))
    views = []
    for width in draw(st.lists(st.integers(1, 20), min_size=1, max_size=3)):
        rank = draw(st.sampled_from([2, width]))
        x = generator.standard_normal((count, rank)) @ generator.standard_normal((rank, width))
        x = x * 10.0 ** generator.uniform(-4, 6, width) + generator.choice([0, 1, 1e4], width)
        awkward = generator.random(width)
        x[:, awkward < 0.1] = 3.0
        x[:, (awkward > 0.1) & (awkward < 0.2)] = (generator.random((count, 1)) < 0.1) * 1e12
        x[:, (awkward > 0.2) & (awkward < 0.3)] = np.round(x[:, (awkward > 0.2) & (awkward < 0.3)])
        views.append(x.astype(np.float32))
    partitions = generator.integers(0, 3, count)
    pairs = []
    for _ in range(draw(st.integers(0, 4))):
        row, copy = generator.choice(count, 2, replace=False)
        noise = draw(st.sampled_from([0.0, 1e-7, 1e-6]))
        edge = draw(st.sampled_from([0.0, 0.0, 0.9, 1.3]))
        for x in views:
            sd = spread(x)[1]
            shift = edge * NEAR * np.where(np.isfinite(sd), sd, 0) * generator.choice([-1, 1], x.shape[1])
            x[copy] = x[row].astype(np.float64) * (1 + noise * generator.uniform(-1, 1, x.shape[1])) + shift
        pairs = [pair for pair in pairs if copy not in pair[:2]]  # overwritten
        if edge == 0:  # On the edge, all pairs decide what is due: a copy more moves the scales.
            pairs.append((int(row), int(copy), noise == 0))
    return views, partitions, pairs


def spread(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns with a middle half that varies, their medians and robust standard deviations."""
    low, middle, high = np.percentile(x.astype(np.float64), [25, 50, 75], axis=0)
    return middle, np.where(high > low, np.maximum((high - low) / 1.349, FLOOR * np.abs(middle)), np.inf)


def distances(x: np.ndarray) -> np.ndarray:
    """[N, N] root mean squares of the differences between two rows, over the columns that vary; all or nothing where
    none does."""
    middle, sd = spread(x)
    vary = np.isfinite(sd)
    if not vary.any():
        return np.where((x[:, None] == x).all(axis=2), 0.0, np.inf)
    scaled = np.clip((x.astype(np.float64) - middle) / sd, -CLIP, CLIP)[:, vary]
    return np.sqrt(np.square(scaled[:, None] - scaled).mean(axis=2))


def test_the_true_copy_among_many_that_are_almost_one(tmp_path):
    """A dozen recordings with thirty variants each, one of them near and the others just beyond."""
    draw = np.random.default_rng(0)
    recordings = draw.standard_normal((12, 20))
    sd = spread(np.repeat(recordings, 31, axis=0))[1]
    step = draw.choice([-1, 1], (12, 30, 20)) * NEAR * np.where(np.arange(30) == 17, 0.95, 1.1)[:, None]
    x = np.concatenate([recordings, (recordings[:, None] + sd * step).reshape(-1, 20)])
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    found = sketch(tmp_path / "x.npy", x.astype(np.float32), np.random.default_rng(0))
    of, among = np.arange(12), np.arange(12, len(x))
    _, near = copies.copies([found], np.zeros(len(x), np.int64), of, among)
    assert near.tolist() == (12 + 30 * of + 17).tolist()


@given(planted())
@settings(max_examples=100, deadline=None)
def test_all_pairs_agree(case):
    views, partitions, pairs = case
    train, rest = np.flatnonzero(partitions == 0), np.flatnonzero(partitions > 0)
    with tempfile.TemporaryDirectory() as folder:
        sketches = []
        for number, x in enumerate(views):
            file = Path(folder) / f"{number}.npy"
            np.save(file, x)
            sketches.append(sketch(file, x, np.random.default_rng(number)))
        exact, near = copies.copies(sketches, np.zeros(len(partitions), np.int64), rest, train)
    varying = [np.isfinite(spread(x)[1]).sum() for x in views]
    enough = sum(varying) >= FEWEST_COLUMNS
    identical = np.all([(x[:, None] == x).all(axis=2) for x in views], axis=0)
    apart = np.max([distances(x) for x in views], axis=0)
    for row, same, close in zip(rest, exact, near, strict=True):
        if identical[row, train].any():
            assert same in train
            assert identical[row, same]
            assert close == -1
            continue
        assert same == -1
        # Rounding decides on the very edge.
        if close >= 0:
            assert enough
            assert close in train
            assert apart[row, close] <= NEAR * 1.01
        elif enough:
            assert (apart[row, train] > NEAR * 0.99).all()
    for row, copy, whole in pairs:
        if partitions[row] != 0 and partitions[copy] == 0:
            row, copy = copy, row
        if partitions[row] == 0 and partitions[copy] != 0 and (whole or (enough and all(varying))):
            at = np.flatnonzero(rest == copy)[0]
            assert exact[at] >= 0 or near[at] >= 0
            assert not whole or exact[at] >= 0
