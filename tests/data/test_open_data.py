"""The readers of the open corpora, on the real files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from affect.data import checks
from affect.data.leakage import permit
from affect.data.readers.emobank import prepare_emobank, split_by_document, text_features
from affect.data.readers.qcc import prepare_qcc
from affect.data.task import column_moments
from affect.errors import UserError
from affect.streams import stream


def ridge_ccc(corpus, protocol: str, alpha: float) -> dict[str, float]:
    """Test CCC of ridge on the protocol's view, per target."""
    from sklearn.linear_model import Ridge

    part = corpus.partition(protocol)
    view = corpus.view(corpus.usable_views(protocol)[0])
    mean, scale = column_moments(view, np.flatnonzero(part == "train"))
    z = (view - mean) * scale
    found = {}
    for target in corpus.manifest.targets:
        y = corpus.samples[target].to_numpy()
        predicted = Ridge(alpha=alpha).fit(z[part == "train"], y[part == "train"]).predict(z[part == "test"])
        a, b = predicted, y[part == "test"]
        covariance = ((a - a.mean()) * (b - b.mean())).mean()
        found[target] = float(2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))
    return found


@pytest.mark.data
def test_qcc(shared_data, tmp_path):
    root = shared_data / "qcc_speech_vad"
    corpus = prepare_qcc(root, tmp_path / "qcc")
    assert corpus.facts("as_published").rows == {"train": 7452, "development": 2484, "test": 2484, "unlabelled": 0}
    assert "groups unknown" in corpus.manifest.banner
    whole = np.concatenate([np.load(root / f"x_{name}.npy") for name in ("train", "val", "test")])
    np.testing.assert_array_equal(corpus.view("hld"), whole)
    labels = np.concatenate([np.load(root / f"y_{name}.npy") for name in ("train", "val", "test")])
    np.testing.assert_array_equal(corpus.samples[["valence", "arousal", "dominance"]], labels)
    assert corpus.samples["id"].iloc[[0, 7452, -1]].tolist() == ["train-00001", "development-00001", "test-02484"]
    found = ridge_ccc(corpus, "as_published", 1.0)
    assert found == pytest.approx({"valence": 0.365, "arousal": 0.594, "dominance": 0.636}, abs=0.01)


@pytest.mark.data
def test_qcc_with_bad_files(shared_data, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(shared_data / "qcc_speech_vad", root, copy_function=shutil.copyfile)
    root.chmod(0o755)
    y = np.load(root / "y_val.npy")
    for sentence, labels in {
        "y_val.npy has 2483": y[:-1],
        "column dominance, row development-00004: label 6 lies outside its scale 1..5": np.where(
            np.arange(len(y))[:, None] * [0, 0, 1] == 3, 6.0, y
        ),
        r"y_val.npy: has shape \[2484, 2\]; expected \[rows, 3\]": y[:, :2],
    }.items():
        np.save(root / "y_val.npy", labels)
        with pytest.raises(UserError, match=sentence):
            prepare_qcc(root, tmp_path / "qcc")
    (root / "y_val.npy").unlink()
    with pytest.raises(UserError, match=r"y_val\.npy: there is no such file"):
        prepare_qcc(root, tmp_path / "qcc")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.data
def test_emobank(shared_data, tmp_path):
    corpus = prepare_emobank(shared_data / "emobank", tmp_path / "emobank")
    published, clean = corpus.facts("as_published"), corpus.facts("leak_free")
    assert published.rows == {"train": 8062, "development": 1000, "test": 1000, "unlabelled": 0}
    assert (published.view, clean.view) == ("svd", "svd_leak_free")
    assert (published.width, published.has_text) == (300, True)
    assert published.findings[0].startswith("126 of 136 groups (document) lie in two or more")
    assert published.findings[1].startswith("35 texts recur")
    # Words are compared beside the SVD: every copy is a text that recurs. All of it is told, and none of it stops a study.
    assert published.kinds == ("groups_straddle", "texts_recur", "rows_recur")
    assert published.findings[2].startswith("45 of 2,000 rows of development and test occur in another partition")
    assert permit(published, "as_published", []) == published
    assert clean.findings == ()
    assert clean.rows["train"] == pytest.approx(8050, abs=150)
    assert clean.rows["test"] == pytest.approx(1006, abs=60)
    assert clean.rows["development"] == pytest.approx(1006, abs=60)
    found = ridge_ccc(corpus, "as_published", 1.0)
    assert found["valence"] > 0.23
    assert found["arousal"] > 0.13
    assert found["dominance"] > 0.1
    assert corpus.samples["text"].iloc[3] == "Goodwill helps people get off of public assistance."


@pytest.mark.data
def test_emobank_without_a_document(shared_data, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    shutil.copyfile(shared_data / "emobank" / "emobank.csv", root / "emobank.csv")
    lines = (shared_data / "emobank" / "meta.tsv").read_text().splitlines(keepends=True)
    (root / "meta.tsv").write_text("".join(line for line in lines if not line.startswith("110CYL068_1079_1110\t")))
    with pytest.raises(UserError, match=r"meta\.tsv: no document is given for row 110CYL068_1079_1110"):
        prepare_emobank(root, tmp_path / "emobank")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_documents_and_texts_stay_on_one_side():
    draw = stream(3, "documents")
    documents = [f"doc{i}" for i in draw.integers(0, 120, 3000)]
    texts = [f"text {i}" for i in range(3000)]
    texts[::100] = [" Text  5 "] * 30
    parts = np.array(split_by_document(documents, texts), object)
    assert checks.straddling(np.array(documents, object), parts) == {}
    assert checks.straddling(np.array([checks.plain_text(t) for t in texts], object), parts) == {}
    assert 150 <= (parts == "test").sum() <= 300
    assert 150 <= (parts == "development").sum() <= 300
    assert list(parts) == split_by_document(documents, texts)


def test_text_features_come_from_training_texts_alone():
    training = [f"good day number{i % 7} morning{i % 5}" for i in range(40)]
    inside = np.array([True] * 40 + [False] * 10)
    one = text_features(training + ["secret words"] * 10, inside, 4)
    two = text_features(training + ["other things"] * 10, inside, 4)
    np.testing.assert_array_equal(one[:40], two[:40])
    assert not one[40:].any()
    with pytest.raises(UserError, match="--dimensions 4000: must lie between 1 and"):
        text_features(training, np.ones(40, bool), 4000)
