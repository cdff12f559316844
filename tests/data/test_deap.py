"""DEAP: both releases come out number for number, with the entropy of the definition, and nothing malformed gets in."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.signal import butter, freqz

from affect.data import checks
from affect.data.corpus import open_corpus
from affect.data.prepare import describe
from affect.data.readers import deap
from affect.data.readers.deap import (
    BANDS,
    CLASSES,
    DISCARD,
    LEAST_VARIANCE,
    PUBLISHED,
    deal_trials,
    deal_windows,
    differential_entropy,
    keeps,
    prepare_deap,
)
from affect.errors import UserError
from tests.data.hostile import Command, damaged, python2_pickle, sentence_or_result

RATINGS = np.array([[8, 8], [2, 2], [8, 2], [2, 8], [4, 8], [5, 5], [4, 6], [5.5, 9]])
"""Valence and arousal of eight trials."""
KEPT = {"either": [1, 2, 3, 4], "either-open": [1, 2, 3, 4, 5, 7], "both": [1, 2, 3, 4, 5, 8],
        "both-open": [1, 2, 3, 4, 5, 7, 8]}  # fmt: skip


def labels_of(ratings):
    return np.hstack([ratings, np.full((len(ratings), 2), 5.0)])


def signals(subject, trials=8):
    return np.random.default_rng(subject).standard_normal((trials, 40, 8064), np.float32)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Subject 3 as MATLAB has it, subject 4 as Python 2 has it, and two files that must not be read."""
    root = tmp_path_factory.mktemp("DEAP")
    for folder in ("data_preprocessed_matlab", "data_preprocessed_python"):
        (root / folder).mkdir()
    savemat(root / "data_preprocessed_matlab/s03.mat", {"data": signals(3), "labels": labels_of(RATINGS)})
    (root / "data_preprocessed_matlab/._s04.mat").write_bytes(b"Mac OS leaves these")
    (root / "data_preprocessed_python/s03.dat").write_bytes(b"the MATLAB file is preferred")
    (root / "data_preprocessed_python/s04.dat").write_bytes(
        python2_pickle({"data": signals(4).astype(float), "labels": labels_of(RATINGS)})
    )
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three trials of one subject, for tests that read often."""
    root = tmp_path_factory.mktemp("small")
    arrays = {"data": np.int8(9 * signals(1, 3)), "labels": labels_of(RATINGS[:3])}
    savemat(root / "s01.mat", arrays, do_compression=True)
    return root


@pytest.mark.parametrize(("baseline", "seconds"), [(True, 63), (False, 60)])
def test_rows(release, tmp_path, baseline, seconds):
    corpus = prepare_deap(release, tmp_path / "deap", baseline=baseline, subjects=[4, 3])
    samples = open_corpus(tmp_path / "deap").samples
    assert len(samples) == 2 * 4 * seconds
    assert samples["id"].iloc[[0, -1]].tolist() == [f"03-01-{64 - seconds:02d}", "04-04-63"]
    assert samples["group"].unique().tolist() == [f"{s:02d}-{t:02d}" for s in (3, 4) for t in (1, 2, 3, 4)]
    assert samples["subject"].unique().tolist() == ["03", "04"]
    assert corpus.manifest.targets["quadrant"].classes == CLASSES == ("LVLA", "HVLA", "LVHA", "HVHA")
    assert samples.groupby("group")["quadrant"].first().tolist() == [3, 0, 1, 2] * 2
    eeg, peripheral = corpus.view("eeg"), corpus.view("peripheral")
    assert (eeg.shape[1], peripheral.shape[1]) == (128, 32)
    expected = differential_entropy(signals(4)[2].astype(float))[63 - seconds :]
    rows = (samples["group"] == "04-03").to_numpy()
    for band in range(4):
        found = np.hstack([eeg[rows, 32 * band : 32 * band + 32], peripheral[rows, 8 * band : 8 * band + 8]])
        np.testing.assert_array_equal(found, expected[:, band].astype(np.float32))


def test_entropy_is_that_of_the_filtered_signal():
    rng = np.random.default_rng(0)
    trial = rng.standard_normal((3, 8064)) * [[1], [50], [1e-3]] + [[0], [7], [1e4]]
    found = differential_entropy(trial)
    assert found.shape == (63, 4, 3)
    frequencies = np.fft.rfftfreq(8064, 1 / 128)
    for band, (low, high) in enumerate(BANDS.values()):
        b, a = butter(4, [low / 64, high / 64], "bandpass")
        power = np.abs(freqz(b, a, frequencies, fs=128)[1]) ** 2
        passed = np.fft.irfft(np.fft.rfft(trial) * power, 8064).reshape(3, 63, 128)
        spread = ((passed - passed.mean(axis=-1, keepdims=True)) ** 2).mean(axis=-1)
        expected = np.log(np.sqrt(2 * np.pi * np.e * spread)).T
        # A filter over the trial and one over its periodic continuation differ at its ends alone.
        np.testing.assert_allclose(found[10:-10, band], expected[10:-10], atol=1e-5)


@pytest.mark.parametrize(("band", "frequency"), list(enumerate([6, 11, 22, 38])))
def test_entropy_of_a_tone(band, frequency):
    tone = 7 * np.sin(2 * np.pi * frequency * np.arange(8064) / 128)
    found = differential_entropy(tone[None])[5:-5, :, 0]
    np.testing.assert_allclose(found[:, band], 0.5 * np.log(2 * np.pi * np.e * 7**2 / 2), atol=0.02)
    assert (np.delete(found, band, axis=1) < found[:, [band]] - 2).all()


def test_still_signals_have_the_least_entropy():
    trial = np.zeros((3, 8064))
    trial[1] = 12345.678
    trial[2, 64] = 1
    found = differential_entropy(trial)
    least = 0.5 * np.log(2 * np.pi * np.e * LEAST_VARIANCE)
    np.testing.assert_allclose(found[..., :2], least)
    assert np.isfinite(found).all()
    assert (found[0, :, 2] > least).all()


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(-3, 3, allow_subnormal=False),
    channels=st.integers(1, 4),
    seconds=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_entropy_of_a_louder_signal(scale, channels, seconds, seed):
    trial = np.random.default_rng(seed).standard_normal((channels, seconds * 128))
    found = differential_entropy(trial)
    assert found.shape == (seconds, 4, channels)
    np.testing.assert_allclose(differential_entropy(trial * 10.0**scale), found + scale * np.log(10), atol=1e-6)
    np.testing.assert_array_equal(differential_entropy(trial[:1])[..., 0], found[..., 0])


@pytest.mark.parametrize("discard", DISCARD)
def test_readings_of_the_rule(discard):
    assert (np.flatnonzero(keeps(RATINGS, discard)) + 1).tolist() == KEPT[discard]


def test_a_reading_is_chosen_and_all_are_counted(release, tmp_path):
    corpus = prepare_deap(release, tmp_path / "deap", discard="both", subjects=[3])
    groups = corpus.samples.groupby("group", sort=True)["quadrant"].first()
    assert groups.index.tolist() == [f"03-{trial:02d}" for trial in KEPT["both"]]
    assert groups.tolist() == [3, 0, 1, 2, 2, 3]
    text = describe(corpus)
    for part in (
        "Of 8 rated trials these are left: 4 after discarding trials with valence or arousal in 4..6 (either); 6 after",
        "(either-open); 6 after discarding trials with valence and arousal in 4..6 (both); 7 after",
        "The paper kept 334 of 1,280; here --discard both.",
        "subjects                    32          1  differs.",
        "trials kept                334          6  differs. 1 of 32 subjects. The paper does not say how it read",
        "train windows           16,834        302",
        "EEG features               128        128\n",
        "view         peripheral 378 x 32: differential entropy of peripheral signals in 1-s windows, column 8 * band",
        "target       quadrant one of LVLA, HVLA, LVHA, HVHA",
        "6 of 6 groups (trial) lie in two or more of train, development and test",
        "0 features of signals that stand still",
    ):
        assert part in text


def test_windows_are_dealt_as_published():
    partitions = pd.Series(deal_windows(334 * 63))
    assert partitions.value_counts().to_dict() == PUBLISHED
    assert (partitions == deal_windows(334 * 63)).all()
    assert abs(np.flatnonzero(partitions == "test").mean() - 10521) < 600


@given(sizes=st.lists(st.integers(0, 60), min_size=4, max_size=4).filter(lambda sizes: sum(sizes) >= 3))
def test_trials_are_dealt_whole_and_by_class(sizes):
    trials = np.repeat(np.arange(4), sizes)
    rows = np.repeat(np.arange(len(trials)), 2)
    groups = pd.Series([f"t{row}" for row in rows])
    partitions = deal_trials(groups, pd.Series(trials[rows]))
    assert checks.straddling(groups.to_numpy(object), partitions) == {}
    assert set(partitions) == ({"train", "development", "test"})
    for name in ("development", "test"):
        dealt = np.bincount(trials[rows][partitions == name], minlength=4) / 2
        assert (np.abs(dealt - np.array(sizes) / 10) < 1).all()


def test_protocols(release, tmp_path):
    corpus = prepare_deap(release, tmp_path / "deap", subjects=[3, 4])
    groups = corpus.samples["group"].to_numpy(object)
    assert len(checks.straddling(groups, corpus.partition("as_published"))) == 8
    assert checks.straddling(groups, corpus.partition("leak_free")) == {}
    assert corpus.facts("leak_free").rows == {"train": 378, "development": 63, "test": 63, "unlabelled": 0}
    assert corpus.facts("as_published").rows == {"train": 404, "development": 50, "test": 50, "unlabelled": 0}


def test_commands_do_not_run(tmp_path):
    root, mark = tmp_path / "root", tmp_path / "mark"
    root.mkdir()
    good = {"data": signals(1, 3), "labels": labels_of(RATINGS[:3])}
    for hostile in (Command(mark), {**good, "labels": Command(mark)}, {**good, "more": [Command(mark)]}):
        for protocol in (2, 4):
            (root / "s01.dat").write_bytes(pickle.dumps(hostile, protocol=protocol))
            with pytest.raises(UserError, match=r"s01\.dat: the pickle asks for posix\.system, which is neither"):
                prepare_deap(root, tmp_path / "deap", subjects=[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def changed(array, place, value):
    array = array.astype(float)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x, y: (x[:, :32], y), r"array data has shape \[3, 32, 8064\], not \[trials, 40, 8064\]"),
        (lambda x, y: (x[..., :8000], y), r"array data has shape \[3, 40, 8000\]"),
        (lambda x, y: (x[0], y), r"array data has shape \[40, 8064\]"),
        (lambda x, y: (x[:0], y[:0]), r"array data has shape \[0, 40, 8064\]"),
        (lambda x, y: (x, y[:2]), r"array labels has shape \[2, 4\], not \[3, 4\]"),
        (lambda x, y: (x, y[:, :2]), r"array labels has shape \[3, 2\], not \[3, 4\]"),
        (lambda x, y: (x, changed(y, (1, 0), 12)), r"array labels, row 2, column valence: 12 lies outside 1\.\.9"),
        (lambda x, y: (x, changed(y, (2, 3), np.nan)), r"array labels, row 3, column liking: nan lies outside 1\.\.9"),
        (lambda x, y: (changed(x, (1, 39, 5), np.nan), y), "trial 2, channel 40, sample 6: nan is not finite"),
        (lambda x, y: (changed(x, (1, 39, 5), 1e300), y), "array data, trial 2, channel 40: its variance overflows"),
        (lambda x, y: (np.array([["text"]], object), y), "array data holds cells, not numbers"),
    ],
)
def test_files_that_differ(tmp_path, change, sentence):
    root = tmp_path / "root"
    root.mkdir()
    data, labels = change(np.int8(9 * signals(1, 3)), labels_of(RATINGS[:3]))
    savemat(root / "s01.mat", {"data": data, "labels": labels})
    with pytest.raises(UserError, match=rf"s01\.mat: .*{sentence}"):
        prepare_deap(root, tmp_path / "deap", subjects=[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def test_missing_and_too_few(small, tmp_path):
    with pytest.raises(UserError, match=r"subject 2 is missing; neither s02\.mat nor s02\.dat is there"):
        prepare_deap(small, tmp_path / "deap")
    (tmp_path / "s01.dat").write_bytes(
        pickle.dumps({"data": np.zeros((2, 40, 8064), np.int8), "labels": labels_of(RATINGS[:2])})
    )
    with pytest.raises(UserError, match="column partition_leak_free: partition train is empty"):
        prepare_deap(tmp_path, tmp_path / "deap", subjects=[1])
    (tmp_path / "s01.dat").write_bytes(
        pickle.dumps({"data": np.zeros((1, 40, 8064), np.int8), "labels": np.full((1, 4), 5)})
    )
    with pytest.raises(UserError, match="partition train is empty"):
        prepare_deap(tmp_path, tmp_path / "deap", subjects=[1])


def test_still_channels_are_noted(tmp_path):
    data = signals(1, 3)
    data[1, 7] = 4
    savemat(tmp_path / "s01.mat", {"data": data, "labels": labels_of(RATINGS[:3])})
    corpus = prepare_deap(tmp_path, tmp_path / "deap", subjects=[1])
    assert np.isfinite(corpus.view("eeg")).all()
    assert f"{63 * 4} features of signals that stand still are those of the variance 1e-12." in corpus.manifest.notes


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), form=st.sampled_from([".mat", ".dat"]))
def test_damaged_files(small, data, form, monkeypatch):
    # What a filter does to damaged numbers is no matter here, and it takes the time.
    monkeypatch.setattr(deap, "differential_entropy", lambda x: np.broadcast_to(x[:, :63].T[:, None], (63, 4, 40)))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "root").mkdir()
        whole = (small / "s01.mat").read_bytes()
        if form == ".dat":
            whole = python2_pickle({"labels": labels_of(RATINGS[:3]), "data": np.int8(9 * signals(1, 3))})
        file = work / "root" / f"s01{form}"
        file.write_bytes(data.draw(damaged(whole)))
        found = sentence_or_result(lambda: prepare_deap(work / "root", work / "deap", subjects=[1]))
        if isinstance(found, UserError):
            assert str(found).startswith((str(file), f"{work / 'root'}: column partition"))
            assert [path.name for path in work.iterdir()] == ["root"]
        else:
            assert found.view("eeg").shape[1] == 128
