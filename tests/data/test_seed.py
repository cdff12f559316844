"""SEED: both releases, as they lie on disk, come out number for number; what differs from them ends in one sentence."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from affect.data import checks
from affect.data.corpus import open_corpus
from affect.data.prepare import describe
from affect.data.readers.seed import (
    BANDS,
    CLASSES,
    CLIP_LABELS,
    CLIP_SECONDS,
    CLIP_WINDOWS,
    EEG,
    EYE,
    NINE,
    PUBLISHED,
    find_release,
    prepare_seed,
)
from affect.errors import UserError
from tests.data.hostile import Command, damaged, python2_pickle, sentence_or_result

WINDOWS = {"train": 499, "test": 343}
CLIPS = {"train": range(1, 10), "test": range(10, 16)}


def half_of(name, rng, shift=0):
    """One half of a recording: bands, eye features and labels."""
    bands = {band: rng.standard_normal((WINDOWS[name], 62)).astype(np.float32) for band in BANDS}
    eye = rng.standard_normal((WINDOWS[name], 33)).astype(np.float32)
    labels = np.concatenate([np.full(CLIP_WINDOWS[c - 1], CLIP_LABELS[c - 1] + shift) for c in CLIPS[name]])
    return bands, eye, labels


def write_recording(root, subject, session, halves, pickled=pickle.dumps):
    """Write it as the multimodal release does: pickled bytes inside .npz, a bare pickle without an ending."""
    arrays, eyes = {}, {}
    for name, (bands, eye, labels) in halves.items():
        arrays |= {f"{name}_data": pickled(bands), f"{name}_label": labels}
        eyes[f"{name}_data_eye"] = eye
    for folder in (EEG, EYE):
        (root / folder).mkdir(parents=True, exist_ok=True)
    np.savez(root / EEG / f"{subject}_{session}.npz", **arrays)
    (root / EYE / f"{subject}_{session}").write_bytes(pickled(eyes))


def write_multimodal(root, subjects, **how):
    rng = np.random.default_rng(0)
    halves = {
        (subject, session): {name: half_of(name, rng, how.get("shift", 0)) for name in WINDOWS}
        for subject in subjects
        for session in (1, 2, 3)
    }
    for (subject, session), parts in halves.items():
        write_recording(root, subject, session, parts, how.get("pickled", pickle.dumps))
    return halves


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("SEED_Multimodal")
    return root, write_multimodal(root / "Chinese", [1, 14])


def copied(release, tmp_path):
    root = tmp_path / "root"
    for folder in (EEG, EYE):
        (root / folder).mkdir(parents=True)
        for file in (release[0] / "Chinese" / folder).glob("1_*"):
            shutil.copyfile(file, root / folder / file.name)
    return root


def test_the_paper_s_table_follows_from_the_clips():
    assert sum(CLIP_WINDOWS[:9]) == WINDOWS["train"]
    assert [sum(CLIP_WINDOWS[9:12]), sum(CLIP_WINDOWS[12:])] == [175, 168]
    labels = np.repeat(CLIP_LABELS, CLIP_WINDOWS)
    for first, last, counts in (0, 499, (169, 158, 172)), (499, 674, (58, 58, 59)), (674, 842, (51, 58, 59)):
        assert tuple(np.bincount(labels[first:last] + 1)) == counts
    assert {name: 27 * n for name, n in zip(PUBLISHED, (499, 175, 168), strict=True)} == PUBLISHED


def test_multimodal(release, tmp_path):
    root, halves = release
    (root / "Chinese" / EEG / "._1_1.npz").write_bytes(b"Mac OS leaves these")
    corpus = prepare_seed(root, tmp_path / "seed", [14, 1, 14])
    samples = open_corpus(tmp_path / "seed").samples
    assert len(samples) == 6 * 842
    for view, place in {"eeg": 0, "eye": 1}.items():
        parts = [np.hstack([*halves[at][name][0].values()]) if place == 0 else halves[at][name][1]
                 for at in sorted(halves) for name in WINDOWS]  # fmt: skip
        np.testing.assert_array_equal(corpus.view(view), np.concatenate(parts))
    labels = np.concatenate([halves[at][name][2] for at in sorted(halves) for name in WINDOWS])
    np.testing.assert_array_equal(samples["emotion"], labels + 1)
    assert corpus.manifest.targets["emotion"].classes == CLASSES
    assert samples["id"].iloc[[0, 58, 841, 842, -1]].tolist() == [
        "01-1-01-001", "01-1-02-001", "01-1-15-051", "01-2-01-001", "14-3-15-051",
    ]  # fmt: skip
    assert samples["partition"].value_counts().to_dict() == {"train": 2994, "development": 1050, "test": 1008}
    assert samples["group"].nunique() == 6 * 15
    assert samples["subject"].unique().tolist() == ["01", "14"]
    clips = samples["group"].str[-2:].astype(int)
    assert set(clips[samples["partition"] == "development"]) == {10, 11, 12}
    for protocol in ("as_published", "leak_free"):
        assert checks.straddling(samples["group"].to_numpy(object), corpus.partition(protocol)) == {}
        assert corpus.facts(protocol).width == 310


def test_multimodal_describes_itself(release, tmp_path):
    text = describe(prepare_seed(release[0], tmp_path / "seed", [1]))
    for line in (
        "eeg and eye of 1 subjects",
        "view         eeg 2526 x 310: differential entropy of 4-s windows",
        "column 62 * band + channel, bands delta, theta, alpha, beta, gamma",
        "view         eye 2526 x 33",
        "target       emotion one of negative, neutral, positive",
        "Subjects 1 are taken; the paper used 9 and does not say which.",
        "train windows                     13,473      1,497  differs. 1 subjects where the paper has 9.",
        "eye features                          33         33",
    ):
        assert line in text


def test_nine_subjects_make_the_paper_s_corpus(release, tmp_path):
    for folder in (EEG, EYE):
        (tmp_path / folder).mkdir(parents=True)
        for subject in NINE:
            for session in (1, 2, 3):
                ending = ".npz" if folder == EEG else ""
                one = release[0] / "Chinese" / folder / f"1_{session}{ending}"
                (tmp_path / folder / f"{subject}_{session}{ending}").symlink_to(one)
    corpus = prepare_seed(tmp_path, tmp_path / "seed")
    counts = corpus.manifest.counts
    assert all(count.here == count.published for count in counts)
    assert {count.what: count.here for count in counts}["train windows"] == 13473
    assert corpus.facts("leak_free").rows == {**PUBLISHED, "unlabelled": 0}


@pytest.mark.parametrize("how", [{"shift": 1}, {"pickled": python2_pickle}, {"pickled": lambda v: pickle.dumps(v, 5)}])
def test_other_ways_to_write_the_same(release, tmp_path, how):
    write_multimodal(tmp_path / "root", [1], **how)
    other = prepare_seed(tmp_path / "root", tmp_path / "other", [1])
    assert other.manifest.fingerprint == prepare_seed(release[0], tmp_path / "seed", [1]).manifest.fingerprint


@pytest.mark.parametrize("form", ["inner axis", "objects", "arrays"])
def test_forms_of_eye_features(release, tmp_path, form):
    halves = dict(release[1][1, 1])
    for name, (bands, eye, labels) in halves.items():
        if form == "inner axis":
            eye = eye[:, None]
        elif form == "objects":
            eye = eye.astype(object)
        else:
            rows = np.empty(len(eye), object)
            rows[:] = list(eye)
            eye = rows
        halves[name] = bands, eye, labels
    root = copied(release, tmp_path)
    write_recording(root, 1, 1, halves)
    corpus = prepare_seed(root, tmp_path / "seed", [1])
    np.testing.assert_array_equal(corpus.view("eye")[499:842], release[1][1, 1]["test"][1])


def test_commands_do_not_run(release, tmp_path):
    root, mark = tmp_path / "root", tmp_path / "mark"
    good = release[1][1, 1]
    bands, eye, labels = good["test"]
    for hostile in (
        {"train": good["train"], "test": ({**bands, "gamma": Command(mark)}, eye, labels)},
        {"train": good["train"], "test": (bands, Command(mark), labels)},
        {"train": good["train"], "test": (bands, np.array([Command(mark)], object), labels)},
    ):
        write_recording(root, 1, 1, hostile)
        with pytest.raises(UserError, match=r"1_1(\.npz: array test_data)?: the pickle asks for posix\.system"):
            prepare_seed(root, tmp_path / "seed", [1])
    objects = {**dict.fromkeys(["train_data", "test_data", "train_label"], 0), "test_label": np.array([Command(mark)])}
    np.savez(root / EEG / "1_1.npz", **objects)
    with pytest.raises(UserError, match=r"1_1\.npz: not a readable \.npz archive \(Object arrays cannot be loaded"):
        prepare_seed(root, tmp_path / "seed", [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def test_missing_files(release, tmp_path):
    root = copied(release, tmp_path)
    with pytest.raises(UserError, match=r"eeg_used_4s/2_1\.npz: there is no such file"):
        prepare_seed(root, tmp_path / "seed")
    (root / EYE / "1_2").unlink()
    with pytest.raises(UserError, match=r"eye_tracking_feature/1_2: there is no such file"):
        prepare_seed(root, tmp_path / "seed", [1])
    with pytest.raises(UserError, match=r"no release of SEED here; it has neither 02-EEG-DE-feature"):
        prepare_seed(tmp_path, tmp_path / "seed", [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda b, e, y: (b, e, y[:-1]), r"1_2\.npz: array train_label has 498 labels where clips 1-9 have 499"),
        (lambda b, e, y: (b, e, np.where(np.arange(499) == 60, 1, y)), r"train_label, row 61: label 1 where clip 2 is "),
        (lambda b, e, y: (b, e, y + 5), r"train_label, row 1: label 6 where clip 1 is positive \(1\)"),
        (lambda b, e, y: (b, e, y + 0.5), r"train_label, row 1: label 1\.5 where clip 1"),
        (lambda b, e, y: (b, e, y.astype("U2")), r"1_2\.npz: array train_label holds <U2, not numbers"),
        (lambda b, e, y: (b, e[:-1], y), r"1_2: array train_data_eye has shape \[498, 33\], not \[499, features\]"),
        (lambda b, e, y: (b, e[:, :32], y), r"1_2: array train_data_eye has 32 columns, test_data_eye 33"),
        (lambda b, e, y: (b, e[:, 0], y), r"train_data_eye has shape \[499\]"),
        (lambda b, e, y: ({**b, "beta": b["beta"][:, :61]}, e, y), r"band beta has shape \[499, 61\], not \[499, 62\]"),
        (lambda b, e, y: ({**b, "beta": b["beta"].T}, e, y), r"band beta has shape \[62, 499\]"),
        (lambda b, e, y: ({k: v for k, v in b.items() if k != "delta"}, e, y), r"train_data: array delta is missing"),
        (lambda b, e, y: ({**b, "beta": 3}, e, y), r"1_2\.npz: array train_data: beta is a int, not an array"),
        (lambda b, e, y: (b, np.where(e == e[7, 3], np.nan, e), y),
         r"1_2: view eye, row 01-2-01-008, column 3: the feature is nan, not finite"),
        (lambda b, e, y: ({**b, "beta": np.where(b["beta"] == b["beta"][60, 3], 1e300, b["beta"].astype(float))}, e, y),
         r"1_2\.npz: view eeg, row 01-2-02-003, column beta 4: the feature is inf, not finite"),
    ],
)  # fmt: skip
def test_recordings_that_differ(release, tmp_path, change, sentence):
    root = copied(release, tmp_path)
    parts = release[1][1, 2]
    write_recording(root, 1, 2, {"train": change(*parts["train"]), "test": parts["test"]})
    with pytest.raises(UserError, match=sentence):
        prepare_seed(root, tmp_path / "seed", [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def test_recordings_of_different_widths(release, tmp_path):
    root = copied(release, tmp_path)
    parts = {name: (bands, eye[:, :30], labels) for name, (bands, eye, labels) in release[1][1, 2].items()}
    write_recording(root, 1, 2, parts)
    with pytest.raises(UserError, match="view eye of subject 1, session 2 has 30 columns where others have 33"):
        prepare_seed(root, tmp_path / "seed", [1])


def test_bytes_that_are_no_pickle(release, tmp_path):
    root = copied(release, tmp_path)
    file = root / EEG / "1_1.npz"
    labels = {f"{name}_label": parts[2] for name, parts in release[1][1, 1].items()}
    np.savez(file, train_data=np.eye(3), test_data=b"x", **labels)
    with pytest.raises(UserError, match=r"1_1\.npz: array train_data holds float64 \[3, 3\], not the bytes of one"):
        prepare_seed(root, tmp_path / "seed", [1])
    np.savez(file, train_data=b"x", test_data=b"x", **labels)
    with pytest.raises(UserError, match=r"1_1\.npz: array train_data: not a readable pickle"):
        prepare_seed(root, tmp_path / "seed", [1])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from([f"{EEG}/1_1.npz", f"{EYE}/1_1"]))
def test_damaged_recordings(release, data, name):
    root = release[0] / "Chinese"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for kind in (EEG, EYE):
            (work / "root" / kind).mkdir(parents=True)
            for file in (root / kind).glob("1_*"):
                (work / "root" / kind / file.name).symlink_to(file)
        file = work / "root" / name
        file.unlink()
        file.write_bytes(data.draw(damaged((root / name).read_bytes())))
        found = sentence_or_result(lambda: prepare_seed(work / "root", work / "seed", [1]))
        if isinstance(found, UserError):
            assert str(found).startswith(str(file))
            assert [path.name for path in work.iterdir()] == ["root"]
        else:
            assert found.view("eeg").shape == (3 * 842, 310)


def write_extracted(root, subjects, lengths=CLIP_WINDOWS, labels=CLIP_LABELS):
    root.mkdir(exist_ok=True)
    savemat(root / "label.mat", {"label": np.array([labels], np.int16)})
    rng, written = np.random.default_rng(0), {}
    for subject in subjects:
        for session, day in enumerate(("20131027", "20131030", "20140101"), start=1):
            clips = [rng.standard_normal((62, length, 5), np.float32) for length in lengths]
            arrays = {f"de_LDS{n}": clip for n, clip in enumerate(clips, start=1)}
            noise = {f"{kind}{n}": np.zeros((62, 2, 5)) for kind in ("psd_LDS", "de_movingAve") for n in range(1, 16)}
            savemat(root / f"{subject}_{day}.mat", {**noise, **arrays})
            (root / f"._{subject}_{day}.mat").write_bytes(b"Mac OS leaves these")
            written[subject, session] = clips
    return written


@pytest.mark.parametrize(
    ("folder", "lengths"),
    [("ExtractedFeatures", CLIP_SECONDS), ("ExtractedFeatures_4s", CLIP_WINDOWS), ("ExtractedFeatures", CLIP_WINDOWS)],
)
def test_extracted_features(tmp_path, folder, lengths):
    window = 1 if lengths is CLIP_SECONDS else 4
    written = write_extracted(tmp_path / folder, [1, 15], lengths)
    corpus = prepare_seed(tmp_path, tmp_path / "seed", [1, 15])
    view, samples = corpus.view("eeg"), corpus.samples
    assert list(corpus.manifest.views) == ["eeg"]
    assert view.shape == (6 * sum(lengths), 310)
    row = samples.index[samples["id"] == "15-2-07-009"][0]
    for band in range(5):
        expected = written[15, 2][6][:, 8, band].astype(np.float32)
        np.testing.assert_array_equal(view[row, 62 * band : 62 * band + 62], expected)
    assert samples.loc[row, ["group", "partition", "emotion"]].tolist() == ["15-2-07", "train", 0]
    sizes = {"train": sum(lengths[:9]), "development": sum(lengths[9:12]), "test": sum(lengths[12:])}
    assert samples["partition"].value_counts().to_dict() == {name: 6 * size for name, size in sizes.items()}
    text = describe(corpus)
    assert f"differential entropy of {window}-s windows" in text
    assert "eye features                          33          0  differs. This release has no eye features." in text
    assert ("Windows of 1 s where the paper's have 4 s" in text) == (window == 1)


def test_windows_follow_from_the_clips_not_from_the_folder(tmp_path, monkeypatch):
    root = tmp_path / "ExtractedFeatures_4s"
    write_extracted(root, [1])
    monkeypatch.chdir(root)
    corpus = prepare_seed(Path(), tmp_path / "seed", [1])
    assert "differential entropy of 4-s windows" in corpus.manifest.views["eeg"].features
    one = {f"de_LDS{n}": np.zeros((62, length, 5), np.float32) for n, length in enumerate(CLIP_SECONDS, start=1)}
    savemat(root / "1_20131030.mat", one)
    with pytest.raises(UserError, match=r"1_20131030\.mat: array de_LDS1 has windows of 1 s, earlier files of 4 s"):
        prepare_seed(root, tmp_path / "other", [1])
    savemat(root / "1_20131030.mat", {**one, "de_LDS7": one["de_LDS7"][:, 1:]})
    differs = r"1_20131030\.mat: array de_LDS7 has 236 windows where clip 7 has 237 of 1 s or 59 of 4 s"
    with pytest.raises(UserError, match=differs):
        prepare_seed(root, tmp_path / "other", [1])


def test_extracted_features_that_differ(tmp_path):
    root, out = tmp_path / "root", tmp_path / "seed"
    write_extracted(root, [1])
    good = root / "1_20131030.mat"
    for changed, sentence in (
        ({"de_LDS3": np.zeros((62, 5))}, r"1_20131030\.mat: array de_LDS3 has shape \[62, 5\], not \[62, windows, 5\]"),
        ({"de_LDS3": np.zeros((62, 0, 5))}, r"de_LDS3 has shape \[62, 0, 5\]"),
        ({"de_LDS3": np.zeros((5, 4, 62))}, r"de_LDS3 has shape \[5, 4, 62\]"),
        (
            {"de_LDS3": np.full((62, CLIP_WINDOWS[2], 5), np.inf)},
            r"1_20131030\.mat: view eeg, row 01-2-03-001, column delta 1: the ",
        ),
        ({"de_LDS3": "text"}, "array de_LDS3 holds text, not numbers"),
    ):
        savemat(
            good, {**{f"de_LDS{n}": np.zeros((62, length, 5)) for n, length in enumerate(CLIP_WINDOWS, 1)}, **changed}
        )
        with pytest.raises(UserError, match=sentence):
            prepare_seed(root, out, [1])
    savemat(good, {"de_LDS1": np.zeros((62, 2, 5))})
    with pytest.raises(UserError, match=r"1_20131030\.mat: array de_LDS2 is missing; there is de_LDS1"):
        prepare_seed(root, out, [1])
    good.unlink()
    with pytest.raises(UserError, match=r"subject 1 has 2 files 1_<yyyymmdd>\.mat where 3 are due"):
        prepare_seed(root, out, [1])
    for labels, sentence in (
        (CLIP_LABELS[::-1], r"label\.mat: array label, row 1: label -1 where clip 1 is positive \(1\)"),
        (CLIP_LABELS[:-1], r"label\.mat: array label has 14 labels where clips 1-15 have 15"),
    ):
        savemat(root / "label.mat", {"label": [labels]})
        with pytest.raises(UserError, match=sentence):
            prepare_seed(root, out, [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def test_several_releases_need_a_choice(tmp_path):
    for name in ("ExtractedFeatures_1s", "ExtractedFeatures_4s"):
        write_extracted(tmp_path / name, [])
    with pytest.raises(UserError, match=r"holds several releases of SEED; name one as --root: .*1s, .*4s"):
        find_release(tmp_path)
    assert find_release(tmp_path / "ExtractedFeatures_4s")[0] == tmp_path / "ExtractedFeatures_4s"
